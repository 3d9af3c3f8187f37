package golden

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/internal/tensorio"
)

// naive computes a run in float64, pair by pair, from the definition.
func naive(t *testing.T, op vkattn.Op, args *vkattn.Args) {
	t.Helper()
	switch op := op.(type) {
	case vkattn.Attention:
		naiveAttention(t, op, args)
	case vkattn.Rope:
		naiveRope(t, op, args)
	case vkattn.Linear:
		naiveLinear(t, op, args)
	}
}

func naiveAttention(t *testing.T, op vkattn.Attention, args *vkattn.Args) {
	t.Helper()
	seqs, err := op.Check(args)
	if err != nil {
		t.Fatal(err)
	}
	op = op.Canonical()
	element := func(x vkattn.Tensor, b, h, s, d int) []byte {
		size := x.Type.Size()
		return x.Mem.(*vkattn.Host).Bytes()[x.Index(b, h, s, d)*size:][:size]
	}
	f := func(x vkattn.Tensor, b, h, s, d int) float64 {
		var v [1]float32
		x.Type.Decode(v[:], element(x, b, h, s, d))
		return float64(v[0])
	}
	perHead := func(x vkattn.Tensor, b, h int) float64 { return f(x, min(b, x.Shape[0]-1), h, 0, 0) }
	set := func(x vkattn.Tensor, b, h, s, d int, v float64) {
		x.Type.Encode(element(x, b, h, s, d), []float32{float32(v)})
	}
	for _, s := range seqs {
		for h := range op.HeadsQ {
			hk, hv := op.HeadMap.Map(h, op.HeadsQ, op.HeadsK), op.HeadMap.Map(h, op.HeadsQ, op.HeadsV)
			for i := range s.Sq {
				score := make([]float64, s.Sk)
				m := math.Inf(-1)
				for j := range score {
					score[j] = math.Inf(-1)
					if !s.Visible(i, j) || op.With.Has(vkattn.WithMask) && args.Mask.Mem.(*vkattn.Host).Bytes()[args.Mask.Index(s.Index, h, i, j)] == 0 {
						continue
					}
					x := 0.0
					for d := range op.HeadDim {
						x += f(args.Q, s.Batch, h, s.Q0+i, d) * f(args.K, s.Batch, hk, s.K0+j, d)
					}
					x *= op.Scale.Value
					if op.Softcap > 0 {
						x = op.Softcap * math.Tanh(x/op.Softcap)
					}
					if op.With.Has(vkattn.WithALiBi) {
						x -= perHead(args.Slopes, s.Index, h) * math.Abs(float64(i+s.Off-j))
					}
					if op.With.Has(vkattn.WithBias) {
						x += f(args.Bias, s.Index, h, i, j)
					}
					score[j] = x
					m = math.Max(m, x)
				}
				if op.With.Has(vkattn.WithSinkLogits) {
					m = math.Max(m, perHead(args.SinkLogits, s.Index, h))
				}
				sum := 0.0
				out := make([]float64, op.ValueDim)
				if !math.IsInf(m, -1) {
					if op.With.Has(vkattn.WithSinkLogits) {
						sum = math.Exp(perHead(args.SinkLogits, s.Index, h) - m)
					}
					for j, x := range score {
						p := math.Exp(x - m)
						if p == 0 {
							continue
						}
						sum += p
						for d := range out {
							out[d] += p * f(args.V, s.Batch, hv, s.K0+j, d)
						}
					}
				}
				for d, x := range out {
					if sum > 0 {
						x /= sum
					}
					set(args.Out, s.Batch, h, s.Q0+i, d, x)
				}
				if op.With.Has(vkattn.WithLSE) {
					set(args.LSE, s.Batch, h, s.Q0+i, 0, m+math.Log(sum))
				}
			}
		}
	}
}

