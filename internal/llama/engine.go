package llama

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/vkattn/vkattn"
)

// Options are how an Engine runs. The zero value is one sequence as long as the model's context.
type Options struct {
	Context int // longest sequence; 0 is the model's
	Tokens  int // most tokens of one Step; 0 is 64
}

// Engine runs a model on a backend. It serves one goroutine.
type Engine struct {
	Model     *Model
	Tokenizer *Tokenizer

	backend vkattn.Backend
	options Options

	turnQ, turnK, attend vkattn.Plan
	cos, sin             vkattn.Tensor   // [1, 1, Context, HeadDim/2]
	q                    vkattn.Tensor   // [1, Heads, Tokens, HeadDim]: queries of a step, turned
	keys, values         []vkattn.Tensor // of each layer, [1, KVHeads, Context, HeadDim]

	stats  Stats
	report vkattn.Report
}

// Stats is what an engine did.
type Stats struct {
	Steps     int
	Tokens    int           // computed, over all steps
	Time      time.Duration // of all steps
	Attention time.Duration // of Time: positions, cache and attention, with the copies to and from the device
}

// Sequence is a text in the cache of an engine.
type Sequence struct {
	length int
}

// Len is how many tokens of it are in the cache.
func (s *Sequence) Len() int { return s.length }

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

// NewEngine makes the plans and the cache for a model, whose tokenizer may be nil if it only computes. Close it before the backend.
func NewEngine(ctx context.Context, b vkattn.Backend, m *Model, t *Tokenizer, o Options) (_ *Engine, err error) {
	if o.Context == 0 {
		o.Context = m.Context
	}
	if o.Context < 0 || o.Context > m.Context {
		return nil, fmt.Errorf("llama: a context of %d tokens, the model has %d", o.Context, m.Context)
	}
	if o.Tokens == 0 {
		o.Tokens = 64
	}
	o.Tokens = min(o.Tokens, o.Context)
	e := &Engine{Model: m, Tokenizer: t, backend: b, options: o}
	defer func() {
		if err != nil {
			e.Close()
		}
	}()
	const theta = 1e4
	inv, factor, err := vkattn.RopeFrequencies(m.HeadDim(), theta, nil)
	if err != nil {
		return nil, err
	}
	if e.cos, e.sin, err = vkattn.RopeTable(inv, factor, 0, o.Context); err != nil {
		return nil, err
	}
	turn := vkattn.Rope{Batch: 1, Heads: m.Heads, Seq: o.Tokens, HeadDim: m.HeadDim(), Layout: vkattn.RopeInterleaved}
	if e.turnQ, err = b.Plan(ctx, turn); err != nil {
		return nil, err
	}
	turn.Heads = m.KVHeads
	if e.turnK, err = b.Plan(ctx, turn); err != nil {
		return nil, err
	}
	if e.attend, err = b.Plan(ctx, vkattn.Attention{
		Batch: 1, HeadsQ: m.Heads, HeadsK: m.KVHeads, SeqQ: o.Tokens, SeqK: o.Context, HeadDim: m.HeadDim(), Causal: true,
	}); err != nil {
		return nil, err
	}
	if e.q, err = b.NewTensor(vkattn.Float32, [4]int{1, m.Heads, o.Tokens, m.HeadDim()}); err != nil {
		return nil, err
	}
	for range m.Layers {
		for _, list := range []*[]vkattn.Tensor{&e.keys, &e.values} {
			t, err := b.NewTensor(vkattn.Float32, [4]int{1, m.KVHeads, o.Context, m.HeadDim()})
			if err != nil {
				return nil, err
			}
			*list = append(*list, t)
		}
	}
	return e, nil
}

// Close gives back the plans and the cache. It is idempotent.
func (e *Engine) Close() error {
	var errs []error
	for _, p := range []*vkattn.Plan{&e.turnQ, &e.turnK, &e.attend} {
		if *p != nil {
			errs = append(errs, (*p).Close())
			*p = nil
		}
	}
	for _, t := range append(append(e.keys, e.values...), e.q) {
		if t.Given() {
			errs = append(errs, t.Mem.Close())
		}
	}
	e.keys, e.values, e.q = nil, nil, vkattn.Tensor{}
	return errors.Join(errs...)
}

