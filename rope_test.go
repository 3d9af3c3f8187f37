package vkattn

import (
	"encoding/json"
	"math"
	"testing"
)

var goodRope = Rope{Batch: 2, Heads: 3, Seq: 5, HeadDim: 8}

func TestRopeOp(t *testing.T) {
	for _, c := range []struct {
		want string
		edit func(*Rope)
	}{
		{"rope b2 h3 s5 d8 f32 half", func(*Rope) {}},
		{"rope b2 h3 s5 d8 f32 half", func(r *Rope) { r.RotaryDim = 8 }},
		{"rope b2 h3 s5 d8 r6 f16/f32 interleaved inverse positions", func(r *Rope) {
			r.RotaryDim, r.TypeQ, r.Layout, r.Inverse, r.Positions = 6, Float16, RopeInterleaved, true, true
		}},
	} {
		r := goodRope
		c.edit(&r)
		if got := r.String(); got != c.want || r.Validate() != nil || r.Canonical().Canonical() != r.Canonical() || r.Hash() != r.Canonical().Hash() {
			t.Errorf("%q, want %q, %v", got, c.want, r.Validate())
		}
		text, err := json.Marshal(r)
		var back Rope
		if err != nil || json.Unmarshal(text, &back) != nil || back != r {
			t.Errorf("%s becomes %+v, %v", text, back, err)
		}
	}
	seen := map[uint64]Rope{}
	for _, r := range []Rope{goodRope, {Batch: 2, Heads: 3, Seq: 5, HeadDim: 8, Inverse: true}, {Batch: 2, Heads: 3, Seq: 5, HeadDim: 8, Positions: true},
		{Batch: 2, Heads: 3, Seq: 5, HeadDim: 8, RotaryDim: 6}, {Batch: 2, Heads: 3, Seq: 5, HeadDim: 8, Layout: RopeInterleaved}} {
		if other, found := seen[r.Hash()]; found {
			t.Errorf("%s and %s share a hash", r, other)
		}
		seen[r.Hash()] = r
	}
	for arg, edit := range map[string]func(*Rope){
		"Batch": func(r *Rope) { r.Batch = -1 }, "Heads": func(r *Rope) { r.Heads = 0 }, "Seq": func(r *Rope) { r.Seq = math.MaxInt },
		"HeadDim": func(r *Rope) { r.HeadDim = 0 }, "RotaryDim": func(r *Rope) { r.RotaryDim = 10 }, "Layout": func(r *Rope) { r.Layout = 2 },
		"TypeQ": func(r *Rope) { r.TypeQ = Bool }, "TypeOut": func(r *Rope) { r.TypeOut = 99 },
	} {
		r := goodRope
		edit(&r)
		if err := r.Validate(); !names(err, arg) {
			t.Errorf("%s: %v", arg, err)
		}
	}
	for _, r := range []Rope{{Heads: 1, HeadDim: 7}, {Heads: 1, HeadDim: 8, RotaryDim: 3}, {Heads: 1, HeadDim: 8, RotaryDim: -2}} {
		if err := r.Validate(); !names(err, "RotaryDim") {
			t.Errorf("%+v: %v", r, err)
		}
	}
	if err := (Rope{Heads: 1, HeadDim: 7, RotaryDim: 6}).Validate(); err != nil {
		t.Errorf("an odd head of which a part is rotated: %v", err)
	}
}

func ropeArgs(r Rope, rows int) Args {
	c := r.Canonical()
	tensor := func(b, h, s, d int) Tensor { return BHSD(Float32s(make([]float32, b*h*s*d)), b, h, s, d) }
	a := Args{Q: tensor(c.Batch, c.Heads, c.Seq, c.HeadDim), Out: tensor(c.Batch, c.Heads, c.Seq, c.HeadDim),
		Cos: tensor(1, 1, rows, c.RotaryDim/2), Sin: tensor(1, 1, rows, c.RotaryDim/2)}
	if r.Positions {
		a.Positions = make([]int32, r.Seq)
	}
	return a
}

