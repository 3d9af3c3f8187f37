// Package golden reads the golden set: cases with inputs and expected outputs
// that were computed by others (PyTorch in float64, the ONNX reference
// implementation, llama2.c), and turns those that are attention or rotary
// embedding into calls of package vkattn. Cases about tables, such as ALiBi
// slopes, are compared with what its functions make. Cases about the text that
// a language model writes are a Text, which whoever has the model runs.
//
// A set is a folder with manifest.json and one .npz per case. The life of a case:
//
//	set, err := golden.Load(dir)
//	p, err := set.Cases[0].Problem() // *Unsupported says why a case is no call
//	for _, run := range p.Runs {
//		plan, err := backend.Plan(ctx, run.Op)
//		report, err := plan.Run(ctx, run.Args)
//	}
//	for _, r := range p.Check() { ... } // r.Err says which element is off
package golden

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/vkattn/vkattn/internal/tensorio"
)

// Set is a loaded manifest. The arrays stay on disk until a case is read.
type Set struct {
	Dir   string
	Cases []*Case
}

// Case is one entry of the manifest.
type Case struct {
	Name      string            `json:"name"`
	Group     string            `json:"group"` // torch, onnx, linear, stories: decides the conventions
	Op        string            `json:"op"`
	Source    string            `json:"source"` // what computed the expected tensors
	File      string            `json:"file"`   // relative to the set's folder
	Attrs     map[string]any    `json:"attributes"`
	Tensors   map[string]Tensor `json:"tensors"`
	Tolerance Tolerance         `json:"tolerance"`
	Tags      []string          `json:"tags"`
	SHA256    string            `json:"sha256"` // of File
	Note      string            `json:"note"`

	dir     string
	stories stories
}

// stories is what the manifest says about the model of the cases about texts.
type stories struct {
	Model     string `json:"model_sha256"`
	Tokenizer string `json:"tokenizer_sha256"`
}

// Tensor is what the manifest says about one array of a case.
type Tensor struct {
	Role   string `json:"role"` // input, expected or info
	Shape  []int  `json:"shape"`
	DType  string `json:"dtype"`  // as numpy calls it
	Layout string `json:"layout"` // names of the axes, such as "B,Hq,Sq,Dk"
}

// The roles of a tensor.
const (
	Input    = "input"
	Expected = "expected"
	Info     = "info"
)

// Tolerance is how exact a float32 result can be, by tensor.
type Tolerance struct {
	F32Err map[string]float64 // largest absolute error of the same formula in float32
	AbsMax map[string]float64 // largest finite magnitude that is expected
}

// UnmarshalJSON picks the two tables out of what differs from group to group.
// The expected values of the ONNX cases were computed in float32, so their
// distance from float64 (ref_vs_f64) is the error of the formula in float32.
func (t *Tolerance) UnmarshalJSON(b []byte) error {
	var raw struct {
		F32Err   map[string]float64 `json:"f32_err"`
		RefVsF64 map[string]float64 `json:"ref_vs_f64"`
		AbsMax   map[string]float64 `json:"absmax"`
	}
	if err := json.Unmarshal(b, &raw); err != nil {
		return err
	}
	t.F32Err, t.AbsMax = raw.F32Err, raw.AbsMax
	if t.F32Err == nil {
		t.F32Err = raw.RefVsF64
	}
	return nil
}

// Load reads and checks the manifest of the set in dir.
func Load(dir string) (*Set, error) {
	path := filepath.Join(dir, "manifest.json")
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var m struct {
		Cases       []*Case `json:"cases"`
		Conventions struct {
			Stories stories `json:"stories"`
		} `json:"conventions"`
	}
	if err := json.Unmarshal(b, &m); err != nil {
		return nil, fmt.Errorf("golden: %s: %w", path, err)
	}
	seen := map[string]bool{}
	for i, c := range m.Cases {
		switch {
		case c == nil || c.Name == "" || c.Op == "":
			err = fmt.Errorf("case %d has no name or no op", i)
		case seen[c.Name]:
			err = fmt.Errorf("two cases are called %q", c.Name)
		case !filepath.IsLocal(filepath.FromSlash(c.File)):
			err = fmt.Errorf("case %s: file %q is not inside the set", c.Name, c.File)
		case len(c.SHA256) != 2*sha256.Size:
			err = fmt.Errorf("case %s: bad sha256 %q", c.Name, c.SHA256)
		}
		if err != nil {
			return nil, fmt.Errorf("golden: %s: %w", path, err)
		}
		seen[c.Name] = true
		c.dir, c.stories = dir, m.Conventions.Stories
	}
	return &Set{Dir: dir, Cases: m.Cases}, nil
}

// Case returns the case of that name, or nil.
func (s *Set) Case(name string) *Case {
	for _, c := range s.Cases {
		if c.Name == name {
			return c
		}
	}
	return nil
}

// numpyTypes maps the manifest's names to those of tensorio.
var numpyTypes = map[string]tensorio.DType{
	"float32": tensorio.F32, "float64": tensorio.F64, "float16": tensorio.F16,
	"int8": tensorio.I8, "uint8": tensorio.U8, "int16": tensorio.I16, "int32": tensorio.I32, "int64": tensorio.I64,
	"bool": tensorio.Bool,
}

// Read reads every array of the case. The file must have the manifest's sha256,
// and its arrays the manifest's names, types and shapes.
func (c *Case) Read() (map[string]*tensorio.Array, error) {
	path := filepath.Join(c.dir, filepath.FromSlash(c.File))
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(b)
	if got := hex.EncodeToString(sum[:]); got != c.SHA256 {
		return nil, fmt.Errorf("golden: %s: sha256 is %s, the manifest says %s", path, got, c.SHA256)
	}
	f, err := tensorio.NewFile(bytes.NewReader(b), int64(len(b)), path)
	if err != nil {
		return nil, err
	}
	all := map[string]*tensorio.Array{}
	for _, name := range f.Names() {
		a, err := f.Read(name)
		if err != nil {
			return nil, err
		}
		want, ok := c.Tensors[name]
		if !ok {
			return nil, fmt.Errorf("golden: %s: array %q is not in the manifest", path, name)
		}
		if a.DType != numpyTypes[want.DType] || !slices.Equal(a.Shape, want.Shape) {
			return nil, fmt.Errorf("golden: %s: array %q is %v%v, the manifest says %s%v", path, name, a.DType, a.Shape, want.DType, want.Shape)
		}
		all[name] = a
	}
	for name := range c.Tensors {
		if all[name] == nil {
			return nil, fmt.Errorf("golden: %s: array %q is missing", path, name)
		}
	}
	return all, nil
}
