package serve

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/cpu"
)

// Layers is the attention of a model without the model: queries, keys and values are random, the same ones for the same place in the same
// sequence, so that what is in the cache is known without being kept. Every now and then a row is computed again, in float64.
type Layers struct {
	backend vkattn.Backend
	cache   vkattn.Cache
	spec    vkattn.CacheSpec
	q, k, v source
	out     []output // by layer
	check   Check
	every   int
	steps   int
	rand    *rand.Rand
	report  vkattn.Report
	inv     []float64
}

// Check is how exact the rows that were computed again are.
type Check struct {
	Rows    int64   `json:"rows"`
	Worst   float64 `json:"worst"` // largest relative L2 error of a row
	Allowed float64 `json:"allowed"`
	OK      bool    `json:"ok"`
	Where   string  `json:"where,omitempty"` // of the first that is not
}

// theta is the base of the rotary positions.
const theta = 5e5

// NewLayers makes a cache of that spec, whose Rope it sets, and computes a row of the first step and of each every-th after it again in float64. Close it.
func NewLayers(ctx context.Context, b vkattn.Backend, spec vkattn.CacheSpec, seed uint64, every int) (*Layers, error) {
	backend, ok := b.(vkattn.CacheBackend)
	if !ok {
		return nil, &vkattn.UnsupportedError{Op: "a cache of keys and values", Backend: b.Info().Backend}
	}
	l := &Layers{backend: b, every: every, rand: rand.New(rand.NewPCG(seed, 0xc4ec)), check: Check{OK: true}}
	if d := spec.Op.HeadDim &^ 1; d > 0 {
		inv, _, err := vkattn.RopeFrequencies(d, theta, nil)
		if err != nil {
			return nil, err
		}
		l.inv, spec.Rope = inv, vkattn.CacheRope{InvFreq: inv}
	}
	var err error
	if l.cache, err = backend.NewCache(ctx, spec); err != nil {
		return nil, err
	}
	l.spec = l.cache.Spec()
	op := &l.spec.Op
	l.check.Allowed = allowed(op)
	r := rand.New(rand.NewPCG(seed, 0xda7a))
	l.q, l.k, l.v = newSource(r, op.HeadsQ, op.HeadDim), newSource(r, op.HeadsK, op.HeadDim), newSource(r, op.HeadsV, op.ValueDim)
	l.out = make([]output, l.spec.Layers)
	return l, nil
}

// allowed is what a row may be off by: the rounding of the type that it comes in, and of cached numbers that lie between two
// numbers of their type and may go either way.
func allowed(op *vkattn.Attention) float64 {
	most := 1e-5
	for _, t := range []vkattn.Type{op.TypeK, op.TypeV, op.TypeOut} {
		most = max(most, map[vkattn.Type]float64{
			vkattn.Float16: 1e-3, vkattn.BFloat16: 8e-3, vkattn.Q8_0: 1e-2, vkattn.Q4_0: 0.1, vkattn.F8E4M3: 0.05, vkattn.F8E5M2: 0.1,
		}[t])
	}
	return most
}

// Close gives the cache back.
func (l *Layers) Close() error { return l.cache.Close() }

// Cache is where the sequences are.
func (l *Layers) Cache() vkattn.Cache { return l.cache }

// Check is what the rows that were computed again say.
func (l *Layers) Check() Check { return l.check }

// Report is that of the last step.
func (l *Layers) Report() vkattn.Report { return l.report }

// Warm runs steps of all sizes and forgets them, so that no sequence of the load waits for a kernel to be compiled.
func (l *Layers) Warm(ctx context.Context) error {
	every := l.every
	l.every = 0
	defer func() { l.every, l.steps = every, 0 }()
	most := min(l.spec.Op.SeqQ, l.spec.Op.TotalQ)
	for n := 1; ; n = min(2*n, most) {
		s, err := l.cache.Add()
		if err != nil {
			return err
		}
		if err := errors.Join(l.Step(ctx, []vkattn.CacheTokens{{Seq: s, N: n}}), l.cache.Remove(s)); err != nil || n == most {
			return err
		}
	}
}

