package golden

import (
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/internal/tensorio"
)

// Unsupported says why a case cannot be put as a call of package vkattn. It is
// vkattn.ErrUnsupported for errors.Is.
type Unsupported struct {
	Case   string
	Reason string
}

func (e *Unsupported) Error() string { return fmt.Sprintf("golden: %s: %s", e.Case, e.Reason) }

// Is makes errors.Is(err, vkattn.ErrUnsupported) true.
func (e *Unsupported) Is(target error) bool { return target == vkattn.ErrUnsupported }

// Run is one call that a backend has to make. All tensors are in host memory.
type Run struct {
	Op   vkattn.Op   // Attention, Linear or Rope
	Args vkattn.Args // outputs are filled with NaN, so that a row that is not written is noticed
	// Gives names the expected tensors that need this run.
	Gives []string
	// Skip, if the runner sets it, says why the run was not made. Check then
	// does not compare what needs it.
	Skip string
}

// Problem is a case in the terms of package vkattn.
type Problem struct {
	Case *Case
	// Runs[0] is the call that the case is about. Further runs, if any, recover
	// tensors that attention does not return: see Scores, and the LSE without
	// the sink, which is the LSE of the call without sink logits. A case about
	// a table has no runs: functions of package vkattn make it on the host.
	Runs []Run
	// Scores is the qk_matmul_output mode of an ONNX case that expects its
	// scores: 0 scaled, 1 after softcap, 2 after bias and masks, 3 after softmax;
	// otherwise -1. The extra runs get them from the backend's attention alone:
	// with the identity for V the output is the softmax, and the scores are its
	// logarithm plus the LSE. A backend that returns scores can be asked directly
	// instead, by skipping those runs.
	Scores int
	// NotCompared has the reason for each expected tensor that Check leaves out.
	NotCompared map[string]string

	outputs []output
}

// output is one expected tensor and where its value is found after the runs.
type output struct {
	name string
	want []float64
	got  func() []float32
}

// Result is the comparison of one expected tensor. Worst and Allowed are
// absolute, of the element that is furthest off for what is allowed there.
type Result struct {
	Tensor  string
	Worst   float64
	Allowed float64
	Skipped string // why it was not compared; then Err is nil
	Err     error  // a *Mismatch
}

// Problem puts the case as calls of package vkattn. The error is *Unsupported
// for cases that it has no words for (yet), and anything else if the case
// cannot be read or is at odds with itself. Every call passes the Check of its op.
func (c *Case) Problem() (*Problem, error) {
	if c.Op == Generate {
		return nil, &Unsupported{c.Name, "it is about a text, see Text"}
	}
	build := map[string]func(*builder) error{
		"attention": torchAttention, "attention_varlen": torchAttention,
		"onnx.Attention": onnxAttention, "onnx.preview.FlexAttention": onnxFlexAttention,
		"rope": torchRope, "onnx.RotaryEmbedding": onnxRotaryEmbedding,
		"rope_inv_freq": frequencies, "alibi_slopes": slopes, "t5_bucket": buckets,
		"linear_attention": linearAttention, "decay_linear_attention": linearAttention, "delta_rule": linearAttention,
		"onnx.LinearAttention": onnxLinearAttention,
	}[c.Op]
	if build == nil {
		return nil, &Unsupported{c.Name, fmt.Sprintf("op %s is not known", c.Op)}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Tensors)) {
		t, attention := c.Tensors[name], c.Op == "onnx.Attention" || c.Op == "onnx.preview.FlexAttention"
		// ONNX's reference of linear attention computes in float32 whatever the types.
		if t.DType == "float16" && !attention && c.Op != "onnx.LinearAttention" {
			return nil, &Unsupported{c.Name, fmt.Sprintf("%s is float16, which only cases of attention are", name)}
		}
	}
	arrays, err := c.Read()
	if err != nil {
		return nil, err
	}
	b := &builder{
		Problem: &Problem{Case: c, Runs: make([]Run, 1), Scores: -1, NotCompared: map[string]string{}},
		arrays:  arrays, attrs: maps.Clone(c.Attrs), inputs: map[string]bool{},
	}
	if err := build(b); err != nil {
		return nil, err
	}
	if err := b.leftover(); err != nil {
		return nil, err
	}
	for i := range b.Runs {
		run := &b.Runs[i]
		if run.Op == nil {
			run.Op = b.attention
		}
		var err error
		switch op := run.Op.(type) {
		case vkattn.Attention:
			_, err = op.Check(&run.Args)
		case vkattn.Linear:
			_, err = op.Check(&run.Args)
		case vkattn.Rope:
			err = op.Check(&run.Args)
		}
		if err != nil {
			return nil, fmt.Errorf("golden: %s: run %d: %w", c.Name, i, err)
		}
	}
	return b.Problem, nil
}

