package dispatch_test

import (
	"errors"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/dispatch"
	"github.com/vkattn/vkattn/vk"
)

// decoding is a cache, its sequences, and the tensors of a step of one token each in device memory, for each layer.
type decoding struct {
	b    *dispatch.Backend
	c    vkattn.Cache
	seqs []vkattn.CacheSeq
	args []vkattn.CacheArgs
	rng  *rand.Rand
}

func newDecoding(t *testing.T, b *dispatch.Backend, spec vkattn.CacheSpec, prompts []int) *decoding {
	d := &decoding{b: b, c: newCache(t, b, spec), rng: rand.New(rand.NewPCG(4, 4))}
	op := d.c.Spec().Op
	d.seqs = addSeqs(t, d.c, len(prompts))
	tensor := func(heads, last int) vkattn.Tensor {
		x, err := b.NewTensor(vkattn.Float32, [4]int{1, heads, len(prompts), last})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { x.Mem.Close() })
		return x
	}
	for range spec.Layers {
		d.args = append(d.args, vkattn.CacheArgs{Q: tensor(op.HeadsQ, op.HeadDim), K: tensor(op.HeadsK, op.HeadDim), V: tensor(op.HeadsV, op.ValueDim), Out: tensor(op.HeadsQ, op.ValueDim)})
	}
	for i, s := range d.seqs {
		for at := 0; at < prompts[i]; at += op.SeqQ {
			n := min(op.SeqQ, prompts[i]-at)
			step, err := d.c.Step(t.Context(), []vkattn.CacheTokens{{Seq: s, N: n}})
			if err != nil {
				t.Fatal(err)
			}
			for layer := range spec.Layers {
				rows := func(heads, last int) vkattn.Tensor {
					return vkattn.THD(vkattn.Float32s(normal(d.rng, n*heads*last)), n, heads, last)
				}
				if _, err := step.Run(t.Context(), layer, vkattn.CacheArgs{K: rows(op.HeadsK, op.HeadDim), V: rows(op.HeadsV, op.ValueDim)}); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	return d
}

// step fills the inputs anew, and makes the step.
func (d *decoding) step(t *testing.T) vkattn.CacheStep {
	t.Helper()
	var tokens []vkattn.CacheTokens
	for _, s := range d.seqs {
		tokens = append(tokens, vkattn.CacheTokens{Seq: s, N: 1})
	}
	for i := range d.args {
		for _, x := range []vkattn.Tensor{d.args[i].Q, d.args[i].K, d.args[i].V} {
			host := x
			host.Mem = vkattn.Float32s(normal(d.rng, x.Len()))
			if err := d.b.Copy(t.Context(), x, host); err != nil {
				t.Fatal(err)
			}
		}
	}
	step, err := d.c.Step(t.Context(), tokens)
	if err != nil {
		t.Fatal(err)
	}
	return step
}

// out is what the layers have written.
func (d *decoding) out(t *testing.T) (rows [][]float32) {
	t.Helper()
	for i := range d.args {
		host := d.args[i].Out
		x := make([]float32, host.Len())
		host.Mem = vkattn.Float32s(x)
		if err := d.b.Copy(t.Context(), host, d.args[i].Out); err != nil {
			t.Fatal(err)
		}
		rows = append(rows, x)
	}
	return rows
}

// TestKVDecoder: the same commands, submitted again with other lengths and tables, give what a step that is recorded for itself gives,
// bit for bit where the parts have a fixed size.
func TestKVDecoder(t *testing.T) {
	b := open(t, dispatch.Config{Budget: time.Minute}) // one submit on any device
	for _, c := range []struct{ page, split, window int }{{0, 0, 0}, {0, 64, 0}, {4, 64, 0}, {16, 0, 0}, {16, 64, 40}, {0, 64, 40}} {
		spec := bitsSpec(c.page)
		spec.Layers, spec.SplitKeys, spec.Op.SeqK = 2, c.split, 700
		if c.window > 0 {
			spec.Op.Window, spec.Op.SinkTokens = vkattn.Window{Left: vkattn.Tokens(c.window)}, 5
		}
		one, two := newDecoding(t, b, spec, []int{240, 30, 1}), newDecoding(t, b, spec, []int{240, 30, 1})
		decoder, err := two.c.(*dispatch.KVCache).NewDecoder(two.args)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 24 {
			step := one.step(t)
			for layer := range one.args {
				if _, err := step.Run(t.Context(), layer, one.args[layer]); err != nil {
					t.Fatal(err)
				}
			}
			r, err := decoder.Run(t.Context(), two.step(t))
			if err != nil {
				t.Fatal(err)
			}
			if r.Submits != 1 {
				t.Errorf("%d submits", r.Submits)
			}
			want, got := one.out(t), two.out(t)
			for l := range want {
				for d := range want[l] {
					same := math.Float32bits(want[l][d]) == math.Float32bits(got[l][d])
					if e := math.Abs(float64(want[l][d] - got[l][d])); !(e <= 2e-6) || c.split > 0 && !same {
						t.Fatalf("%+v, step %d, layer %d, number %d: %v, want %v", c, i, l, d, got[l][d], want[l][d])
					}
				}
			}
			for _, d := range []*decoding{one, two} {
				if _, err := d.c.Evict(d.seqs[0]); err != nil {
					t.Fatal(err)
				}
			}
		}
		if n := decoder.Recorded(); n != 2 {
			t.Errorf("%+v: recorded %d times, for 256 tokens and for 512", c, n)
		}
		if err := decoder.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := decoder.Run(t.Context(), two.step(t)); !errors.Is(err, vkattn.ErrClosed) {
			t.Errorf("after close: %v", err)
		}
	}
}

// TestKVDecoderTexels: a decoder of a cache without pages, a head of which is more than texel buffers show.
func TestKVDecoderTexels(t *testing.T) {
	b := open(t, lowered(func(c *vk.Caps) { c.Limits.MaxTexelBufferElements = 4096 })) // 256 of 300 rows
	spec := banked(4)
	spec.Page, spec.Pages, spec.SplitKeys = 0, 0, 64
	one, two := newDecoding(t, b, spec, []int{100, 230, 5}), newDecoding(t, b, spec, []int{100, 230, 5})
	decoder, err := two.c.(*dispatch.KVCache).NewDecoder(two.args)
	if err != nil {
		t.Fatal(err)
	}
	defer decoder.Close()
	for i := range 30 {
		if _, err := one.step(t).Run(t.Context(), 0, one.args[0]); err != nil {
			t.Fatal(err)
		}
		if _, err := decoder.Run(t.Context(), two.step(t)); err != nil {
			t.Fatalf("step %d: %v", i, err)
		}
		if err := sameRows(two.out(t), one.out(t)); err != nil {
			t.Fatalf("step %d: %v", i, err)
		}
	}
}
