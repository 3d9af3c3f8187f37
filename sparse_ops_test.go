package vkattn

import (
	"errors"
	"math"
	"strings"
	"testing"
)

// choosingShape is attention that MoBA and NSA take.
var choosingShape = Attention{Batch: 2, HeadsQ: 8, HeadsK: 2, SeqQ: 100, SeqK: 200, HeadDim: 16, Causal: true}

func TestChoosingNames(t *testing.T) {
	for _, c := range []struct {
		op   Op
		want string
	}{
		{MoBA{choosingShape, 64, 3}, "moba b2 h8/2 q100 k200 d16 f32 causal block64 top3"},
		{MoBA{choosingShape, 64, 9}, "moba b2 h8/2 q100 k200 d16 f32 causal block64 top4"}, // more than there are
		{NSA{choosingShape, 32, 16, 64, 2, 50}, "nsa b2 h8/2 q100 k200 d16 f32 causal compress32 stride16 select64 top2 window50"},
	} {
		if got := c.op.String(); got != c.want || c.op.Validate() != nil {
			t.Errorf("%q, want %q; %v", got, c.want, c.op.Validate())
		}
	}
	if a, b := (MoBA{choosingShape, 64, 4}), (MoBA{choosingShape, 64, 1 << 20}); a.Hash() != b.Hash() || !a.All() || (MoBA{choosingShape, 64, 3}).All() {
		t.Error("all blocks are all blocks")
	}
}

func TestChoosingValidate(t *testing.T) {
	moba := func(f func(*MoBA)) Op { m := MoBA{choosingShape, 64, 3}; f(&m); return m }
	nsa := func(f func(*NSA)) Op { n := NSA{choosingShape, 32, 16, 64, 4, 50}; f(&n); return n }
	for want, op := range map[string]Op{
		"Block is 0":         moba(func(m *MoBA) { m.Block = 0 }),
		"TopK is -1":         moba(func(m *MoBA) { m.TopK = -1 }),
		"Causal":             moba(func(m *MoBA) { m.Attention.Causal = false }),
		"Packed":             moba(func(m *MoBA) { m.Attention.Packed = true }),
		"With: has mask":     moba(func(m *MoBA) { m.Attention.With = WithMask }),
		"has tree+blocks":    moba(func(m *MoBA) { m.Attention.With = WithBlocks | WithTree }),
		"HeadsK is 3":        moba(func(m *MoBA) { m.Attention.HeadsK = 3 }),
		"Block is 107374182": moba(func(m *MoBA) { m.Block = 1 << 30 }),
		"Stride is 0":        nsa(func(n *NSA) { n.Stride = 0 }),
		"Stride is 12":       nsa(func(n *NSA) { n.Stride = 12 }),
		"Window is -1":       nsa(func(n *NSA) { n.Window = -1 }),
		"TopN is 0":          nsa(func(n *NSA) { n.TopN = 0 }),
		"HeadsV is 4":        nsa(func(n *NSA) { n.Attention.HeadsV = 4 }),
		"Softcap":            nsa(func(n *NSA) { n.Attention.Softcap = 3 }),
		"has lse":            nsa(func(n *NSA) { n.Attention.With = WithLSE }),
		"Window: and Chunk":  nsa(func(n *NSA) { n.Attention.Chunk = 8 }),
	} {
		if err := op.Validate(); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
		_ = op.String() // does not panic
	}
}