func TestRopeCheck(t *testing.T) {
	gather := goodRope
	gather.Positions = true
	part := goodRope
	part.RotaryDim = 4
	for _, c := range []struct {
		name string
		op   Rope
		rows int
		arg  string // "": fine
		edit func(*Args)
	}{
		{"fine", goodRope, 5, "", func(*Args) {}},
		{"part of the head", part, 5, "", func(*Args) {}},
		{"shorter", goodRope, 4, "", func(a *Args) { a.Q, a.Out = a.Q.Slice(2, 0, 4), a.Out.Slice(2, 1, 5) }},
		{"nothing", goodRope, 0, "", func(a *Args) { a.Q, a.Out = a.Q.Slice(2, 0, 0), a.Out.Slice(2, 0, 0) }},
		{"no batch", goodRope, 5, "", func(a *Args) { a.Q, a.Out = a.Q.Slice(0, 0, 0), a.Out.Slice(0, 0, 0) }},
		{"tables of each sequence", goodRope, 5, "", func(a *Args) {
			a.Cos, a.Sin = BHSD(Float32s(make([]float32, 40)), 2, 1, 5, 4), BHSD(Float32s(make([]float32, 40)), 2, 1, 5, 4)
		}},
		{"in place", goodRope, 5, "", func(a *Args) { a.Out = a.Q }},
		{"in place, by another slice", goodRope, 5, "", func(a *Args) { a.Out.Mem = Float32s(a.Q.Mem.(*Host).Float32s()) }},
		{"one table for both", goodRope, 5, "", func(a *Args) { a.Sin = a.Cos }},
		{"positions", gather, 9, "", func(a *Args) { a.Positions = []int32{8, 0, 3, 3, 8} }},
		{"positions of each sequence", gather, 9, "", func(a *Args) { a.Positions = make([]int32, 10) }},
		{"one row for all", gather, 1, "", func(*Args) {}},
		{"no tokens, no table", gather, 0, "", func(a *Args) { a.Q, a.Out, a.Positions = a.Q.Slice(2, 0, 0), a.Out.Slice(2, 0, 0), nil }},

		{"no Q", goodRope, 5, "Q", func(a *Args) { a.Q = Tensor{} }},
		{"no Out", goodRope, 5, "Out", func(a *Args) { a.Out = Tensor{} }},
		{"no Cos", goodRope, 5, "Cos", func(a *Args) { a.Cos = Tensor{} }},
		{"no Sin", goodRope, 5, "Sin", func(a *Args) { a.Sin = Tensor{} }},
		{"beyond the capacity", goodRope, 6, "Q", func(a *Args) { a.Q = a.Q.Slice(2, 0, 6) }},
		{"negative length", goodRope, 5, "Q", func(a *Args) { a.Q.Shape[2] = -1 }},
		{"beyond the memory", goodRope, 5, "Q", func(a *Args) { a.Q.Offset = 1 }},
		{"short output", goodRope, 5, "Out", func(a *Args) { a.Out = a.Out.Slice(2, 0, 4) }},
		{"other heads", goodRope, 5, "Out", func(a *Args) { a.Out = a.Out.Slice(1, 0, 2) }},
		{"short table", goodRope, 4, "Cos", func(*Args) {}},
		{"wide table", part, 5, "Sin", func(a *Args) { a.Sin = BHSD(Float32s(make([]float32, 20)), 1, 1, 5, 4) }},
		{"table of heads", goodRope, 5, "Cos", func(a *Args) { a.Cos.Shape[1] = 3 }},
		{"tables of other batches", goodRope, 5, "Sin", func(a *Args) { a.Sin.Shape[0] = 2 }},
		{"three tables for two", goodRope, 5, "Cos", func(a *Args) { a.Cos.Shape[0] = 3 }},
		{"table of half floats", goodRope, 5, "Cos", func(a *Args) { a.Cos.Type = Float16 }},
		{"broadcast columns", goodRope, 5, "Cos", func(a *Args) { a.Cos.Stride[3] = 0 }},
		{"negative rows", gather, 5, "Cos", func(a *Args) { a.Cos.Shape[2] = -1 }},
		{"positions, not asked for", goodRope, 5, "Positions", func(a *Args) { a.Positions = make([]int32, 5) }},
		{"no positions", gather, 5, "Positions", func(a *Args) { a.Positions = nil }},
		{"too few positions", gather, 5, "Positions", func(a *Args) { a.Positions = make([]int32, 6) }},
		{"position past the table", gather, 9, "Positions", func(a *Args) { a.Positions[4] = 9 }},
		{"negative position", gather, 9, "Positions", func(a *Args) { a.Positions[1] = -1 }},
		{"row of an empty table", gather, 0, "Positions", func(*Args) {}},
		{"shifted output", goodRope, 5, "Out", func(a *Args) {
			a.Q.Mem = Float32s(make([]float32, 300))
			a.Out.Mem, a.Out.Offset = a.Q.Mem, 8
		}},
		{"transposed output", goodRope, 5, "Out", func(a *Args) { a.Out = BSHD(a.Q.Mem, 2, 5, 3, 8) }},
		{"output over the table", goodRope, 5, "Out", func(a *Args) { a.Cos.Mem = a.Out.Mem }},
		{"output onto itself", goodRope, 5, "Out", func(a *Args) { a.Out.Stride[1] = 0 }},
		{"keys", goodRope, 5, "K", func(a *Args) { a.K = a.Q }},
		{"slopes", goodRope, 5, "Slopes", func(a *Args) { a.Slopes = Vector(Float32s(make([]float32, 3)), 3) }},
		{"base", goodRope, 5, "QBase", func(a *Args) { a.QBase = 1 }},
		{"invalid op", Rope{Heads: 1}, 5, "HeadDim", func(*Args) {}},
	} {
		args := ropeArgs(c.op, c.rows)
		c.edit(&args)
		if err := c.op.Check(&args); c.arg == "" && err != nil || c.arg != "" && !names(err, c.arg) {
			t.Errorf("%s: %v, want an error about %q", c.name, err, c.arg)
		}
	}
}

// TestAttentionRefusesTables: what belongs to Rope is not silently left out by attention.
func TestAttentionRefusesTables(t *testing.T) {
	for arg, edit := range map[string]func(*Args){
		"Cos": func(a *Args) { a.Cos = a.Q }, "Sin": func(a *Args) { a.Sin = a.Q }, "Positions": func(a *Args) { a.Positions = []int32{} },
	} {
		op, args := smallCall()
		edit(&args)
		if _, err := op.Check(&args); !names(err, arg) {
			t.Errorf("%s: %v", arg, err)
		}
	}
}

func TestRopeWork(t *testing.T) {
	r := Rope{Batch: 9, Heads: 3, Seq: 99, HeadDim: 8, RotaryDim: 6, TypeOut: Float16}
	args := ropeArgs(Rope{Batch: 2, Heads: 3, Seq: 5, HeadDim: 8, RotaryDim: 6}, 5)
	want := Work{Exact: true, FLOPs: 6 * 2 * 3 * 5 * 3, Bytes: 240*4 + 240*2 + 2*5*3*4}
	if got := r.Work(&args); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}
