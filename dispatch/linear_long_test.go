package dispatch_test

import (
	"math"
	"testing"

	"github.com/vkattn/vkattn"
)

// TestLinearLong: a million tokens, whose tensors exceed what many devices bind at once, run in memory that does not grow
// with them beside the tensors; each eighth is as the oracle has it from its entry on.
func TestLinearLong(t *testing.T) {
	b := open(t, lowered(nil))
	n := 1 << 20
	if testing.Short() || b.Caps().DeviceType != "cpu" {
		n = 1 << 16
	}
	op := vkattn.Linear{Batch: 1, HeadsQ: 1, SeqQ: n, HeadDim: 64, Causal: true, Decay: vkattn.DecayHead}
	args := linearArgs(op, nil, 1, 0, false)
	args.Decay.Mem.(*vkattn.Host).Float32s()[0] = -1.0 / 64
	r := run(t, b, op, args)
	if r.Scratch > 1<<20 {
		t.Errorf("%d bytes of scratch", r.Scratch)
	}
	t.Logf("%d slices, %d submits, %v", r.Slices, r.Submits, r.DeviceTime)
	// exp(-40) of what lies 2,560 tokens back is nothing: a stretch that starts so much earlier has the whole answer.
	const back, stretch = 2560, 16
	for at := n / 8; at <= n; at += n / 8 {
		lo := at - back - stretch
		part := args
		for _, x := range []*vkattn.Tensor{&part.Q, &part.K, &part.V, &part.Out} {
			*x = x.Slice(2, lo, at)
		}
		short := op
		short.SeqQ = at - lo
		want := linearOracle(t, short, &part).out
		got := args.Out.Mem.(*vkattn.Host).Float32s()
		off, square := 0.0, 0.0
		for i := back * 64; i < (back+stretch)*64; i++ {
			e := float64(got[lo*64+i]) - want[i]
			off, square = off+e*e, square+want[i]*want[i]
		}
		if e := math.Sqrt(off / square); !(e < 1e-5) {
			t.Errorf("tokens up to %d are off by %.3g of their norm", at, e)
		}
	}
}