func TestChoosingCheck(t *testing.T) {
	n := NSA{choosingShape, 32, 16, 64, 4, 50}
	good := func() Args {
		f := func(h, s, d int) Tensor { return BHSD(Float32s(make([]float32, 2*h*s*d)), 2, h, s, d) }
		return Args{Q: f(8, 100, 16), K: f(2, 200, 16), V: f(2, 200, 16), Out: f(8, 100, 16), Gates: f(8, 100, 3)}
	}
	a := good()
	if _, err := n.Check(&a); err != nil {
		t.Fatal(err)
	}
	for want, f := range map[string]func(*Args){
		"Gates: missing":   func(a *Args) { a.Gates = Tensor{} },
		"Gates last is 2":  func(a *Args) { a.Gates = a.Gates.Slice(3, 0, 2) },
		"QBase":            func(a *Args) { a.QBase = 1 },
		"Mask: given":      func(a *Args) { a.Mask = a.Q },
		"Cos: given":       func(a *Args) { a.Cos = a.Q },
		"Q sequence":       func(a *Args) { a.Q.Shape[2] = 101 },
		"Out: overlaps Ga": func(a *Args) { a.Gates.Mem = a.Out.Mem },
	} {
		a := good()
		f(&a)
		if _, err := n.Check(&a); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	a = good()
	if _, err := (MoBA{choosingShape, 64, 3}).Check(&a); err == nil || !strings.Contains(err.Error(), "Gates") {
		t.Errorf("gates of MoBA: %v", err)
	}
	if _, err := choosingShape.Check(&a); err == nil || !strings.Contains(err.Error(), "Gates") {
		t.Errorf("gates of Attention: %v", err)
	}
}

// TestChoosingWork: MoBA's pairs are those of the rows' own blocks and of as many past ones as they may see.
func TestChoosingWork(t *testing.T) {
	for _, off := range []int{0, 100, -30, 150} {
		m := MoBA{choosingShape, 64, 3}
		want := int64(0)
		for i := range 100 {
			p, c := i+off, int(math.Floor(float64(i+off)/64))
			past, pairs := 0, 0
			for b := range 4 {
				if b < c && past < 2 || b == c {
					if b < c {
						past++
					}
					for j := 64 * b; j < min(64*b+64, 200); j++ {
						if j <= p {
							pairs++
						}
					}
				}
			}
			want += int64(pairs)
		}
		w := m.Work(&Args{}, []Sequence{{Sq: 100, Sk: 200, Off: off}})
		if w.Pairs != 8*want || !w.Exact {
			t.Errorf("offset %d: %d pairs, want %d, exact %v", off, w.Pairs, 8*want, w.Exact)
		}
	}
}

// FuzzChoosing: whatever an op and its arguments are, there is an answer or a typed error.
func FuzzChoosing(f *testing.F) {
	for i := range 200 {
		seed := make([]byte, 400)
		for k := range seed {
			seed[k] = byte((k*(2*i+1) + i*i) >> (i % 3))
		}
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		src := &fuzzSource{data: data}
		a := src.op()
		if src.upTo(7) > 0 { // most of them, what the ops take
			a.Causal, a.Packed, a.TotalQ, a.TotalK = true, false, 0, 0
			a.With &= WithKeyLengths
			a.HeadsV, a.Softcap, a.Window, a.Chunk = a.HeadsK, 0, Window{}, 0
		}
		stride := src.upTo(4)
		ops := []interface {
			Op
			Check(*Args) ([]Sequence, error)
			Work(*Args, []Sequence) Work
		}{MoBA{a, src.upTo(20), src.upTo(5)}, NSA{a, stride * src.upTo(4), stride, stride * src.upTo(3), src.upTo(5), src.upTo(9) - 1}}
		args := src.args(a)
		for _, op := range ops {
			if _, ok := op.(NSA); ok {
				args.Gates = src.tensor([4]int{args.Q.Shape[0], a.HeadsQ, args.Q.Shape[2], 3}, Float32)
			}
			_ = op.String()
			valid := op.Validate()
			seqs, err := op.Check(&args)
			if err != nil && !errors.Is(err, ErrInvalid) || valid != nil && err == nil {
				t.Errorf("%v: Validate %v, Check %v", op, valid, err)
			}
			if err == nil && len(seqs) < 1<<10 && args.Q.Shape[2] < 1<<16 {
				if w := op.Work(&args, seqs); w.Pairs < 0 || math.IsNaN(w.FLOPs) {
					t.Errorf("%v: %+v", op, w)
				}
			}
		}
	})
}