// naiveRope computes a run in float64, as a matrix: column d of the rotation of a
// row is where the unit vector d goes.
func naiveRope(t *testing.T, op vkattn.Rope, args *vkattn.Args) {
	t.Helper()
	if err := op.Check(args); err != nil {
		t.Fatal(err)
	}
	op = op.Canonical()
	at := func(x vkattn.Tensor, b, h, s, d int) float64 {
		return float64(x.Mem.(*vkattn.Host).Float32s()[x.Index(b, h, s, d)])
	}
	d, half := op.HeadDim, op.RotaryDim/2
	for b := range args.Q.Shape[0] {
		for s := range args.Q.Shape[2] {
			row := s
			if op.Positions {
				row = int(args.Positions[(b*args.Q.Shape[2]+s)%len(args.Positions)])
			}
			m := make([]float64, d*d)
			for i := range d {
				pair, other, sign := i/2, i^1, float64(2*(i%2)-1)
				if op.Layout == vkattn.RopeHalf {
					pair, other, sign = i%max(half, 1), (i+half)%max(2*half, 1), 1
					if i < half {
						sign = -1
					}
				}
				if i >= 2*half {
					m[i*d+i] = 1
					continue
				}
				m[i*d+i] = at(args.Cos, min(b, args.Cos.Shape[0]-1), 0, row, pair)
				m[i*d+other] = sign * at(args.Sin, min(b, args.Sin.Shape[0]-1), 0, row, pair)
			}
			for h := range op.Heads {
				for i := range d {
					sum := 0.0
					for j := range d {
						sum += m[i*d+j] * at(args.Q, b, h, s, j)
					}
					args.Out.Mem.(*vkattn.Host).Float32s()[args.Out.Index(b, h, s, i)] = float32(sum)
				}
			}
		}
	}
}

// solve runs everything; change may spoil the calls of attention first.
func solve(t *testing.T, p *Problem, change func(*vkattn.Attention)) []Result {
	t.Helper()
	for i := range p.Runs {
		r := &p.Runs[i]
		if a, ok := r.Op.(vkattn.Attention); ok && change != nil {
			change(&a)
			r.Op = a
		}
		naive(t, r.Op, &r.Args)
	}
	return p.Check()
}

// attention is the op of the case, if that is what it is about.
func (p *Problem) attention() (vkattn.Attention, bool) {
	if len(p.Runs) == 0 {
		return vkattn.Attention{}, false
	}
	a, ok := p.Runs[0].Op.(vkattn.Attention)
	return a, ok
}

// TestEveryCase maps every case and compares the plain float64 computation with
// what is expected: a wrong mapping cannot pass.
func TestEveryCase(t *testing.T) {
	if testing.Short() {
		t.Skip("one goroutine, half a minute under the race detector: without -short only")
	}
	testSet(t, ForTest(t))
}

func TestShippedCases(t *testing.T) {
	dir := filepath.Join("..", "..", "testdata", "golden")
	set, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	testSet(t, set)
	var total int64
	listed := map[string]bool{"README.md": true, "manifest.json": true}
	for _, c := range set.Cases {
		if _, err := c.Read(); err != nil {
			t.Error(err)
		}
		listed[c.File] = true
	}
	err = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		if !listed[filepath.ToSlash(rel)] {
			t.Errorf("%s is in no case", rel)
		}
		info, err := d.Info()
		if err == nil {
			total += info.Size()
		}
		return err
	})
	if err != nil || total > 3<<20 {
		t.Errorf("%d bytes, at most 3 MiB wanted, %v", total, err)
	}
}

