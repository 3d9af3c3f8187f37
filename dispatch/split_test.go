package dispatch_test

import (
	"context"
	"testing"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/dispatch"
)

// With a fixed part size the bits of a sequence do not depend on what else is in its batch.
func TestSplitKeysBatchInvariance(t *testing.T) {
	b := open(t, dispatch.Config{CacheDir: "off", SplitKeys: 64})
	ctx := context.Background()
	op := vkattn.Attention{Batch: 3, HeadsQ: 4, HeadsK: 2, SeqQ: 5, SeqK: 300, HeadDim: 64, Causal: true, With: vkattn.WithKeyLengths | vkattn.WithLSE | vkattn.WithSinkLogits}
	args := problem(op, 7)
	args.SinkLogits = vkattn.Vector(vkattn.Float32s([]float32{0.5, -1, 2, 0}), 4)
	args.KeyLengths = []int32{40, 300, 129}
	p, err := b.Plan(ctx, op)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Run(ctx, args); err != nil {
		t.Fatal(err)
	}
	check(t, op, &args)
	for s := range 3 {
		alone := args
		n := int(args.KeyLengths[s])
		out, lse := make([]float32, 4*5*64), make([]float32, 4*5)
		alone.Q = args.Q.Slice(0, s, s+1)
		alone.K, alone.V = args.K.Slice(0, s, s+1).Slice(2, 0, n), args.V.Slice(0, s, s+1).Slice(2, 0, n)
		alone.Out, alone.LSE = vkattn.BHSD(vkattn.Float32s(out), 1, 4, 5, 64), vkattn.BHSD(vkattn.Float32s(lse), 1, 4, 5, 1)
		alone.KeyLengths = []int32{int32(n)}
		if _, err := p.Run(ctx, alone); err != nil {
			t.Fatal(err)
		}
		whole := args.Out.Mem.(*vkattn.Host).Float32s()[s*len(out):]
		for i := range out {
			if out[i] != whole[i] {
				t.Fatalf("sequence %d: element %d is %g in the batch, %g alone", s, i, whole[i], out[i])
			}
		}
		wholeLSE := args.LSE.Mem.(*vkattn.Host).Float32s()[s*len(lse):]
		for i := range lse {
			if lse[i] != wholeLSE[i] {
				t.Fatalf("sequence %d: lse %d is %g in the batch, %g alone", s, i, wholeLSE[i], lse[i])
			}
		}
	}
}
