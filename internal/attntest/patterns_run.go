package attntest

import (
	"math"
	"testing"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/cpu"
)

// RunPatterns runs every sparse pattern three times: as the lists of its block mask, as the dense boolean mask of its
// definition, and as the dense mask on the block mask's lists without the pairs of their own; and by the mask's form
// or its rows' lists, if it has them. All must be the oracle's answer. The first
// and the last visit the same keys and must be the same bits. The dense mask alone visits more, and must be the
// same bits where exact says that the backend cuts all keys at the same places, whatever is listed: a tile that a
// list skips is then one that a mask hides, which adds nothing. The CPU cuts what is listed.
func RunPatterns(t *testing.T, b vkattn.Backend, exact bool) {
	for n, p := range Patterns() {
		t.Run(p.Name, func(t *testing.T) {
			// Blocks of 128 keys hold whole key tiles of every backend, so that lists with and without pairs are cut alike.
			g := vkattn.MaskGrid{SeqQ: 150, SeqK: 310, BlockQ: []int{64, 32, 128}[n%3], BlockK: 128, Batch: max(p.Batch, 1), Heads: max(p.Heads, 1)}
			if p.Self {
				g.SeqQ = g.SeqK
			}
			m, err := p.Build(g)
			if err != nil {
				t.Fatal(err)
			}
			keep := make([]bool, g.Batch*g.Heads*g.SeqQ*g.SeqK)
			for at := range keep {
				row := at / g.SeqK
				keep[at] = p.Sees(g, row/g.SeqQ/g.Heads, row/g.SeqQ%g.Heads, row%g.SeqQ, at%g.SeqK)
			}
			s := newSpec(size(g.Batch, g.SeqQ, g.SeqK), dims(32, 32), heads(g.Heads, 1, 1))
			op := s.finish()
			args := s.build("patterns/"+p.Name, 0).Args
			run := func(with vkattn.With, give func(*vkattn.Args)) (out, lse []float32) {
				op, args := op, args
				op.With |= with
				give(&args)
				out, lse = make([]float32, args.Out.Len()), make([]float32, args.LSE.Len())
				args.Out = vkattn.BHSD(vkattn.Float32s(out), g.Batch, g.Heads, g.SeqQ, 32)
				args.LSE = vkattn.BHSD(vkattn.Float32s(lse), g.Batch, g.Heads, g.SeqQ, 1)
				plan, err := b.Plan(t.Context(), op)
				if err != nil {
					t.Fatal(err)
				}
				defer plan.Close()
				if _, err := plan.Run(t.Context(), args); err != nil {
					t.Fatal(err)
				}
				return out, lse
			}
			dense := func(a *vkattn.Args) {
				a.Mask = vkattn.BHSD(vkattn.Bools(keep), g.Batch, g.Heads, g.SeqQ, g.SeqK).As(vkattn.Bool)
			}
			out, lse := run(vkattn.WithBlocks, func(a *vkattn.Args) { a.Blocks = m.ByBlocks() })
			formOut, formLSE := out, lse
			if _, known := m.Form(); known || m.RowLists() != nil {
				formOut, formLSE = run(vkattn.WithBlocks, func(a *vkattn.Args) { a.Blocks = m })
			}
			denseOut, denseLSE := run(vkattn.WithMask, dense)
			listedOut, listedLSE := run(vkattn.WithMask|vkattn.WithBlocks, func(a *vkattn.Args) {
				dense(a)
				a.Blocks = m.UnderMasks()
				a.Blocks.Tile, a.Blocks.Bits = nil, nil
			})
			op.With |= vkattn.WithMask
			dense(&args)
			want, err := cpu.Oracle(op, &args)
			if err != nil {
				t.Fatal(err)
			}
			if pairs, err := m.Pairs(g.SeqQ, g.SeqK); err != nil || pairs*int64(g.Batch/m.Batch*g.Heads/m.Heads) != want.Visible {
				t.Errorf("the mask keeps %d pairs, %v, the definition %d", pairs, err, want.Visible)
			}
			for _, x := range []struct {
				name                     string
				got, dense, listed, form []float32
				want                     []float64
				absolute                 float64
			}{{"Out", out, denseOut, listedOut, formOut, want.Out, 2e-6}, {"LSE", lse, denseLSE, listedLSE, formLSE, want.LSE, 1e-5}} {
				for at := range x.got {
					if math.Float32bits(x.got[at]) != math.Float32bits(x.listed[at]) {
						t.Fatalf("%s[%d]: %v with pairs, %v with lists and the dense mask", x.name, at, x.got[at], x.listed[at])
					}
					if exact && math.Float32bits(x.got[at]) != math.Float32bits(x.dense[at]) {
						t.Fatalf("%s[%d]: %v with blocks, %v with the dense mask", x.name, at, x.got[at], x.dense[at])
					}
					for _, y := range []float32{x.got[at], x.dense[at], x.form[at]} {
						if e := math.Abs(float64(y) - x.want[at]); float64(y) != x.want[at] && !(e <= x.absolute*max(1, math.Abs(x.want[at]))) {
							t.Fatalf("%s[%d] is %v, want %v", x.name, at, y, x.want[at])
						}
					}
				}
			}
		})
	}
}