func testSet(t *testing.T, set *Set) {
	mapped, all := map[string]int{}, map[string]int{}
	reasons := map[string]int{}
	for _, c := range set.Cases {
		all[c.Group+" "+c.Op]++
		p, err := c.Problem()
		var no *Unsupported
		if errors.As(err, &no) {
			if !errors.Is(err, vkattn.ErrUnsupported) {
				t.Errorf("%s: not vkattn.ErrUnsupported", c.Name)
			}
			reasons[no.Reason]++
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.Name, err)
			continue
		}
		mapped[c.Group+" "+c.Op]++
		results := solve(t, p, nil)
		compared := 0
		for _, r := range results {
			if r.Err != nil {
				t.Errorf("%v", r.Err)
			}
			if r.Skipped == "" {
				compared++
			} else if !strings.HasPrefix(r.Tensor, "d") {
				t.Errorf("%s: %s was not compared: %s", c.Name, r.Tensor, r.Skipped)
			}
		}
		expected := 0
		for _, s := range c.Tensors {
			if s.Role == Expected {
				expected++
			}
		}
		if compared == 0 || len(results) != expected {
			t.Errorf("%s: compared %d, reported %d of %d expected tensors", c.Name, compared, len(results), expected)
		}
	}
	for _, op := range slices.Sorted(maps.Keys(all)) {
		t.Logf("%-32s %d of %d mapped", op, mapped[op], all[op])
		if slices.Contains([]string{"torch attention", "torch attention_varlen", "stories attention", "linear rope", "linear rope_inv_freq",
			"linear alibi_slopes", "linear t5_bucket", "onnx onnx.RotaryEmbedding",
			"linear linear_attention", "linear decay_linear_attention", "linear delta_rule"}, op) && mapped[op] != all[op] {
			t.Errorf("%s: only %d of %d mapped", op, mapped[op], all[op])
		}
	}
	for _, r := range slices.Sorted(maps.Keys(reasons)) {
		t.Logf("%d unsupported: %s", reasons[r], r)
	}
}

// A backend that ignores an option must fail the cases about it.
func TestOptionsMatter(t *testing.T) {
	if testing.Short() {
		t.Skip("one goroutine, half a minute under the race detector: without -short only")
	}
	set := ForTest(t)
	for _, c := range []struct {
		name   string
		uses   func(vkattn.Attention) bool
		change func(*vkattn.Attention)
	}{
		{"scale", func(a vkattn.Attention) bool { return true }, func(a *vkattn.Attention) { a.Scale = vkattn.Num(a.Canonical().Scale.Value * 1.001) }},
		{"softcap", func(a vkattn.Attention) bool { return a.Softcap > 0 && a.Softcap < 20 }, func(a *vkattn.Attention) { a.Softcap = 0 }},
		{"causal", func(a vkattn.Attention) bool { return a.Causal && a.SeqQ > 1 && a.SeqK > 1 }, func(a *vkattn.Attention) { a.Causal = false }},
		{"align", func(a vkattn.Attention) bool { return a.Causal && a.Align == vkattn.AlignTopLeft && a.SeqK != a.SeqQ },
			func(a *vkattn.Attention) { a.Align = vkattn.AlignBottomRight }},
		{"window", func(a vkattn.Attention) bool {
			return a.Window.Left.Set && a.Window.Left.N > 0 && a.SeqK > 2*a.Window.Left.N
		},
			func(a *vkattn.Attention) { a.Window.Left.N-- }},
		{"head map", func(a vkattn.Attention) bool { return a.HeadsK > 1 && a.HeadsK < a.HeadsQ && a.SeqK > 1 }, func(a *vkattn.Attention) { a.HeadMap = vkattn.HeadCyclic }},
	} {
		failed, used := 0, 0
		for _, kase := range set.Cases {
			p, err := kase.Problem()
			if err != nil {
				continue
			}
			op, ok := p.attention()
			if !ok || !c.uses(op) {
				continue
			}
			if op.SeqQ*op.SeqK*op.HeadsQ > 100_000 {
				continue // to keep the test short
			}
			used++
			for _, r := range solve(t, p, c.change) {
				if r.Err != nil {
					failed++
					break
				}
			}
		}
		// A few cases cannot tell, such as a single key or integers without near ties.
		if failed*10 < used*7 {
			t.Errorf("%s: %d of %d cases notice the change", c.name, failed, used)
		}
		t.Logf("%s: %d of %d cases notice the change", c.name, failed, used)
	}
}

func TestSkippedRun(t *testing.T) {
	for _, c := range ForTest(t).Cases {
		p, err := c.Problem()
		if err != nil || len(p.Runs) < 2 {
			continue
		}
		p.Runs[1].Skip = "not today"
		op, _ := p.attention()
		naive(t, op, &p.Runs[0].Args)
		skipped := 0
		for _, r := range p.Check() {
			if r.Err != nil {
				t.Error(r.Err)
			}
			if r.Skipped == "not today" {
				skipped++
			}
		}
		if skipped != len(p.Runs[1].Gives) {
			t.Errorf("%s: %d tensors skipped, want %v", c.Name, skipped, p.Runs[1].Gives)
		}
		return
	}
}

