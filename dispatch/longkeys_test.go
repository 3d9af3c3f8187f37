package dispatch_test

import (
	"math/rand/v2"
	"testing"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/cpu"
	"github.com/vkattn/vkattn/dispatch"
)

// TestLongKeys: one head over more keys than a row of the score matrix, or the binding of a buffer, may
// hold. Memory grows with the keys, not with rows times keys.
func TestLongKeys(t *testing.T) {
	if testing.Short() {
		t.Skip("minutes on a software driver")
	}
	var perKey []float64
	for _, op := range []vkattn.Attention{
		{Batch: 1, HeadsQ: 1, SeqQ: 2048, SeqK: 32_768, HeadDim: 64, Causal: true, With: vkattn.WithLSE},
		{Batch: 1, HeadsQ: 1, SeqQ: 2048, SeqK: 131_072, HeadDim: 64, Causal: true, With: vkattn.WithLSE},
		{Batch: 1, HeadsQ: 1, SeqQ: 128, SeqK: 600_000, HeadDim: 64, With: vkattn.WithLSE},
	} {
		b := open(t, dispatch.Config{CacheDir: "off", SkipSelfTest: true})
		args := (&namedCall{op: op}).args(1)
		r := run(t, b, op, args)
		peak := b.Memory().Total.Peak
		inputs := args.Q.Mem.Size() + args.K.Mem.Size() + args.V.Mem.Size() + args.Out.Mem.Size() + args.LSE.Mem.Size()
		t.Logf("%v: %v on the device, %d slices in %d submits, %d parts; peak of device memory %.1f MiB for %.1f MiB of tensors, scratch %.2f MiB",
			op, r.DeviceTime, r.Slices, r.Submits, r.Splits, mib(peak), mib(inputs), mib(r.Scratch))
		if b.Caps().UnifiedMemory && peak > inputs*5/4+(16<<20) { // elsewhere there are staging buffers, too
			t.Errorf("%d bytes for tensors of %d", peak, inputs)
		}
		perKey = append(perKey, float64(peak)/float64(op.SeqK))
		rng := rand.New(rand.NewPCG(1, 0))
		rows := []cpu.Row{{I: 0}, {I: op.SeqQ - 1}}
		for range 14 {
			rows = append(rows, cpu.Row{I: rng.IntN(op.SeqQ)})
		}
		checkSome(t, op, &args, rows)
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}
	t.Logf("bytes of device memory for each key: %.0f", perKey)
	if perKey[1] > 1.2*perKey[0] {
		t.Error("memory grows faster than the keys")
	}
}

func mib(n int64) float64 { return float64(n) / (1 << 20) }