// Check compares everything that the runs gave, in the order of names.
func (p *Problem) Check() []Result {
	var all []Result
	for _, o := range p.outputs {
		r := Result{Tensor: o.name}
		for _, run := range p.Runs {
			if run.Skip != "" && slices.Contains(run.Gives, o.name) {
				r.Skipped = run.Skip
			}
		}
		if r.Skipped == "" {
			r.Worst, r.Allowed, r.Err = p.Case.Compare(o.name, o.got(), o.want)
		}
		all = append(all, r)
	}
	for name, reason := range p.NotCompared {
		all = append(all, Result{Tensor: name, Skipped: reason})
	}
	slices.SortFunc(all, func(a, b Result) int {
		if a.Tensor < b.Tensor {
			return -1
		}
		return 1
	})
	return all
}

// builder collects a Problem. It notes which attributes and inputs were used,
// so that one that nobody understood makes the case unsupported and not wrong.
type builder struct {
	*Problem
	attention vkattn.Attention // the op of Runs[0], unless that has one already
	arrays    map[string]*tensorio.Array
	attrs     map[string]any // those not used yet
	inputs    map[string]bool
}

func (b *builder) unsupported(format string, args ...any) error {
	return &Unsupported{b.Case.Name, fmt.Sprintf(format, args...)}
}

func (b *builder) bad(format string, args ...any) error {
	return fmt.Errorf("golden: %s: %s", b.Case.Name, fmt.Sprintf(format, args...))
}

// number uses up a numeric or boolean attribute.
func (b *builder) number(key string, unset float64) float64 {
	v, ok := b.attrs[key]
	delete(b.attrs, key)
	if !ok {
		return unset
	}
	switch v := v.(type) {
	case float64:
		return v
	case bool:
		if v {
			return 1
		}
		return 0
	}
	return math.NaN()
}

func (b *builder) flag(key string) bool { return b.number(key, 0) != 0 }

func (b *builder) text(key string) string {
	s, _ := b.attrs[key].(string)
	delete(b.attrs, key)
	return s
}

// ignore uses up attributes that describe the case and change nothing.
func (b *builder) ignore(keys ...string) {
	for _, k := range keys {
		delete(b.attrs, k)
	}
}

// bound reads a window side, of which -1 means unbounded.
func (b *builder) bound(key string) vkattn.Bound {
	if n := b.number(key, -1); n >= 0 {
		return vkattn.Tokens(int(n))
	}
	return vkattn.Bound{}
}

// input returns an input array, or nil if the case does not have it.
func (b *builder) input(name string) *tensorio.Array {
	if b.Case.Tensors[name].Role != Input {
		return nil
	}
	b.inputs[name] = true
	return b.arrays[name]
}

// expect registers an expected tensor, if the case has it, and reports whether.
func (b *builder) expect(name string, got func() []float32) bool {
	if b.Case.Tensors[name].Role != Expected {
		return false
	}
	b.outputs = append(b.outputs, output{name, b.arrays[name].Float64s(), got})
	return true
}

// leftover finds what no builder used.
func (b *builder) leftover() error {
	for _, key := range slices.Sorted(maps.Keys(b.attrs)) {
		return b.unsupported("attribute %s = %v is not known", key, b.attrs[key])
	}
	for _, name := range slices.Sorted(maps.Keys(b.Case.Tensors)) {
		switch role := b.Case.Tensors[name].Role; {
		case role == Input && !b.inputs[name]:
			return b.unsupported("input %s is not known", name)
		case role == Expected && b.NotCompared[name] == "" &&
			!slices.ContainsFunc(b.outputs, func(o output) bool { return o.name == name }):
			b.NotCompared[name] = "nothing computes it"
		}
	}
	return nil
}

// poisoned is memory for an output.
func poisoned(n int) []float32 {
	s := make([]float32, n)
	for i := range s {
		s[i] = float32(math.NaN())
	}
	return s
}

// numbers is memory of the type of a, float16 or float32.
func numbers(a *tensorio.Array) (vkattn.Memory, vkattn.Type) {
	if a.DType != tensorio.F16 {
		return floats(a), vkattn.Float32
	}
	raw := make([]byte, vkattn.Float16.Bytes(a.Elements()))
	vkattn.Float16.Encode(raw, a.Float32s()) // exact, but for the payload of a NaN
	return vkattn.Bytes(raw), vkattn.Float16
}

func floats(a *tensorio.Array) *vkattn.Host { return vkattn.Float32s(a.Float32s()) }

// score makes a mask or bias out of an array that broadcasts to want
// [B, Hq, Sq, Sk] from the right, as in NumPy.
func (b *builder) score(name string, a *tensorio.Array, want [4]int) (vkattn.Tensor, error) {
	if len(a.Shape) > 4 {
		return vkattn.Tensor{}, b.bad("%s has %d axes", name, len(a.Shape))
	}
	s := [4]int{1, 1, 1, 1}
	copy(s[4-len(a.Shape):], a.Shape)
	var t vkattn.Tensor
	switch a.DType {
	case tensorio.Bool:
		keep, err := a.Bools()
		if err != nil {
			return t, err
		}
		t = vkattn.BHSD(vkattn.Bools(keep), s[0], s[1], s[2], s[3]).As(vkattn.Bool)
	case tensorio.F32:
		t = vkattn.BHSD(floats(a), s[0], s[1], s[2], s[3])
	default:
		return t, b.unsupported("%s has elements of type %v", name, a.DType)
	}
	return t.Broadcast(want[0], want[1], want[2], want[3]), nil
}