// Outputs that nobody writes are not taken for right.
func TestUntouchedOutputFails(t *testing.T) {
	for _, c := range ForTest(t).Cases[:10] {
		p, err := c.Problem()
		if err != nil {
			continue
		}
		for _, r := range p.Check() {
			if r.Skipped == "" && r.Err == nil && !strings.HasPrefix(r.Tensor, "present") {
				t.Errorf("%s: %s passes although nothing ran", c.Name, r.Tensor)
			}
		}
	}
}

func TestCompare(t *testing.T) {
	inf, nan := math.Inf(1), math.NaN()
	c := &Case{Name: "c", Tolerance: Tolerance{
		F32Err: map[string]float64{"out": 1e-6}, AbsMax: map[string]float64{"out": 4},
	}, Tensors: map[string]Tensor{"out": {Shape: []int{2, 2}}, "lse": {Shape: []int{2, 2}}}}
	f := func(v ...float64) []float32 {
		out := make([]float32, len(v))
		for i, x := range v {
			out[i] = float32(x)
		}
		return out
	}
	for _, k := range []struct {
		tensor string
		got    []float32
		want   []float64
		ok     bool
	}{
		{"out", f(1, 2, 3, 4), []float64{1, 2, 3, 4}, true},
		{"out", f(1, 2, 3, 4), []float64{1, 2, 3 + 11e-6, 4}, true},  // 8e-6 + 4e-6 allowed
		{"out", f(1, 2, 3, 4), []float64{1, 2, 3 + 13e-6, 4}, false}, // beyond
		{"out", f(1, 2, 3), []float64{1, 2, 3, 4}, false},
		{"out", f(nan, 2, 3, 4), []float64{1, 2, 3, 4}, false},
		{"out", f(nan, 2, 3, 4), []float64{nan, 2, 3, 4}, true},
		{"out", f(0, 2, 3, 4), []float64{nan, 2, 3, 4}, false},
		{"out", f(inf, 2, 3, 4), []float64{inf, 2, 3, 4}, true},
		{"out", f(-inf, 2, 3, 4), []float64{inf, 2, 3, 4}, false},
		{"lse", f(-inf, 2, 3, 4), []float64{-inf, 2, 3, 4}, true},
		{"lse", f(-1e30, 2, 3, 4), []float64{-inf, 2, 3, 4}, false},
		{"lse", f(-inf, 2, 3, 4), []float64{-1e30, 2, 3, 4}, false},
		{"lse", f(0, 1000, 3, 4), []float64{9e-6, 1000.009, 3, 4}, true},
		{"lse", f(0, 1000, 3, 4), []float64{11e-6, 1000, 3, 4}, false},
		{"lse", f(0, 1000, 3, 4), []float64{0, 1000.011, 3, 4}, false},
		{"present_key", f(1), []float64{1}, true},
		{"present_key", f(1), []float64{1 + 1e-9}, false},
	} {
		worst, allowed, err := c.Compare(k.tensor, k.got, k.want)
		if (err == nil) != k.ok || k.ok && worst > allowed {
			t.Errorf("%s %v for %v: worst %g, allowed %g, %v", k.tensor, k.got, k.want, worst, allowed, err)
		}
	}
	_, _, err := c.Compare("out", f(1, 2, 3, 9), []float64{1, 2, 3.5, 4})
	var m *Mismatch
	if !errors.As(err, &m) || !slices.Equal(m.Index, []int{1, 1}) || m.Got != 9 || m.Want != 4 || m.Count != 2 {
		t.Errorf("mismatch is %+v", m)
	}
}

func TestLoadRefuses(t *testing.T) {
	sum := strings.Repeat("0", 64)
	for _, c := range []struct{ manifest, want string }{
		{"", "JSON"},
		{`{"cases":[null]}`, "no name"},
		{`{"cases":[{"name":"a","op":"x","file":"../a.npz","sha256":"` + sum + `"}]}`, "not inside"},
		{`{"cases":[{"name":"a","op":"x","file":"a.npz","sha256":"12"}]}`, "sha256"},
		{`{"cases":[{"name":"a","op":"x","file":"a.npz","sha256":"` + sum + `"},{"name":"a","op":"x","file":"b.npz","sha256":"` + sum + `"}]}`, "two cases"},
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "manifest.json"), []byte(c.manifest), 0o666); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.manifest, err, c.want)
		}
	}
	if _, err := Load(t.TempDir()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no manifest: %v", err)
	}
}