// Stats is what the engine did so far.
func (e *Engine) Stats() Stats { return e.stats }

// Report is that of the last batch of calls: positions and attention of one layer.
func (e *Engine) Report() vkattn.Report { return e.report }

// NewSequence starts an empty text.
func (e *Engine) NewSequence() *Sequence { return &Sequence{} }

// Step runs the model over the next tokens of a text and returns the logits of what follows the last of them.
func (e *Engine) Step(ctx context.Context, s *Sequence, tokens []int) ([]float32, error) {
	m, rows := e.Model, len(tokens)
	if rows < 1 || rows > e.options.Tokens || s.length+rows > e.options.Context {
		return nil, fmt.Errorf("llama: %d tokens behind %d, want 1 to %d, and %d together at most", rows, s.length, e.options.Tokens, e.options.Context)
	}
	start := time.Now()
	x := make([]float32, rows*m.Dim)
	for i, t := range tokens {
		if t < 0 || t >= m.Vocab {
			return nil, fmt.Errorf("llama: token %d, the model has %d", t, m.Vocab)
		}
		copy(x[i*m.Dim:], m.embedding[t*m.Dim:(t+1)*m.Dim])
	}
	y := make([]float32, rows*m.Dim)
	q := make([]float32, rows*m.Dim)
	k, v := make([]float32, rows*m.kvDim()), make([]float32, rows*m.kvDim())
	up, down := make([]float32, rows*m.Hidden), make([]float32, rows*m.Hidden)
	for i := range m.layers {
		l := &m.layers[i]
		normalize(y, x, l.attentionNorm)
		multiply(q, y, l.wq, m.Dim)
		multiply(k, y, l.wk, m.Dim)
		multiply(v, y, l.wv, m.Dim)
		if err := e.attention(ctx, i, s, q, k, v); err != nil {
			return nil, err
		}
		multiply(y, q, l.wo, m.Dim)
		add(x, y)
		normalize(y, x, l.hiddenNorm)
		multiply(up, y, l.w1, m.Dim)
		multiply(down, y, l.w3, m.Dim)
		gate(up, down)
		multiply(y, up, l.w2, m.Hidden)
		add(x, y)
	}
	last := x[(rows-1)*m.Dim:]
	normalize(last, last, m.norm)
	logits := make([]float32, m.Vocab)
	multiply(logits, last, m.classifier, m.Dim)
	s.length += rows
	e.stats.Steps++
	e.stats.Tokens += rows
	e.stats.Time += time.Since(start)
	return logits, nil
}

// attention turns queries and keys by their positions, appends keys and values to the cache of a layer and replaces
// the queries by what they attend to.
func (e *Engine) attention(ctx context.Context, layer int, s *Sequence, q, k, v []float32) error {
	start := time.Now()
	defer func() { e.stats.Attention += time.Since(start) }()
	m, rows := e.Model, len(q)/e.Model.Dim
	lo, hi := s.length, s.length+rows
	host := func(x []float32, heads int) vkattn.Tensor {
		return vkattn.THD(vkattn.Float32s(x), rows, heads, m.HeadDim())
	}
	turned := e.q.Slice(2, 0, rows)
	keys, values := e.keys[layer], e.values[layer]
	cos, sin := e.cos.Slice(2, lo, hi), e.sin.Slice(2, lo, hi)
	if err := e.backend.Copy(ctx, values.Slice(2, lo, hi), host(v, m.KVHeads)); err != nil {
		return err
	}
	batch := e.backend.NewBatch()
	for _, call := range []struct {
		plan vkattn.Plan
		args vkattn.Args
	}{
		{e.turnQ, vkattn.Args{Q: host(q, m.Heads), Out: turned, Cos: cos, Sin: sin}},
		{e.turnK, vkattn.Args{Q: host(k, m.KVHeads), Out: keys.Slice(2, lo, hi), Cos: cos, Sin: sin}},
		{e.attend, vkattn.Args{Q: turned, K: keys.Slice(2, 0, hi), V: values.Slice(2, 0, hi), Out: host(q, m.Heads)}},
	} {
		if err := call.plan.Record(batch, call.args); err != nil {
			return err
		}
	}
	pending, err := batch.Submit(ctx)
	if err != nil {
		return err
	}
	e.report, err = pending.Wait(ctx)
	return err
}
