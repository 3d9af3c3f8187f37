package cpu

import (
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/vkattn/vkattn"
)

// BenchmarkDecodeRoof compares a decode over a cache that is larger than L3 with the bandwidth of a plain read
// loop over the same memory on all cores. Both run in turn, so that other work on the machine disturbs both.
func BenchmarkDecodeRoof(b *testing.B) {
	if !hasAVX2 {
		b.Skip("the loop needs AVX2")
	}
	for _, shape := range []struct{ batch, heads, keys, d int }{
		{1, 32, 32768, 128}, {1, 8, 32768, 128}, {1, 64, 32768, 128}, {1, 32, 65536, 64}, {8, 32, 4096, 128},
	} {
		b.Run(fmt.Sprintf("b%dh%dkv8s%dd%d", shape.batch, shape.heads, shape.keys, shape.d), func(b *testing.B) {
			op := vkattn.Attention{Batch: shape.batch, HeadsQ: shape.heads, HeadsK: 8, SeqQ: 1, SeqK: shape.keys, HeadDim: shape.d}
			backend := New(Config{})
			defer backend.Close()
			r := newContiguousRun(newRand(1), op)
			memory := [][]float32{floats32(r.args.K), floats32(r.args.V)}
			workers := runtime.GOMAXPROCS(0)
			read := func() {
				var group sync.WaitGroup
				for n := range workers {
					group.Go(func() {
						for _, m := range memory {
							piece := len(m) / workers &^ 63
							readFloats(&m[n*piece], piece)
						}
					})
				}
				group.Wait()
			}
			var reads, decodes []float64
			r.do(b, backend)
			for b.Loop() {
				began := time.Now()
				read()
				between := time.Now()
				r.do(b, backend)
				reads = append(reads, between.Sub(began).Seconds())
				decodes = append(decodes, time.Since(between).Seconds())
			}
			slices.Sort(reads)
			slices.Sort(decodes)
			gb, middle := float64(8*len(memory[0]))/1e9, len(reads)/2
			b.ReportMetric(gb/reads[0], "best-read-GB/s")
			b.ReportMetric(gb/decodes[0], "best-GB/s")
			b.ReportMetric(100*reads[0]/decodes[0], "best-%roof")
			b.ReportMetric(100*reads[middle]/decodes[middle], "median-%roof")
		})
	}
}

// BenchmarkProducts measures the register tiles of a whole tile on one core, with all data in the caches.
func BenchmarkProducts(b *testing.B) {
	if !hasAVX2 {
		b.Skip("needs AVX2")
	}
	const d, keys, blocks = 128, avx2Keys, avx2Rows / blockRows
	q, k, s := growAligned(nil, avx2Rows*d), growAligned(nil, keys*d), growAligned(nil, avx2Rows*keys)
	o, w := growAligned(nil, avx2Rows*d), growAligned(nil, avx2Rows)
	flops := float64(2 * avx2Rows * d * keys)
	report := func(b *testing.B) {
		b.ReportMetric(flops*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
	}
	b.Run("scores", func(b *testing.B) {
		for b.Loop() {
			for p := 0; p < keys; p += panelCols {
				scoresPanel(&s[p], keys, &q[0], &k[p*d], d, blocks)
			}
		}
		report(b)
	})
	b.Run("accumulate", func(b *testing.B) {
		for b.Loop() {
			for c := 0; c < d; c += panelCols {
				accumulatePanel(&o[c], d, &s[0], keys, &k[c*keys], keys, &w[0], blocks)
			}
		}
		report(b)
	})
	m := make([]float32, avx2Rows)
	b.Run("softmax", func(b *testing.B) {
		for b.Loop() {
			softmaxRows(&s[0], keys, avx2Rows, keys/panelCols, 1, &m[0], &w[0], &w[0])
		}
		b.ReportMetric(float64(avx2Rows*keys)*float64(b.N)/b.Elapsed().Seconds()/1e9, "Gscores/s")
	})
	b.Run("packKeys", func(b *testing.B) {
		for b.Loop() {
			packKeys(&k[0], &q[0], d, d, keys/panelCols)
		}
		b.ReportMetric(float64(d*keys)*float64(b.N)/b.Elapsed().Seconds()/1e9, "Gnumbers/s")
	})
	b.Run("packValues", func(b *testing.B) {
		for b.Loop() {
			packValues(&k[0], &q[0], d, keys, d)
		}
		b.ReportMetric(float64(d*keys)*float64(b.N)/b.Elapsed().Seconds()/1e9, "Gnumbers/s")
	})
}