// Step computes all layers in one batch, from host memory and back to it, and gives back pages that a window has left behind.
func (l *Layers) Step(ctx context.Context, tokens []vkattn.CacheTokens) error {
	step, err := l.cache.Step(ctx, tokens)
	if err != nil {
		return err
	}
	op, n := &l.spec.Op, step.Tokens()
	args := vkattn.CacheArgs{Q: l.q.fill(tokens, l.cache.Len), K: l.k.fill(tokens, l.cache.Len), V: l.v.fill(tokens, l.cache.Len)}
	batch := l.backend.NewBatch()
	for layer := range l.spec.Layers {
		args.Out = l.out[layer].tensor(op.TypeOut, n, op.HeadsQ, op.ValueDim)
		if err := step.Record(batch, layer, args); err != nil {
			return err
		}
	}
	pending, err := batch.Submit(ctx)
	if err != nil {
		return err
	}
	if l.report, err = pending.Wait(ctx); err != nil {
		return err
	}
	if l.steps++; l.every > 0 && (l.steps-1)%l.every == 0 {
		if err := l.again(tokens); err != nil {
			return err
		}
	}
	if op.Window.Left.Set {
		for _, t := range tokens {
			if _, err := l.cache.Evict(t.Seq); err != nil {
				return err
			}
		}
	}
	return nil
}

// again computes the last token of one sequence of a step, in one head and layer, from all its keys and values in float64, and
// compares.
func (l *Layers) again(tokens []vkattn.CacheTokens) error {
	at, row := l.rand.IntN(len(tokens)), -1
	for _, t := range tokens[:at+1] {
		row += t.N
	}
	op, seq, layer, head := l.spec.Op, tokens[at].Seq, l.rand.IntN(l.spec.Layers), l.rand.IntN(l.spec.Op.HeadsQ)
	n := l.cache.Len(seq)
	q, err := l.turned(l.q.history(seq, head, n-1, n), n-1)
	if err != nil {
		return err
	}
	k, err := l.turned(l.k.history(seq, op.HeadMap.Map(head, op.HeadsQ, op.HeadsK), 0, n), 0)
	if err != nil {
		return err
	}
	v := l.v.history(seq, op.HeadMap.Map(head, op.HeadsQ, op.HeadsV), 0, n)
	for _, x := range []struct {
		t   *vkattn.Tensor
		typ vkattn.Type
	}{{&k, op.TypeK}, {&v, op.TypeV}} {
		if *x.t, err = x.t.To(x.typ); err != nil {
			return err
		}
	}
	one := op
	one.Batch, one.HeadsQ, one.HeadsK, one.HeadsV, one.SeqQ, one.SeqK = 1, 1, 1, 1, 1, n
	one.Packed, one.TotalQ, one.TotalK, one.TypeOut = false, 0, 0, vkattn.Float32
	want, err := cpu.Oracle(one, &vkattn.Args{Q: q, K: k, V: v, Out: vkattn.BHSD(vkattn.Float32s(make([]float32, op.ValueDim)), 1, 1, 1, op.ValueDim)})
	if err != nil {
		return err
	}
	got := make([]float32, op.ValueDim)
	out := l.out[layer].last
	if err := out.Type.Decode(got, l.out[layer].bytes[out.Type.Bytes(out.Index(0, head, row, 0)):][:out.Type.Bytes(op.ValueDim)]); err != nil {
		return err
	}
	var off, norm float64
	for i, w := range want.Out {
		off += (float64(got[i]) - w) * (float64(got[i]) - w)
		norm += w * w
	}
	e := math.Sqrt(off / norm)
	l.check.Rows++
	l.check.Worst = max(l.check.Worst, e)
	if !(e <= l.check.Allowed) && l.check.OK {
		l.check.OK, l.check.Where = false, fmt.Sprintf("step %d, sequence %d, token %d, head %d, layer %d: off by %g", l.steps, seq, n-1, head, layer, e)
	}
	return nil
}

// turned is x [1, 1, n, D] with rotary positions from base on, as the cache has it.
func (l *Layers) turned(x vkattn.Tensor, base int) (vkattn.Tensor, error) {
	if l.inv == nil {
		return x, nil
	}
	n, d := x.Shape[2], x.Shape[3]
	cos, sin, err := vkattn.RopeTable(l.inv, 1, base, n)
	if err != nil {
		return x, err
	}
	y, err := cpu.OracleRope(vkattn.Rope{Batch: 1, Heads: 1, Seq: n, HeadDim: d, RotaryDim: 2 * len(l.inv)}, &vkattn.Args{Q: x, Out: x, Cos: cos, Sin: sin})
	if err != nil {
		return x, err
	}
	to := x.Mem.(*vkattn.Host).Float32s()
	for i, v := range y {
		to[i] = float32(v)
	}
	return x, nil
}

// output is memory that grows to the largest step and stays.
type output struct {
	bytes []byte
	last  vkattn.Tensor
}

// tensor is packed, token by token.
func (h *output) tensor(t vkattn.Type, tokens, heads, dim int) vkattn.Tensor {
	if n := t.Bytes(tokens * heads * dim); len(h.bytes) < n {
		h.bytes = vkattn.Float32s(make([]float32, (n+3)/4)).Bytes()
	}
	h.last = vkattn.THD(vkattn.Bytes(h.bytes), tokens, heads, dim).As(t)
	return h.last
}
