package vkattn

import (
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

var goodOp = Attention{Batch: 1, HeadsQ: 32, HeadsK: 8, SeqQ: 2048, SeqK: 2048, HeadDim: 128, Causal: true}

// drawOp draws an op that is mostly valid.
func drawOp(t *rapid.T) Attention {
	a := Attention{
		Batch: rapid.IntRange(0, 4).Draw(t, "batch"), HeadsQ: rapid.IntRange(1, 12).Draw(t, "heads"),
		HeadsK: rapid.IntRange(0, 4).Draw(t, "key heads"), HeadsV: rapid.IntRange(0, 4).Draw(t, "value heads"),
		HeadMap: HeadMap(rapid.IntRange(0, 1).Draw(t, "map")), SeqQ: rapid.IntRange(0, 99).Draw(t, "rows"), SeqK: rapid.IntRange(0, 99).Draw(t, "keys"),
		HeadDim: rapid.IntRange(1, 600).Draw(t, "d"), ValueDim: rapid.IntRange(0, 600).Draw(t, "dv"),
		TypeK: Type(rapid.IntRange(0, int(Q4_0)).Draw(t, "type")), Softcap: rapid.SampledFrom([]float64{0, math.Copysign(0, -1), 1, 30.5}).Draw(t, "cap"),
		Causal: rapid.Bool().Draw(t, "causal"), Align: Align(rapid.IntRange(0, 2).Draw(t, "align")), Chunk: rapid.IntRange(0, 3).Draw(t, "chunk"),
		SinkTokens: rapid.IntRange(0, 3).Draw(t, "sinks"), With: With(rapid.IntRange(0, int(allWith)).Draw(t, "with")),
	}
	if rapid.Bool().Draw(t, "packed") {
		a.Packed, a.TotalQ, a.TotalK = true, rapid.IntRange(0, 99).Draw(t, "total"), 7
	}
	if rapid.Bool().Draw(t, "scaled") {
		a.Scale = Num(rapid.SampledFrom([]float64{0, math.Copysign(0, -1), -0.5, 0.125}).Draw(t, "scale"))
	}
	for _, b := range []*Bound{&a.Window.Left, &a.Window.Right} {
		b.N = rapid.IntRange(-2, 2).Draw(t, "tokens")
		b.Set = rapid.Bool().Draw(t, "bounded")
	}
	return a
}

func TestCanonical(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := drawOp(t)
		c := a.Canonical()
		if c.Canonical() != c {
			t.Fatalf("Canonical is not idempotent: %+v, then %+v", c, c.Canonical())
		}
		if c.HeadsK == 0 || c.HeadsV == 0 || c.ValueDim == 0 || !c.Scale.Set {
			t.Fatalf("defaults are not written out: %+v", c)
		}
		if a.Hash() != c.Hash() || a.String() != (Op)(a).String() {
			t.Fatalf("hash of an op and of its canonical form differ: %+v", a)
		}
		if err, canonical := a.Validate(), c.Validate(); err == nil && canonical != nil {
			t.Fatalf("%+v is valid, its canonical form is not: %v", a, canonical)
		}
		b := drawOp(t)
		if (b.Canonical() == c) != (b.Hash() == a.Hash()) {
			t.Fatalf("hashes of %+v and %+v", a, b)
		}
	})
}

func TestOpJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := drawOp(t)
		text, err := json.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		var back Attention
		if err := json.Unmarshal(text, &back); err != nil || back != a {
			t.Fatalf("%s becomes %+v, %v", text, back, err)
		}
	})
}

