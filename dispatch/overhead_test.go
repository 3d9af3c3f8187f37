package dispatch_test

import (
	"testing"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/dispatch"
)

// BenchmarkOverhead runs one query row on tensors that lie on the device, over few and over many keys: what the
// host spends on a call, apart from the device's time, must not depend on them.
func BenchmarkOverhead(b *testing.B) {
	be := open(b, dispatch.Config{CacheDir: "off", SkipSelfTest: true})
	for _, x := range []struct {
		name string
		op   vkattn.Attention
	}{
		{"1x1", vkattn.Attention{Batch: 1, HeadsQ: 1, SeqQ: 1, SeqK: 1, HeadDim: 64}},
		{"512x512 window", vkattn.Attention{Batch: 1, HeadsQ: 4, SeqQ: 512, SeqK: 512, HeadDim: 64, Causal: true, Window: vkattn.Window{Left: vkattn.Tokens(4)}}},
		{"4096x4096 window", vkattn.Attention{Batch: 1, HeadsQ: 1, SeqQ: 4096, SeqK: 4096, HeadDim: 64, Causal: true, Window: vkattn.Window{Left: vkattn.Tokens(4)}}},
	} {
		b.Run(x.name, func(b *testing.B) {
			p, err := be.Plan(b.Context(), x.op)
			if err != nil {
				b.Fatal(err)
			}
			var args vkattn.Args
			for _, t := range []struct {
				t *vkattn.Tensor
				n int
			}{{&args.Q, x.op.SeqQ}, {&args.K, x.op.SeqK}, {&args.V, x.op.SeqK}, {&args.Out, x.op.SeqQ}} {
				if *t.t, err = be.NewTensor(vkattn.Float32, [4]int{1, x.op.HeadsQ, t.n, 64}); err != nil {
					b.Fatal(err)
				}
				defer t.t.Mem.Close()
			}
			device := 0.0
			b.ReportAllocs()
			for b.Loop() {
				r, err := p.Run(b.Context(), args)
				if err != nil {
					b.Fatal(err)
				}
				device += float64(r.DeviceTime.Nanoseconds())
			}
			b.ReportMetric(device/float64(b.N), "device-ns/op")
			b.ReportMetric((float64(b.Elapsed().Nanoseconds())-device)/float64(b.N), "host-ns/op")
		})
	}
}
