package dispatch_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/dispatch"
)

// filledCache is a cache of one layer with n sequences of so many tokens, and device tensors for a step of one token each.
func filledCache(b *testing.B, be *dispatch.Backend, op vkattn.Attention, page, shared, each int) (c vkattn.Cache, seqs []vkattn.CacheSeq, args vkattn.CacheArgs) {
	b.Helper()
	const chunk = 1024
	op.SeqQ = chunk
	op.SeqK = max(shared, 0) + each + 64
	op.TotalQ = max(chunk, op.Batch)
	c, err := be.NewCache(b.Context(), vkattn.CacheSpec{Op: op, Layers: 1, Page: page, Pages: pagesFor(op, page, shared, each)})
	if err != nil {
		b.Skip(err)
	}
	b.Cleanup(func() { c.Close() })
	tensor := func(tokens, heads, last int) vkattn.Tensor {
		t, err := be.NewTensor(vkattn.Float32, [4]int{1, heads, tokens, last})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { t.Mem.Close() })
		host := t
		host.Mem = vkattn.Float32s(normal(rand.New(rand.NewPCG(1, 2)), t.Len()))
		if err := be.Copy(b.Context(), t, host); err != nil {
			b.Fatal(err)
		}
		return t
	}
	o := c.Spec().Op
	k, v := tensor(chunk, o.HeadsK, o.HeadDim), tensor(chunk, o.HeadsV, o.ValueDim)
	grow := func(s vkattn.CacheSeq, tokens int) {
		for at := 0; at < tokens; at += chunk {
			n := min(chunk, tokens-at)
			step, err := c.Step(b.Context(), []vkattn.CacheTokens{{Seq: s, N: n}})
			if err != nil {
				b.Fatal(err)
			}
			if _, err := step.Run(b.Context(), 0, vkattn.CacheArgs{K: k.Slice(2, 0, n), V: v.Slice(2, 0, n)}); err != nil {
				b.Fatal(err)
			}
		}
	}
	first, err := c.Add()
	if err != nil {
		b.Fatal(err)
	}
	grow(first, shared)
	seqs = []vkattn.CacheSeq{first}
	for len(seqs) < op.Batch {
		s, err := c.Fork(first)
		if err != nil {
			b.Fatal(err)
		}
		seqs = append(seqs, s)
	}
	for _, s := range seqs {
		grow(s, each)
	}
	n := op.Batch
	return c, seqs, vkattn.CacheArgs{Q: tensor(n, o.HeadsQ, o.HeadDim), K: k.Slice(2, 0, n), V: v.Slice(2, 0, n), Out: tensor(n, o.HeadsQ, o.ValueDim)}
}

func pagesFor(op vkattn.Attention, page, shared, each int) int {
	if page == 0 {
		return 0
	}
	up := func(n int) int { return (n + page - 1) / page }
	return up(shared) + op.Batch*(up(each+64)+2)
}

// token runs a step of one token for every sequence and takes it back.
func token(b *testing.B, c vkattn.Cache, seqs []vkattn.CacheSeq, args vkattn.CacheArgs) vkattn.Report {
	b.Helper()
	var tokens []vkattn.CacheTokens
	for _, s := range seqs {
		tokens = append(tokens, vkattn.CacheTokens{Seq: s, N: 1})
	}
	step, err := c.Step(b.Context(), tokens)
	if err != nil {
		b.Fatal(err)
	}
	r, err := step.Run(b.Context(), 0, args)
	if err != nil {
		b.Fatal(err)
	}
	for _, s := range seqs {
		if err := c.Truncate(s, c.Len(s)-1); err != nil {
			b.Fatal(err)
		}
	}
	return r
}

var decodeOp = vkattn.Attention{HeadsQ: 32, HeadsK: 8, HeadDim: 128}