func TestOpString(t *testing.T) {
	for _, c := range []struct {
		want string
		edit func(*Attention)
	}{
		{"attention b1 h32/8 q2048 k2048 d128 f32 causal", func(*Attention) {}},
		{"attention b1 h32/8 q2048 k2048 d128 f32 causal +lse+sinks", func(a *Attention) { a.With = WithLSE | WithSinkLogits }},
		{"attention b1 h32 q2048 k2048 d128/64 f32", func(a *Attention) { a.HeadsK, a.Causal, a.ValueDim = 0, false, 64 }},
		{"attention b1 h32/8/4 cyclic q2048 k2048 d128 f32/f32/q8_0/f32 causal", func(a *Attention) { a.HeadsV, a.HeadMap, a.TypeV = 4, HeadCyclic, Q8_0 }},
		{"attention b3 h32/8 packed90/91 q2048 k2048 d128 f32 scale0 cap30 causal top-left window128:inf chunk64 sinktokens4", func(a *Attention) {
			a.Batch, a.Packed, a.TotalQ, a.TotalK, a.Scale, a.Softcap, a.Align = 3, true, 90, 91, Num(0), 30, AlignTopLeft
			a.Window.Left, a.Chunk, a.SinkTokens = Tokens(128), 64, 4
		}},
		{"attention b1 h32/8 q2048 k2048 d128 f32 causal", func(a *Attention) { a.Scale, a.SinkTokens = Num(1/math.Sqrt(128)), 4 }},
	} {
		a := goodOp
		c.edit(&a)
		if got := a.String(); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}

// TestHashIsStable: hashes name files on disk and records of benchmarks.
func TestHashIsStable(t *testing.T) {
	if got, again := goodOp.Hash(), goodOp.Hash(); got != again || got == 0 {
		t.Errorf("%x and %x", got, again)
	}
	seen := map[uint64]string{}
	for d := 1; d <= 576; d++ {
		a := goodOp
		a.HeadDim = d
		if other, found := seen[a.Hash()]; found {
			t.Errorf("%s and %s share a hash", a, other)
		}
		seen[a.Hash()] = a.String()
	}
}

func TestNegativeZero(t *testing.T) {
	minus := math.Copysign(0, -1)
	a, b := goodOp, goodOp
	a.Scale, b.Scale = Num(0), Num(minus)
	a.Softcap, b.Softcap = 0, minus
	if a.Canonical() != b.Canonical() || a.Hash() != b.Hash() || a.String() != b.String() {
		t.Errorf("0 and -0 differ: %x, %x", a.Hash(), b.Hash())
	}
}

func TestHeadMap(t *testing.T) {
	for h, want := range []int{0, 0, 0, 1, 1, 1} {
		if got := HeadBlock.Map(h, 6, 2); got != want {
			t.Errorf("block map of head %d is %d, want %d", h, got, want)
		}
		if got := HeadCyclic.Map(h, 6, 2); got != h%2 {
			t.Errorf("cyclic map of head %d is %d, want %d", h, got, h%2)
		}
	}
}

func TestGradIsAnOp(t *testing.T) {
	g := AttentionGrad{goodOp}
	if err := g.Validate(); err != nil || !strings.Contains(g.String(), goodOp.String()) {
		t.Errorf("%v, %q", err, g)
	}
	g.Forward.HeadDim = 0
	if err := g.Validate(); !errors.Is(err, ErrInvalid) {
		t.Errorf("Validate: %v", err)
	}
}

func TestErrors(t *testing.T) {
	unsupported := &UnsupportedError{Op: "attention", Backend: "cpu", Reasons: []Refusal{{"flash", "too large"}, {"plain", "no memory"}}}
	for _, c := range []struct {
		err    error
		is     error
		text   string
		shapes bool
	}{
		{&ShapeError{"K", "heads", 3, "4"}, ErrInvalid, "vkattn: K heads is 3, want 4", true},
		{&ShapeError{"HeadsK", "", 3, "a divisor of 4"}, ErrInvalid, "vkattn: HeadsK is 3, want a divisor of 4", true},
		{&ArgError{"Out", "overlaps Q"}, ErrInvalid, "vkattn: Out: overlaps Q", false},
		{unsupported, ErrUnsupported, "vkattn: cpu cannot run attention: flash: too large; plain: no memory", false},
		{unsupported, errors.ErrUnsupported, "", false},
	} {
		if !errors.Is(c.err, c.is) || errors.Is(c.err, ErrClosed) {
			t.Errorf("%v: Is", c.err)
		}
		if c.text != "" && c.err.Error() != c.text {
			t.Errorf("%q, want %q", c.err, c.text)
		}
		var shape *ShapeError
		if errors.As(c.err, &shape) != c.shapes {
			t.Errorf("%v: As", c.err)
		}
	}
}

func TestExplanation(t *testing.T) {
	e := Explanation{Op: "attention", Backend: "vulkan", Path: "subgroup", Kernel: "flash", Tile: "64 rows", Splits: 4, ScratchBytes: 10,
		Notes: []string{"a note"}, NotTaken: []Refusal{{"decode", "too many rows"}}}
	want := "attention\n  runs on vulkan by flash (subgroup), tile 64 rows, keys split 4 ways, scratch 10 bytes, shared memory 0 bytes\n  a note\n  not decode: too many rows\n"
	if got := e.String(); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