// made writes a set with one case and returns the case.
func made(t *testing.T, op, attrs string, tensors map[string]Tensor, arrays ...*tensorio.Array) *Case {
	t.Helper()
	dir := t.TempDir()
	if err := tensorio.Write(filepath.Join(dir, "a.npz"), arrays...); err != nil {
		t.Fatal(err)
	}
	c := &Case{Name: "made", Op: op, File: "a.npz", dir: dir, Tensors: tensors, Attrs: map[string]any{}}
	for _, kv := range strings.Fields(attrs) {
		k, v, _ := strings.Cut(kv, "=")
		var n float64
		if _, err := fmt.Sscan(v, &n); err != nil {
			c.Attrs[k] = v
		} else {
			c.Attrs[k] = n
		}
	}
	c.SHA256 = sumOf(t, filepath.Join(dir, "a.npz"))
	return c
}

func TestReadChecks(t *testing.T) {
	a := tensorio.NewFloat32("q", []int{2}, []float32{1, 2})
	info := Tensor{Role: Input, Shape: []int{2}, DType: "float32"}
	c := made(t, "x", "", map[string]Tensor{"q": info}, a)
	if got, err := c.Read(); err != nil || got["q"].Float32s()[1] != 2 {
		t.Errorf("%v, %v", got, err)
	}
	for want, tensors := range map[string]map[string]Tensor{
		"not in the manifest":           {},
		"is missing":                    {"q": info, "k": info},
		"manifest says float32[3]":      {"q": {Shape: []int{3}, DType: "float32"}},
		"manifest says float64[2]":      {"q": {Shape: []int{2}, DType: "float64"}},
		"manifest says complex128[2]":   {"q": {Shape: []int{2}, DType: "complex128"}},
		"manifest says float32[2 1]":    {"q": {Shape: []int{2, 1}, DType: "float32"}},
		"manifest says float32[]":       {"q": {DType: "float32"}},
		"array \"q\" is f32[2], the ma": {"q": {DType: "int32", Shape: []int{2}}},
	} {
		c.Tensors = tensors
		if _, err := c.Read(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	c.SHA256 = strings.Repeat("0", 64)
	if _, err := c.Read(); err == nil || !strings.Contains(err.Error(), "sha256") {
		t.Errorf("wrong sum: %v", err)
	}
	c.File = "none.npz"
	if _, err := c.Read(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

// What the ONNX cases of the set do not exercise: a short last axis of the mask
// and scores that need more than one run.
func TestONNXPaddedMask(t *testing.T) {
	keys := 600
	ones := make([]float32, keys)
	v := make([]float32, keys)
	want := make([]float32, keys)
	for i := range ones {
		ones[i] = 1
		v[i] = float32(i)
	}
	want[0], want[1] = 0.5, 0.5
	for _, mask := range []*tensorio.Array{
		tensorio.NewBool("attn_mask", []int{2}, []bool{true, true}),
		tensorio.NewFloat32("attn_mask", []int{1, 1, 2}, []float32{3, 3}),
	} {
		t4 := func(role string, n int) Tensor {
			return Tensor{Role: role, Shape: []int{1, 1, n, 1}, DType: "float32"}
		}
		maskType := "bool"
		if mask.DType == tensorio.F32 {
			maskType = "float32"
		}
		qk := t4(Expected, 1)
		qk.Shape[3] = keys
		c := made(t, "onnx.Attention", "qk_matmul_output_mode=3", map[string]Tensor{
			"Q": t4(Input, 1), "K": t4(Input, keys), "V": t4(Input, keys), "Y": t4(Expected, 1), "qk_matmul_output": qk,
			"attn_mask": {Role: Input, Shape: mask.Shape, DType: maskType},
		},
			tensorio.NewFloat32("Q", []int{1, 1, 1, 1}, []float32{1}), tensorio.NewFloat32("K", []int{1, 1, keys, 1}, ones),
			tensorio.NewFloat32("V", []int{1, 1, keys, 1}, v), tensorio.NewFloat32("Y", []int{1, 1, 1, 1}, []float32{0.5}),
			tensorio.NewFloat32("qk_matmul_output", []int{1, 1, 1, keys}, want), mask)
		p, err := c.Problem()
		if err != nil {
			t.Fatal(err)
		}
		if len(p.Runs) != 3 || p.Scores != 3 {
			t.Errorf("%d runs, scores %d", len(p.Runs), p.Scores)
		}
		for _, r := range solve(t, p, nil) {
			if r.Err != nil || r.Skipped != "" {
				t.Errorf("%+v", r)
			}
		}
	}
}

func TestUnsupported(t *testing.T) {
	one := func(name string) *tensorio.Array {
		return tensorio.NewFloat32(name, []int{1, 1, 1, 1}, []float32{1})
	}
	in := Tensor{Role: Input, Shape: []int{1, 1, 1, 1}, DType: "float32"}
	onnx := map[string]Tensor{"Q": in, "K": in, "V": in}
	for _, c := range []struct {
		op, attrs, extra, want string
	}{
		{"onnx.Attention", "", "", ""},
		{"onnx.Attention", "colour=3", "", "attribute colour"},
		{"onnx.Attention", "", "moon", "input moon"},
		{"onnx.preview.FlexAttention", "score_mod=7", "", "score_mod"},
		{"onnx.preview.FlexAttention", "prob_mod=7", "", "prob_mod"},
		{"abacus", "", "", "op abacus"},
		{"attention", "align=left", "", "align"},
	} {
		tensors := maps.Clone(onnx)
		arrays := []*tensorio.Array{one("Q"), one("K"), one("V")}
		if c.op == "attention" {
			tensors = map[string]Tensor{"q": in, "k": in, "v": in}
			arrays = []*tensorio.Array{one("q"), one("k"), one("v")}
		}
		if c.extra != "" {
			tensors[c.extra] = in
			arrays = append(arrays, one(c.extra))
		}
		_, err := made(t, c.op, c.attrs, tensors, arrays...).Problem()
		var no *Unsupported
		if c.want == "" && err == nil {
			continue
		}
		if !errors.As(err, &no) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %s: %v, want %q", c.op, c.attrs, err, c.want)
		}
	}
}

// recorder stands in for testing.T.
type recorder struct{ skipped, failed string }

func (r *recorder) Helper()                        {}
func (r *recorder) Skipf(format string, a ...any)  { r.skipped = fmt.Sprintf(format, a...) }
func (r *recorder) Fatalf(format string, a ...any) { r.failed = fmt.Sprintf(format, a...) }

func TestForTest(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module x\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	t.Setenv("VKATTN_GOLDEN", "")
	t.Setenv("VKATTN_REQUIRE_GOLDEN", "")
	var r recorder
	if set := ForTest(&r); set != nil || r.skipped == "" || r.failed != "" {
		t.Errorf("nothing there: %+v", r)
	}
	t.Setenv("VKATTN_REQUIRE_GOLDEN", "1")
	if r = (recorder{}); ForTest(&recorder{}) != nil {
		t.Error("a set out of nothing")
	}
	if ForTest(&r); r.failed == "" {
		t.Errorf("required: %+v", r)
	}
	own := filepath.Join(dir, "testdata", "golden")
	if err := os.MkdirAll(own, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(own, "manifest.json"), []byte(`{"cases":[]}`), 0o666); err != nil {
		t.Fatal(err)
	}
	if set := ForTest(t); set == nil || len(set.Cases) != 0 {
		t.Error("own set was not found")
	}
	t.Setenv("VKATTN_GOLDEN", filepath.Join(dir, "none"))
	if r = (recorder{}); ForTest(&r) != nil || r.failed == "" {
		t.Errorf("VKATTN_GOLDEN without a set: %+v", r)
	}
}

func sumOf(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", sha256.Sum256(b))
}
