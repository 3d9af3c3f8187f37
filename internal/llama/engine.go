package llama

import (
	"context"
	"fmt"
	"time"

	"github.com/vkattn/vkattn"
)

// Options are how an Engine runs. The zero value is one text at a time, as long as the model's context, with a cache
// in float32.
type Options struct {
	Sequences int         // most texts at a time; 0 is 1
	Context   int         // longest text; 0 is the model's
	Tokens    int         // most tokens of one Step; 0 is 64
	Page      int         // tokens of a page of the cache; 0: no pages, each text has room for Context
	Pages     int         // 0: enough for all
	Cache     vkattn.Type // of keys and values; see Width
	SplitKeys int         // as in vkattn.CacheSpec: the bits of a text then do not depend on what else is computed
}

// Engine runs a model on a backend. It serves one goroutine.
type Engine struct {
	Model     *Model
	Tokenizer *Tokenizer
	Cache     vkattn.Cache // its sequences are the texts

	options Options
	width   int
	scratch activations
	stats   Stats
	report  vkattn.Report
}

// Stats is what an engine did.
type Stats struct {
	Steps     int
	Tokens    int           // computed, over all steps
	Time      time.Duration // of all steps
	Attention time.Duration // of Time: positions, cache and attention, with the copies to and from the device
}

// since is what was done after before.
func (s Stats) since(before Stats) Stats {
	return Stats{s.Steps - before.Steps, s.Tokens - before.Tokens, s.Time - before.Time, s.Attention - before.Attention}
}

// Open is NewEngine of a model and its tokenizer in files.
func Open(ctx context.Context, b vkattn.Backend, model, tokenizer string, o Options) (*Engine, error) {
	m, err := OpenModel(model)
	if err != nil {
		return nil, err
	}
	t, err := OpenTokenizer(tokenizer, m.Vocab)
	if err != nil {
		return nil, err
	}
	return NewEngine(ctx, b, m, t, o)
}

// NewEngine makes the cache for a model, whose tokenizer may be nil if it only computes. Close it before the backend.
func NewEngine(ctx context.Context, b vkattn.Backend, m *Model, t *Tokenizer, o Options) (*Engine, error) {
	o, err := o.settle(m)
	if err != nil {
		return nil, err
	}
	e := &Engine{Model: m, Tokenizer: t, options: o, width: Width(m.HeadDim(), o.Cache)}
	const theta = 1e4
	inv, factor, err := vkattn.RopeFrequencies(m.HeadDim(), theta, nil)
	if err != nil {
		return nil, err
	}
	backend, ok := b.(vkattn.CacheBackend)
	if !ok {
		return nil, &vkattn.UnsupportedError{Op: "a cache of keys and values", Backend: b.Info().Backend}
	}
	if e.Cache, err = backend.NewCache(ctx, vkattn.CacheSpec{
		Op: vkattn.Attention{
			Batch: o.Sequences, HeadsQ: m.Heads, HeadsK: m.KVHeads, SeqQ: o.Tokens, SeqK: o.Context, TotalQ: o.Tokens,
			HeadDim: e.width, Scale: m.scale(), Causal: true, Packed: true, TypeK: o.Cache, TypeV: o.Cache,
		},
		Layers: m.Layers, Page: o.Page, Pages: o.Pages, SplitKeys: o.SplitKeys,
		Rope: vkattn.CacheRope{InvFreq: inv, Attention: factor, Layout: vkattn.RopeInterleaved},
	}); err != nil {
		return nil, err
	}
	return e, nil
}

func (o Options) settle(m *Model) (Options, error) {
	if o.Context == 0 {
		o.Context = m.Context
	}
	if o.Sequences == 0 {
		o.Sequences = 1
	}
	if o.Context < 0 || o.Context > m.Context || o.Sequences < 0 || o.Tokens < 0 {
		return o, fmt.Errorf("llama: %d texts of %d tokens, %d of a step: want a context up to the model's %d, and no negative numbers",
			o.Sequences, o.Context, o.Tokens, m.Context)
	}
	if o.Tokens == 0 {
		o.Tokens = max(64, o.Sequences)
	}
	if o.Sequences == 1 {
		o.Tokens = min(o.Tokens, o.Context)
	}
	return o, nil
}

// Width is the size of a head in a cache of a type: types that come in blocks need whole ones, so heads are filled up with
// zeros, which changes no score and no value.
func Width(headDim int, t vkattn.Type) int {
	n, _ := t.Block()
	return (headDim + n - 1) / n * n
}

