package cpu

import (
	"context"
	"fmt"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/internal/pages"
)

// cacheStep is a step of a Cache; see vkattn.CacheStep.
type cacheStep struct {
	*pages.Step
	cache     *Cache
	positions []int32
	rows      []int32 // of the pool, for each token
}

// Step makes room for new tokens; see vkattn.Cache.
func (c *Cache) Step(ctx context.Context, tokens []vkattn.CacheTokens) (vkattn.CacheStep, error) {
	s, err := locked(c, func() (*cacheStep, error) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		s, err := c.book.Step(&c.spec, tokens)
		if err != nil {
			return nil, err
		}
		return &cacheStep{s, c, s.Positions(), s.Rows(c.spec.PageTokens())}, c.move(s.Copies, nil)
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Tokens is the number of new tokens of all sequences.
func (s *cacheStep) Tokens() int { return s.Step.Tokens }

// Positions is the place of each token in its sequence.
func (s *cacheStep) Positions() []int32 { return s.positions }

// Record adds a layer to a batch; see vkattn.CacheStep.
func (s *cacheStep) Record(batch_ vkattn.Batch, layer int, args vkattn.CacheArgs) error {
	b, ok := batch_.(*batch)
	if !ok || b.backend != s.cache.backend {
		return &vkattn.ArgError{Arg: "Batch", Reason: "belongs to another backend"}
	}
	if b.submitted {
		return &vkattn.ArgError{Arg: "Batch", Reason: "has been submitted already"}
	}
	j, err := locked(s.cache, func() (*cacheJob, error) {
		if err := s.cache.book.Current(s.Step); err != nil {
			return nil, err
		}
		if err := s.cache.spec.CheckStep(layer, s.Step.Tokens, &args); err != nil {
			return nil, err
		}
		j := &cacheJob{step: s, pool: s.cache.layers[layer], args: args}
		return j, resolve([]argument{{"Q", args.Q, &j.q, nil}, {"K", args.K, &j.k, nil}, {"V", args.V, &j.v, nil}})
	})
	if err != nil {
		return err
	}
	op := s.cache.spec.Op
	if args.Q.Given() {
		if err := j.bind(&op); err != nil {
			return err
		}
	}
	b.calls = append(b.calls, recorded{name: fmt.Sprintf("cache step of %d tokens, %s", s.Step.Tokens, op), op: newAttention(op), job: j})
	return nil
}

// Run is Record into a fresh batch, Submit and Wait.
func (s *cacheStep) Run(ctx context.Context, layer int, args vkattn.CacheArgs) (vkattn.Report, error) {
	b := s.cache.backend.NewBatch()
	if err := s.Record(b, layer, args); err != nil {
		return vkattn.Report{}, err
	}
	p, err := b.Submit(ctx)
	if err != nil {
		return vkattn.Report{}, err
	}
	return p.Wait(ctx)
}

// cacheJob is a step in one layer.
type cacheJob struct {
	step    *cacheStep
	pool    poolLayer
	args    vkattn.CacheArgs
	q, k, v []float32
	calls   []*call // of the attention of each sequence
	gathers []gather
}

// gather is where the pages of a sequence come together.
type gather struct{ k, v vkattn.Tensor }

// bind makes the attention of each sequence.
func (j *cacheJob) bind(op *vkattn.Attention) error {
	s := j.step
	q := j.args.Q
	if s.cache.cos != nil {
		q = vkattn.BHSD(vkattn.Float32s(make([]float32, q.Len())), 1, op.HeadsQ, s.Step.Tokens, op.HeadDim)
	}
	for i := range s.Parts {
		p := &s.Parts[i]
		one := *op
		one.Batch, one.SeqQ, one.SeqK, one.Packed, one.TotalQ, one.TotalK = 1, p.N, p.Len, false, 0, 0
		part := func(t vkattn.Tensor) vkattn.Tensor {
			if t.Given() {
				t = t.Slice(2, p.First, p.First+p.N)
			}
			return t
		}
		args := vkattn.Args{Q: part(q), Out: part(j.args.Out), LSE: part(j.args.LSE), Slopes: j.args.Slopes, SinkLogits: j.args.SinkLogits}
		if s.cache.spec.Page == 0 {
			row := int(p.Pages[0]) * op.SeqK
			args.K, args.V = j.pool.k.Slice(2, row, row+p.Len), j.pool.v.Slice(2, row, row+p.Len)
		} else {
			var g gather
			var err error
			if g.k, err = s.cache.backend.NewTensor(op.TypeK, [4]int{1, op.HeadsK, p.Len, op.HeadDim}); err != nil {
				return err
			}
			if g.v, err = s.cache.backend.NewTensor(op.TypeV, [4]int{1, op.HeadsV, p.Len, op.ValueDim}); err != nil {
				return err
			}
			args.K, args.V = g.k, g.v
			j.gathers = append(j.gathers, g)
		}
		if p.Parents != nil {
			one.With |= vkattn.WithTree
			args.Tree = treeMask(p)
		}
		one = one.Canonical()
		c, err := bind(one, headGroups(one), args)
		if err != nil {
			return err
		}
		if s.cache.cos != nil {
			j.q = q.Mem.(*vkattn.Host).Float32s() // rotated to there
		}
		j.calls = append(j.calls, c)
	}
	return nil
}

// treeMask is the mask of a part that is a tree: each draft sees what was there before and its ancestors.
func treeMask(p *pages.Part) vkattn.Tensor {
	keep := make([]bool, p.N*p.Len)
	for i, parent := range p.Parents {
		row := keep[i*p.Len : (i+1)*p.Len]
		if parent >= 0 {
			copy(row, keep[int(parent)*p.Len:])
		}
		for k := range p.Len - p.N {
			row[k] = true
		}
		row[p.Len-p.N+i] = true
	}
	return vkattn.BHSD(vkattn.Bools(keep), 1, 1, p.N, p.Len).As(vkattn.Bool)
}

func (j *cacheJob) work() vkattn.Work {
	w := vkattn.Work{Exact: true}
	for _, c := range j.calls {
		addWork(&w, c.work())
	}
	return w
}

// run appends, and attends what is there then.
func (j *cacheJob) run(ctx context.Context, b *Backend) (splits int, err error) {
	s := j.step
	if err := j.enter(ctx, b); err != nil {
		return 0, err
	}
	splits = 1
	for i, c := range j.calls {
		if j.gathers != nil {
			j.gathers[i].fill(&s.Parts[i], j.pool, s.cache.spec.Page)
		}
		n, err := c.run(ctx, b)
		if err != nil {
			return 0, err
		}
		splits = max(splits, n)
	}
	return splits, nil
}

// fill copies the pages of a sequence. Those that are gone, no token sees.
func (g *gather) fill(p *pages.Part, pool poolLayer, page int) {
	for _, t := range [][2]vkattn.Tensor{{g.k, pool.k}, {g.v, pool.v}} {
		for h := range t[0].Shape[1] {
			for i, from := range p.Pages {
				if from != pages.Hole {
					n := min(page, p.Len-i*page)
					copy(rowsOf(t[0], h, i*page, n), rowsOf(t[1], h, int(from)*page, n))
				}
			}
		}
	}
}

// enter writes the new keys and values to the pool, and rotates queries and keys.
func (j *cacheJob) enter(ctx context.Context, b *Backend) error {
	s := j.step
	op := &s.cache.spec.Op
	return b.spread(s.Step.Tokens, func(_ *worker, token int) error {
		row := make([]float32, max(op.HeadDim, op.ValueDim))
		if j.args.Q.Given() && s.cache.cos != nil {
			from := j.args.Q.Mem.(*vkattn.Host).Float32s()
			for h := range op.HeadsQ {
				to := j.q[(h*s.Step.Tokens+token)*op.HeadDim:][:op.HeadDim]
				copy(to, from[j.args.Q.Index(0, h, token, 0):])
				s.cache.turn(to, int(s.positions[token]))
			}
		}
		if !j.args.K.Given() {
			return ctx.Err()
		}
		for h := range op.HeadsK {
			copy(row, j.k[j.args.K.Index(0, h, token, 0):][:op.HeadDim])
			s.cache.turn(row[:op.HeadDim], int(s.positions[token]))
			if err := op.TypeK.Encode(rowsOf(j.pool.k, h, int(s.rows[token]), 1), row[:op.HeadDim]); err != nil {
				return err
			}
		}
		for h := range op.HeadsV {
			v := j.v[j.args.V.Index(0, h, token, 0):][:op.ValueDim]
			if err := op.TypeV.Encode(rowsOf(j.pool.v, h, int(s.rows[token]), 1), v); err != nil {
				return err
			}
		}
		return ctx.Err()
	})
}

// turn rotates a row by its position.
func (c *Cache) turn(row []float32, position int) {
	pairs := len(c.spec.Rope.InvFreq)
	step, beside := 1, pairs
	if c.spec.Rope.Layout == vkattn.RopeInterleaved {
		step, beside = 2, 1
	}
	for i := range pairs {
		cos, sin := float64(c.cos[position*pairs+i]), float64(c.sin[position*pairs+i])
		x, y := float64(row[i*step]), float64(row[i*step+beside])
		row[i*step], row[i*step+beside] = float32(x*cos-y*sin), float32(y*cos+x*sin)
	}
}
