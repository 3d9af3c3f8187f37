package sparse

import (
	"testing"

	"github.com/vkattn/vkattn"
)

// TestForm: each row is in one call of the far part, and sees there and near it what the form says, once.
func TestForm(t *testing.T) {
	for _, c := range []struct {
		sq, sk, off int
		build       func(g vkattn.MaskGrid) (*vkattn.BlockMask, error)
	}{
		{150, 310, 160, strided(8, vkattn.Merged)}, {310, 310, 0, strided(7, vkattn.Merged)}, {310, 150, -160, strided(16, vkattn.Merged)},
		{150, 310, 13, strided(9, vkattn.Distant)}, {40, 310, -37, strided(4, vkattn.Merged)}, {20, 310, 500, strided(29, vkattn.Merged)},
		{150, 310, 160, fixed(16, 3, vkattn.Merged)}, {310, 150, -40, fixed(16, 4, vkattn.Merged)}, {150, 300, 13, fixed(20, 4, vkattn.Distant)},
		{310, 300, -50, fixed(9, 2, vkattn.Distant)}, {40, 310, 400, fixed(16, 1, vkattn.Distant)},
		{150, 310, 160, dilated(5, 3, 4)}, {150, 310, 7, dilated(12, -2, 3)},
	} {
		g := vkattn.MaskGrid{SeqQ: c.sq, SeqK: c.sk, Align: vkattn.AlignOffset, Offset: c.off}
		m, err := c.build(g)
		if err != nil {
			t.Fatal(err)
		}
		form, known := m.Form()
		if !known {
			t.Fatal("the builder left no form")
		}
		// Element (row, 0) of Q is the row, and so for K.
		args := vkattn.Args{Q: vkattn.BHSD(vkattn.Float32s(make([]float32, c.sq)), 1, 1, c.sq, 1), K: vkattn.BHSD(vkattn.Float32s(make([]float32, c.sk)), 1, 1, c.sk, 1), Blocks: m}
		args.V, args.Out = args.K, args.Q
		op := vkattn.Attention{Batch: 1, HeadsQ: 1, SeqQ: c.sq, SeqK: c.sk, HeadDim: 1, With: vkattn.WithBlocks, Align: vkattn.AlignOffset}.Canonical()
		seqs := []vkattn.Sequence{{Sq: c.sq, Sk: c.sk, Off: c.off, Rel: c.off, SinkTokens: -1 << 60, Prefix: -1 << 60}}
		f, why := ByForm(op, &args, seqs)
		if f == nil {
			t.Fatalf("%+v goes by blocks: %s", form, why)
		}
		seen := make([]int, c.sq*c.sk)
		calls := f.FarCalls(args, seqs, args.Q)
		if f.Joined {
			calls = append(calls, f.NearCall(args, seqs))
		}
		rows := make([]int, c.sq)
		for n, x := range calls {
			for _, s := range x.Seqs {
				for a := range s.Sq {
					i := x.Args.Q.Index(s.Batch, 0, s.Q0+a, 0)
					if n < len(calls)-1 || !f.Joined {
						rows[i]++
					}
					for b := range s.Sk {
						if s.Visible(a, b) {
							j := b
							if x.Columns != nil {
								j = int(x.Columns[b/f.Page])*f.Page + b%f.Page
							}
							seen[i*c.sk+x.Args.K.Index(s.Batch, 0, j, 0)]++
						}
					}
				}
			}
		}
		for i := range c.sq {
			if rows[i] != 1 {
				t.Fatalf("%+v: row %d is in %d calls of the far part", form, i, rows[i])
			}
			for j := range c.sk {
				want := 0
				if m.Listed(0, 0, i, j) {
					want = 1
				}
				if form.Sees(i, j) != (want == 1) {
					t.Fatalf("%+v: row %d, key %d: the form says %v", form, i, j, form.Sees(i, j))
				}
				if seen[i*c.sk+j] != want {
					t.Fatalf("%+v: row %d sees key %d %d times, want %d", form, i, j, seen[i*c.sk+j], want)
				}
			}
		}
	}
}

func strided(stride int, part vkattn.Part) func(g vkattn.MaskGrid) (*vkattn.BlockMask, error) {
	return func(g vkattn.MaskGrid) (*vkattn.BlockMask, error) { return g.Strided(stride, part) }
}

func fixed(stride, c int, part vkattn.Part) func(g vkattn.MaskGrid) (*vkattn.BlockMask, error) {
	return func(g vkattn.MaskGrid) (*vkattn.BlockMask, error) { return g.Fixed(stride, c, 1, part) }
}

func dilated(left, right, by int) func(g vkattn.MaskGrid) (*vkattn.BlockMask, error) {
	return func(g vkattn.MaskGrid) (*vkattn.BlockMask, error) {
		return g.Window(vkattn.Window{Left: vkattn.Tokens(left), Right: vkattn.Tokens(right)}, by)
	}
}

// TestFormOfChangedMask: a mask that is no longer what its builder made goes by its blocks.
func TestFormOfChangedMask(t *testing.T) {
	build := func() *vkattn.BlockMask {
		m, err := vkattn.MaskGrid{SeqQ: 200, SeqK: 200}.Strided(8, vkattn.Merged)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	for name, change := range map[string]func(m *vkattn.BlockMask) *vkattn.BlockMask{
		"other tiles":   func(m *vkattn.BlockMask) *vkattn.BlockMask { m.Tile = nil; return m },
		"other keys":    func(m *vkattn.BlockMask) *vkattn.BlockMask { m.Keys = append([]int32(nil), m.Keys...); return m },
		"a bit changed": func(m *vkattn.BlockMask) *vkattn.BlockMask { m.Bits[3] ^= 1; return m },
		"under masks":   (*vkattn.BlockMask).UnderMasks,
		"by blocks":     (*vkattn.BlockMask).ByBlocks,
	} {
		if _, known := change(build()).Form(); known {
			t.Errorf("%s: the form is still known", name)
		}
	}
	m := build()
	copied := *m
	if _, known := copied.Form(); !known {
		t.Error("a copy of the mask has no form")
	}
}
