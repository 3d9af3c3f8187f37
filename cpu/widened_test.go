package cpu

import (
	"bytes"
	"testing"

	"github.com/vkattn/vkattn"
)

// TestWidenedWritesItsRows: rows of an output in float16 that belong to no sequence keep their bits, also where there is no sequence.
func TestWidenedWritesItsRows(t *testing.T) {
	b := New(Config{})
	defer b.Close()
	const tokens, dim, half = 4, 8, vkattn.Float16
	op := vkattn.Linear{Batch: 1, HeadsQ: 1, SeqQ: tokens, Packed: true, TotalQ: tokens, HeadDim: dim, Causal: true, TypeQ: half, TypeK: half, TypeV: half, TypeOut: half}
	for _, ends := range [][]int32{{0}, {0, 2}} {
		tensor := func(fill byte) vkattn.Tensor {
			return vkattn.BHSD(vkattn.Bytes(bytes.Repeat([]byte{fill}, 2*tokens*dim)), 1, 1, tokens, dim).As(half)
		}
		args := vkattn.Args{Q: tensor(0x30), K: tensor(0x30), V: tensor(0x30), Out: tensor(0xff), CuSeqQ: ends}
		p, err := b.Plan(t.Context(), op)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Run(t.Context(), args); err != nil {
			t.Fatal(err)
		}
		written := 2 * dim * int(ends[len(ends)-1])
		for i, x := range args.Out.Mem.(*vkattn.Host).Bytes() {
			if i >= written && x != 0xff {
				t.Fatalf("%v: byte %d of the output is %#x", ends, i, x)
			}
		}
		if written > 0 && args.Out.Mem.(*vkattn.Host).Bytes()[1] == 0xff {
			t.Errorf("%v: nothing was written", ends)
		}
	}
}