// BenchmarkKVCacheDecode is one token for each sequence, in one layer, with the bytes of its keys and values.
func BenchmarkKVCacheDecode(b *testing.B) {
	be := open(b, dispatch.Config{})
	for _, keys := range []int{4096, 32768} {
		for _, batch := range []int{1, 8} {
			for _, page := range []int{0, 1, 16, 256} {
				b.Run(fmt.Sprintf("keys=%d/batch=%d/page=%d", keys, batch, page), func(b *testing.B) {
					op := decodeOp
					op.Batch = batch
					c, seqs, args := filledCache(b, be, op, page, 0, keys)
					token(b, c, seqs, args)
					roofs, err := be.Roofs(b.Context())
					if err != nil {
						b.Fatal(err)
					}
					bytes := int64(batch) * int64(keys) * 8 * 128 * 2 * 4
					b.SetBytes(bytes)
					var device time.Duration
					for b.Loop() {
						device += token(b, c, seqs, args).DeviceTime
					}
					b.ReportMetric(float64(b.Elapsed()-device)/float64(b.N)/1e3, "host-us/op")
					b.ReportMetric(100*float64(bytes)*float64(b.N)/device.Seconds()/(1e9*roofs.ReadGBps), "%roof")
				})
			}
		}
	}
}

// BenchmarkKVCacheCascade is one token for each of 32 sequences that share 4,096 tokens.
func BenchmarkKVCacheCascade(b *testing.B) {
	be := open(b, dispatch.Config{})
	for _, cascade := range []bool{false, true} {
		b.Run(fmt.Sprintf("cascade=%v", cascade), func(b *testing.B) {
			op := decodeOp
			op.Batch = 32
			c, seqs, args := filledCache(b, be, op, 16, 4096, 64)
			args.Cascade = cascade
			token(b, c, seqs, args)
			for b.Loop() {
				token(b, c, seqs, args)
			}
		})
	}
}

// BenchmarkKVCacheToken is what a token through 32 layers takes when its sequence is short: layer by layer, recorded to one batch, and
// recorded once for all tokens. host-us is the part that the device does not work.
func BenchmarkKVCacheToken(b *testing.B) {
	be := open(b, dispatch.Config{})
	op := decodeOp
	op.Batch, op.SeqQ, op.SeqK = 1, 1, 1<<14
	spec := vkattn.CacheSpec{Op: op, Layers: 32, Page: 16, Pages: 64}
	for _, how := range []string{"layer by layer", "one batch", "recorded once"} {
		b.Run(how, func(b *testing.B) {
			c, err := be.NewCache(b.Context(), spec)
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			s, err := c.Add()
			if err != nil {
				b.Fatal(err)
			}
			tensor := func(heads int) vkattn.Tensor {
				t, err := be.NewTensor(vkattn.Float32, [4]int{1, heads, 1, 128})
				if err != nil {
					b.Fatal(err)
				}
				b.Cleanup(func() { t.Mem.Close() })
				return t
			}
			all := make([]vkattn.CacheArgs, spec.Layers)
			for i := range all {
				all[i] = vkattn.CacheArgs{Q: tensor(32), K: tensor(8), V: tensor(8), Out: tensor(32)}
			}
			decoder, err := c.(*dispatch.KVCache).NewDecoder(all)
			if err != nil {
				b.Fatal(err)
			}
			defer decoder.Close()
			run := func() (device time.Duration) {
				if c.Len(s) == 100 {
					if err := c.Truncate(s, 40); err != nil {
						b.Fatal(err)
					}
				}
				step, err := c.Step(b.Context(), []vkattn.CacheTokens{{Seq: s, N: 1}})
				if err != nil {
					b.Fatal(err)
				}
				switch how {
				case "layer by layer":
					for layer, args := range all {
						r, err := step.Run(b.Context(), layer, args)
						if err != nil {
							b.Fatal(err)
						}
						device += r.DeviceTime
					}
				case "one batch":
					batch := be.NewBatch()
					for layer, args := range all {
						if err := step.Record(batch, layer, args); err != nil {
							b.Fatal(err)
						}
					}
					p, err := batch.Submit(b.Context())
					if err != nil {
						b.Fatal(err)
					}
					r, err := p.Wait(b.Context())
					if err != nil {
						b.Fatal(err)
					}
					device = r.DeviceTime
				default:
					r, err := decoder.Run(b.Context(), step)
					if err != nil {
						b.Fatal(err)
					}
					device = r.DeviceTime
				}
				return device
			}
			for range 50 {
				run()
			}
			var device time.Duration
			for b.Loop() {
				device += run()
			}
			b.ReportMetric(float64(b.Elapsed()-device)/float64(b.N)/1e3, "host-us/op")
		})
	}
}
