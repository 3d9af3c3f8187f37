package cpu

import (
	"testing"

	"github.com/vkattn/vkattn"
)

func BenchmarkAttention(b *testing.B) {
	for _, bm := range []struct {
		name string
		op   vkattn.Attention
	}{
		{"prefill2048", vkattn.Attention{Batch: 1, HeadsQ: 32, HeadsK: 8, SeqQ: 2048, SeqK: 2048, HeadDim: 128, Causal: true}},
		{"prefill512", vkattn.Attention{Batch: 1, HeadsQ: 32, HeadsK: 8, SeqQ: 512, SeqK: 512, HeadDim: 64, Causal: true}},
		{"window256", vkattn.Attention{Batch: 1, HeadsQ: 8, HeadsK: 8, SeqQ: 2048, SeqK: 2048, HeadDim: 64, Causal: true, Window: vkattn.Window{Left: vkattn.Tokens(255)}}},
		{"softcap", vkattn.Attention{Batch: 1, HeadsQ: 8, HeadsK: 8, SeqQ: 1024, SeqK: 1024, HeadDim: 128, Softcap: 30}},
		{"mask", vkattn.Attention{Batch: 1, HeadsQ: 8, HeadsK: 8, SeqQ: 1024, SeqK: 1024, HeadDim: 64, With: vkattn.WithMask | vkattn.WithBias}},
		{"decode32k", vkattn.Attention{Batch: 1, HeadsQ: 32, HeadsK: 8, SeqQ: 1, SeqK: 32768, HeadDim: 128}},
		{"mla16k", vkattn.Attention{Batch: 1, HeadsQ: 16, HeadsK: 1, SeqQ: 1, SeqK: 16384, HeadDim: 576, ValueDim: 512}},
	} {
		b.Run(bm.name, func(b *testing.B) {
			backend := New(Config{})
			defer backend.Close()
			rng := newRand(1)
			r := newRun(rng, bm.op)
			for _, t := range []*vkattn.Tensor{&r.args.Q, &r.args.K, &r.args.V} { // contiguous
				*t = vkattn.BHSD(vkattn.Float32s(normal(rng, t.Len())), t.Shape[0], t.Shape[1], t.Shape[2], t.Shape[3])
			}
			b.ReportAllocs()
			var report vkattn.Report
			for b.Loop() {
				report = r.do(b, backend)
			}
			seconds := b.Elapsed().Seconds() / float64(b.N)
			b.ReportMetric(report.Work.FLOPs/seconds/1e9, "GFLOP/s")
			b.ReportMetric(float64(report.Work.Bytes)/seconds/1e9, "GB/s")
		})
	}
}