// scale is that of the model's heads, however wide they are in the cache.
func (c Config) scale() vkattn.Number {
	return vkattn.Attention{HeadDim: c.HeadDim()}.Canonical().Scale
}

// Close gives back the cache. It is idempotent.
func (e *Engine) Close() error { return e.Cache.Close() }

// Stats is what the engine did so far.
func (e *Engine) Stats() Stats { return e.stats }

// Report is that of the last call of attention.
func (e *Engine) Report() vkattn.Report { return e.report }

// Chunk is the next tokens of a text, at least one.
type Chunk struct {
	Text   vkattn.CacheSeq
	Tokens []int
}

// Step runs the model over the next tokens of some texts and returns for each the logits of what follows. They are of use until the next
// Step. When it fails the cache is as before, unless the device failed.
func (e *Engine) Step(ctx context.Context, chunks ...Chunk) (logits [][]float32, err error) {
	start := time.Now()
	m, rows := e.Model, 0
	parts := make([]vkattn.CacheTokens, len(chunks))
	for i, c := range chunks {
		parts[i] = vkattn.CacheTokens{Seq: c.Text, N: len(c.Tokens)}
		rows += len(c.Tokens)
		for _, t := range c.Tokens {
			if t < 0 || t >= m.Vocab {
				return nil, fmt.Errorf("llama: token %d, the model has %d", t, m.Vocab)
			}
		}
	}
	step, err := e.Cache.Step(ctx, parts)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			for _, c := range chunks {
				e.Cache.Truncate(c.Text, e.Cache.Len(c.Text)-len(c.Tokens))
			}
		}
	}()
	a := e.scratch.grow(m, rows, len(chunks))
	x := a.x[:0]
	for _, c := range chunks {
		for _, t := range c.Tokens {
			x = append(x, m.embedding[t*m.Dim:(t+1)*m.Dim]...)
		}
	}
	for i := range m.layers {
		l := &m.layers[i]
		normalize(a.y, x, l.attentionNorm)
		multiply(a.q, a.y, l.wq, m.Dim)
		multiply(a.k, a.y, l.wk, m.Dim)
		multiply(a.v, a.y, l.wv, m.Dim)
		if err := e.attend(ctx, step, i, a); err != nil {
			return nil, err
		}
		multiply(a.y, a.q, l.wo, m.Dim)
		add(x, a.y)
		normalize(a.y, x, l.hiddenNorm)
		multiply(a.gate, a.y, l.w1, m.Dim)
		multiply(a.up, a.y, l.w3, m.Dim)
		gate(a.gate, a.up)
		multiply(a.y, a.gate, l.w2, m.Hidden)
		add(x, a.y)
	}
	last := a.y[:0] // of each text, the only rows whose logits anybody needs
	end := 0
	for _, c := range chunks {
		end += len(c.Tokens)
		last = append(last, x[(end-1)*m.Dim:end*m.Dim]...)
	}
	normalize(last, last, m.norm)
	multiply(a.logits, last, m.classifier, m.Dim)
	for i := range chunks {
		logits = append(logits, a.logits[i*m.Vocab:(i+1)*m.Vocab])
	}
	e.stats.Steps++
	e.stats.Tokens += rows
	e.stats.Time += time.Since(start)
	return logits, nil
}

// attend has the cache turn queries and keys by their positions, append keys and values, and replaces the queries by
// what they attend to.
func (e *Engine) attend(ctx context.Context, step vkattn.CacheStep, layer int, a *activations) (err error) {
	start := time.Now()
	defer func() { e.stats.Attention += time.Since(start) }()
	m, dim, rows := e.Model, e.Model.HeadDim(), step.Tokens()
	q, k, v := a.q, a.k, a.v
	if e.width != dim {
		q, k, v = widen(&a.wide[0], q, dim, e.width), widen(&a.wide[1], k, dim, e.width), widen(&a.wide[2], v, dim, e.width)
	}
	a.out = sized(a.out, len(q))
	host := func(x []float32, heads int) vkattn.Tensor {
		return vkattn.THD(vkattn.Float32s(x), rows, heads, e.width)
	}
	if e.report, err = step.Run(ctx, layer, vkattn.CacheArgs{
		Q: host(q, m.Heads), K: host(k, m.KVHeads), V: host(v, m.KVHeads), Out: host(a.out, m.Heads),
	}); err != nil {
		return err
	}
	for i := 0; i*dim < len(a.q); i++ {
		copy(a.q[i*dim:(i+1)*dim], a.out[i*e.width:])
	}
	return nil
}
