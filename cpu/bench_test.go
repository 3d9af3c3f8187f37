package cpu

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/vkattn/vkattn"
)

// BenchmarkAttention reports the mean over the runs as Go does, and the rate and bandwidth of the best run,
// which other work on the machine disturbs least. A causal op counts its visible pairs.
func BenchmarkAttention(b *testing.B) {
	type op = vkattn.Attention
	prefill := func(heads, kv, n, d int, causal bool) op {
		return op{Batch: 1, HeadsQ: heads, HeadsK: kv, SeqQ: n, SeqK: n, HeadDim: d, Causal: causal}
	}
	decode := func(heads, kv, keys int) op {
		return op{Batch: 1, HeadsQ: heads, HeadsK: kv, SeqQ: 1, SeqK: keys, HeadDim: 128}
	}
	for _, bm := range []struct {
		name string
		op   op
	}{
		{"full/h4s1024d64", prefill(4, 4, 1024, 64, false)},
		{"full/h4s1024d128", prefill(4, 4, 1024, 128, false)},
		{"causal/h4s1024d64", prefill(4, 4, 1024, 64, true)},
		{"causal/h4s1024d128", prefill(4, 4, 1024, 128, true)},
		{"causal/h32kv8s2048d128", prefill(32, 8, 2048, 128, true)},
		{"causal/h32kv8s512d64", prefill(32, 8, 512, 64, true)},
		{"decode/h32kv8s4096", decode(32, 8, 4096)},
		{"decode/h32kv8s32768", decode(32, 8, 32768)},
		{"decode/h8s32768", decode(8, 8, 32768)},
		{"decode/mla16384", op{Batch: 1, HeadsQ: 16, HeadsK: 1, SeqQ: 1, SeqK: 16384, HeadDim: 576, ValueDim: 512}},
		{"window256", op{Batch: 1, HeadsQ: 8, HeadsK: 8, SeqQ: 2048, SeqK: 2048, HeadDim: 64, Causal: true, Window: vkattn.Window{Left: vkattn.Tokens(255)}}},
		{"softcap", op{Batch: 1, HeadsQ: 8, HeadsK: 8, SeqQ: 1024, SeqK: 1024, HeadDim: 128, Softcap: 30}},
		{"mask", op{Batch: 1, HeadsQ: 8, HeadsK: 8, SeqQ: 1024, SeqK: 1024, HeadDim: 64, With: vkattn.WithMask | vkattn.WithBias}},
	} {
		for _, k := range kernels[:min(2, len(kernels))] { // the portable one and the best
			b.Run(bm.name+"/"+k.name, func(b *testing.B) {
				backend := start(Config{}, k.new)
				defer backend.Close()
				r := newContiguousRun(newRand(1), bm.op)
				r.do(b, backend)
				b.ReportAllocs()
				var work vkattn.Work
				best := time.Duration(1 << 62)
				for b.Loop() {
					began := time.Now()
					work = r.do(b, backend).Work
					best = min(best, time.Since(began))
				}
				b.ReportMetric(work.FLOPs/best.Seconds()/1e9, "best-GFLOP/s")
				b.ReportMetric(float64(work.Bytes)/best.Seconds()/1e9, "best-GB/s")
			})
		}
	}
}

// BenchmarkLinearMaps runs linear attention with every feature map on one worker: how far apart they are is what the maps
// cost.
func BenchmarkLinearMaps(b *testing.B) {
	for _, m := range []vkattn.FeatureMap{vkattn.MapIdentity, vkattn.MapReLU, vkattn.MapELU, vkattn.MapExp, vkattn.MapSiLU, vkattn.MapSoftmax, vkattn.MapFavor} {
		op := vkattn.Linear{Batch: 1, HeadsQ: 1, SeqQ: 4096, HeadDim: 64, Causal: true, Map: m}
		if m == vkattn.MapFavor {
			op.Features = 64
		}
		b.Run(m.String(), func(b *testing.B) {
			backend := New(Config{Workers: 1})
			defer backend.Close()
			r := newLinearRun(newRand(1), op, 1)
			plan, err := backend.Plan(b.Context(), op)
			if err != nil {
				b.Fatal(err)
			}
			best := time.Duration(1 << 62)
			for b.Loop() {
				began := time.Now()
				if _, err := plan.Run(b.Context(), r.args); err != nil {
					b.Fatal(err)
				}
				best = min(best, time.Since(began))
			}
			b.ReportMetric(float64(best.Nanoseconds()), "best-ns/op")
		})
	}
}

// newContiguousRun is newRun with contiguous inputs.
func newContiguousRun(rng *rand.Rand, op vkattn.Attention) *run {
	r := newRun(rng, op)
	for _, t := range []*vkattn.Tensor{&r.args.Q, &r.args.K, &r.args.V} {
		*t = vkattn.BHSD(vkattn.Float32s(normal(rng, t.Len())), t.Shape[0], t.Shape[1], t.Shape[2], t.Shape[3])
	}
	return r
}
