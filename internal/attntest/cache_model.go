package attntest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/vkattn/vkattn"
)

// cacheModel is a key-value cache that remembers every token and computes in float64: what any cache has to be.
type cacheModel struct {
	spec vkattn.CacheSpec // canonical
	seqs map[vkattn.CacheSeq][]cacheToken
}

// cacheToken is a token as it came in, with its position; its rows are of all layers.
type cacheToken struct {
	k, v     [][]float32 // by layer: [heads * last]
	position int
}

// rotated is a head's row, turned by a position.
func (m *cacheModel) rotated(row []float32, position int) []float64 {
	x := make([]float64, len(row))
	for i, v := range row {
		x[i] = float64(v)
	}
	r := &m.spec.Rope
	step, beside := 1, len(r.InvFreq)
	if r.Layout == vkattn.RopeInterleaved {
		step, beside = 2, 1
	}
	for i, f := range r.InvFreq {
		sin, cos := math.Sincos(float64(position) * f)
		a, b := x[i*step], x[i*step+beside]
		x[i*step], x[i*step+beside] = r.Attention*(a*cos-b*sin), r.Attention*(b*cos+a*sin)
	}
	return x
}

// kept is a row as a cache of that type has it.
func kept(t vkattn.Type, row []float64) []float64 {
	if t == vkattn.Float32 {
		return row
	}
	x, codes := make([]float32, len(row)), make([]byte, t.Bytes(len(row)))
	for i, v := range row {
		x[i] = float32(v)
	}
	if err := errors.Join(t.Encode(codes, x), t.Decode(x, codes)); err != nil {
		panic(err)
	}
	back := make([]float64, len(row))
	for i, v := range x {
		back[i] = float64(v)
	}
	return back
}

// cacheTolerance is how far an answer may be off: a number may be rounded the other way where it is rotated in float32.
func cacheTolerance(op vkattn.Attention) float64 {
	of := map[vkattn.Type]float64{vkattn.Float32: 1e-5, vkattn.Float16: 2e-3, vkattn.BFloat16: 1e-2, vkattn.F8E4M3: 0.1, vkattn.F8E5M2: 0.2, vkattn.Q8_0: 0.02, vkattn.Q4_0: 0.2}
	return max(of[op.TypeK], of[op.TypeV])
}

// attend is the answer for query head h of a token in a layer: tokens are all of its sequence, at is the token's place
// among them, and seen says which it sees beside its window.
func (m *cacheModel) attend(q []float32, tokens []cacheToken, at, h, layer int, seen func(j int) bool) []float64 {
	op := &m.spec.Op
	hk, hv := op.HeadMap.Map(h, op.HeadsQ, op.HeadsK), op.HeadMap.Map(h, op.HeadsQ, op.HeadsV)
	query := m.rotated(q, tokens[at].position)
	scores := make([]float64, at+1)
	top := math.Inf(-1)
	for j := range scores {
		scores[j] = math.Inf(-1)
		w := op.Window.Left
		if !seen(j) || w.Set && j < at-w.N && j >= op.SinkTokens {
			continue
		}
		key := kept(op.TypeK, m.rotated(tokens[j].k[layer][hk*op.HeadDim:][:op.HeadDim], tokens[j].position))
		s := 0.0
		for d := range query {
			s += query[d] * key[d]
		}
		scores[j] = s * op.Scale.Value
		top = max(top, scores[j])
	}
	out, sum := make([]float64, op.ValueDim), 0.0
	for j, s := range scores {
		p := math.Exp(s - top)
		sum += p
		if p == 0 {
			continue
		}
		v := make([]float64, op.ValueDim)
		for d := range v {
			v[d] = float64(tokens[j].v[layer][hv*op.ValueDim+d])
		}
		for d, x := range kept(op.TypeV, v) {
			out[d] += p * x
		}
	}
	for d := range out {
		out[d] /= sum
	}
	return out
}

// CacheRun drives a cache with random operations beside a plain model of one, and compares every answer.
type CacheRun struct {
	Cache     vkattn.Cache
	Tolerance float64 // of an output, relative to the largest value of 1 or so
	// Trees has steps of trees of drafts, Cascades some that attend what is shared at once.
	Trees, Cascades bool

	model  cacheModel
	rng    *rand.Rand
	log    []string
	Counts map[string]int // of operations
}

// NewCacheRun starts with an empty cache.
func NewCacheRun(c vkattn.Cache, seed uint64) *CacheRun {
	return &CacheRun{Cache: c, Tolerance: cacheTolerance(c.Spec().Op), rng: rand.New(rand.NewPCG(seed, 77)), Counts: map[string]int{},
		model: cacheModel{spec: c.Spec(), seqs: map[vkattn.CacheSeq][]cacheToken{}}}
}

// Do runs n random operations. An error says which, and the last operations before.
func (r *CacheRun) Do(ctx context.Context, n int) error {
	for i := range n {
		name, err := r.one(ctx)
		r.Counts[name]++
		if err == nil {
			err = r.lengths()
		}
		if err != nil {
			return fmt.Errorf("operation %d, %s: %w; before: %v", i, name, err, r.log[max(0, len(r.log)-12):])
		}
	}
	return nil
}

func (r *CacheRun) note(format string, args ...any) {
	r.log = append(r.log, fmt.Sprintf(format, args...))
}

// pick is one of the sequences, or false.
func (r *CacheRun) pick() (vkattn.CacheSeq, bool) {
	names := r.names()
	if len(names) == 0 {
		return 0, false
	}
	return names[r.rng.IntN(len(names))], true
}

func (r *CacheRun) names() []vkattn.CacheSeq {
	var names []vkattn.CacheSeq
	for name := range r.model.seqs {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// full accepts a refusal of a cache that is full; it must have room for nothing less.
func full(err error) bool { return errors.Is(err, vkattn.ErrCacheFull) }

func (r *CacheRun) one(ctx context.Context) (string, error) {
	s, some := r.pick()
	dice := r.rng.IntN(100)
	switch {
	case !some || dice < 6:
		name, err := r.Cache.Add()
		if full(err) && len(r.model.seqs) == r.model.spec.Op.Batch {
			return "add", r.remove(s)
		}
		if err == nil {
			r.model.seqs[name] = nil
		}
		r.note("add %d", name)
		return "add", err
	case dice < 14:
		name, err := r.Cache.Fork(s)
		if full(err) && len(r.model.seqs) == r.model.spec.Op.Batch {
			return "fork", r.remove(s)
		}
		if err == nil {
			r.model.seqs[name] = slices.Clone(r.model.seqs[s])
		}
		r.note("fork %d from %d", name, s)
		return "fork", err
	case dice < 22:
		n := r.rng.IntN(len(r.model.seqs[s]) + 1)
		err := r.Cache.Truncate(s, n)
		r.note("truncate %d to %d: %v", s, n, err)
		if err != nil && r.model.spec.Op.Window.Left.Set && errors.Is(err, vkattn.ErrInvalid) {
			return "truncate", nil // what was evicted stays so
		}
		if err == nil {
			r.model.seqs[s] = slices.Clip(r.model.seqs[s][:n])
		}
		return "truncate", err
	case dice < 26:
		r.note("remove %d", s)
		return "remove", r.remove(s)
	case dice < 30:
		n, err := r.Cache.Evict(s)
		r.note("evict %d: %d", s, n)
		return "evict", err
	case dice < 34:
		return "keep", r.keep(ctx, s)
	case dice < 37:
		return "adopt", r.adopt(s)
	}
	return "step", r.step(ctx)
}

func (r *CacheRun) remove(s vkattn.CacheSeq) error {
	delete(r.model.seqs, s)
	return r.Cache.Remove(s)
}

// keep forgets some of the last tokens. Those that stay keep their positions, so that the model can tell where they stood.
func (r *CacheRun) keep(ctx context.Context, s vkattn.CacheSeq) error {
	tokens := r.model.seqs[s]
	from := max(0, len(tokens)-1-r.rng.IntN(6))
	var path []int
	kept := slices.Clone(tokens[:from])
	for i := from; i < len(tokens); i++ {
		if r.rng.IntN(2) == 0 {
			path, kept = append(path, i-from), append(kept, tokens[i])
		}
	}
	err := r.Cache.Keep(ctx, s, from, path)
	r.note("keep %d from %d path %v: %v", s, from, path, err)
	if err != nil && (full(err) || r.model.spec.Op.Window.Left.Set && errors.Is(err, vkattn.ErrInvalid)) {
		return nil
	}
	if err == nil {
		r.model.seqs[s] = kept
	}
	return err
}

// adopt makes a sequence of another's first pages.
func (r *CacheRun) adopt(s vkattn.CacheSeq) error {
	tokens := r.model.seqs[s]
	table := r.Cache.Table(s)
	n := r.rng.IntN(len(tokens) + 1)
	page := r.model.spec.PageTokens()
	table = table[:(n+page-1)/page]
	name, err := r.Cache.Adopt(table, n)
	r.note("adopt %d tokens of %d as %d: %v", n, s, name, err)
	if slices.Contains(table, -1) || full(err) {
		if err == nil {
			return fmt.Errorf("adopted a page that is gone")
		}
		return nil
	}
	if err == nil {
		r.model.seqs[name] = slices.Clone(tokens[:n])
	}
	return err
}

// lengths compares what both say of their sequences.
func (r *CacheRun) lengths() error {
	st := r.Cache.Stats()
	if st.Sequences != len(r.model.seqs) {
		return fmt.Errorf("%d sequences, want %d", st.Sequences, len(r.model.seqs))
	}
	for name, tokens := range r.model.seqs {
		if n := r.Cache.Len(name); n != len(tokens) {
			return fmt.Errorf("sequence %d has %d tokens, want %d", name, n, len(tokens))
		}
	}
	return nil
}

// Parents makes a random tree of n drafts.
func Parents(rng *rand.Rand, n int) []int32 {
	parents := make([]int32, n)
	for i := range parents {
		parents[i] = int32(rng.IntN(i+1)) - 1
	}
	return parents
}

// ancestors says which of n drafts one sees.
func ancestors(parents []int32, i, j int) bool {
	for ; i >= 0; i = int(parents[i]) {
		if i == j {
			return true
		}
	}
	return false
}

// step runs a step of some sequences in all layers, and compares the outputs.
func (r *CacheRun) step(ctx context.Context) error {
	spec := &r.model.spec
	op := &spec.Op
	var tokens []vkattn.CacheTokens
	names := r.names()
	r.rng.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	left := op.TotalQ
	for _, name := range names[:1+r.rng.IntN(len(names))] {
		n := 1
		if r.rng.IntN(3) == 0 {
			n += r.rng.IntN(op.SeqQ)
		}
		t := vkattn.CacheTokens{Seq: name, N: n}
		if r.Trees && r.rng.IntN(3) == 0 {
			t.Parents = Parents(r.rng, n)
		}
		if left -= n; left < 0 {
			break
		}
		tokens = append(tokens, t)
	}
	step, err := r.Cache.Step(ctx, tokens)
	r.note("step %v: %v", tokens, err)
	if full(err) {
		return r.makeRoom(names)
	}
	if err != nil {
		return err
	}
	return r.Compare(ctx, step, tokens)
}

// makeRoom forgets a sequence, so that the next step has a chance.
func (r *CacheRun) makeRoom(names []vkattn.CacheSeq) error {
	r.Counts["full"]++
	return r.remove(names[0])
}

// Compare runs a step that was made of tokens, with random data, and compares it with the model's answer.
func (r *CacheRun) Compare(ctx context.Context, step vkattn.CacheStep, tokens []vkattn.CacheTokens) error {
	spec := &r.model.spec
	op := &spec.Op
	total := step.Tokens()
	positions := step.Positions()
	at := 0
	for _, t := range tokens {
		old := len(r.model.seqs[t.Seq])
		for i := range t.N {
			r.model.seqs[t.Seq] = append(r.model.seqs[t.Seq], cacheToken{position: int(positions[at+i])})
			want := old + i
			if t.Parents != nil {
				want = old
				for p := t.Parents[i]; p >= 0; p = t.Parents[p] {
					want++
				}
			}
			if int(positions[at+i]) != want {
				return fmt.Errorf("token %d of sequence %d stands at %d, want %d", i, t.Seq, positions[at+i], want)
			}
		}
		at += t.N
	}
	for layer := range spec.Layers {
		q, k, v := r.random(op.HeadsQ, total, op.HeadDim), r.random(op.HeadsK, total, op.HeadDim), r.random(op.HeadsV, total, op.ValueDim)
		out := make([]float32, total*op.HeadsQ*op.ValueDim)
		args := vkattn.CacheArgs{Q: q, K: k, V: v, Out: vkattn.THD(vkattn.Float32s(out), total, op.HeadsQ, op.ValueDim), Cascade: r.Cascades && r.rng.IntN(2) == 0}
		if _, err := step.Run(ctx, layer, args); err != nil {
			return err
		}
		at := 0
		for _, t := range tokens {
			all := r.model.seqs[t.Seq]
			first := len(all) - t.N
			for i := range t.N {
				token := &all[first+i]
				token.k, token.v = append(token.k, rowOf(k, at+i)), append(token.v, rowOf(v, at+i))
			}
			for i := range t.N {
				rows := rowOf(q, at+i)
				for h := range op.HeadsQ {
					want := r.model.attend(rows[h*op.HeadDim:][:op.HeadDim], all, first+i, h, layer, func(j int) bool {
						return j < first || t.Parents == nil || ancestors(t.Parents, i, j-first)
					})
					got := out[args.Out.Index(0, h, at+i, 0):][:op.ValueDim]
					for d := range want {
						if e := math.Abs(float64(got[d]) - want[d]); !(e <= r.Tolerance) {
							return fmt.Errorf("layer %d, sequence %d, token %d, head %d, column %d: %v, want %v", layer, t.Seq, first+i, h, d, got[d], want[d])
						}
					}
				}
			}
			at += t.N
		}
	}
	return nil
}

func (r *CacheRun) random(heads, tokens, last int) vkattn.Tensor {
	x := make([]float32, heads*tokens*last)
	for i := range x {
		x[i] = float32(r.rng.NormFloat64())
	}
	return vkattn.THD(vkattn.Float32s(x), tokens, heads, last)
}

// rowOf is a token's heads, one behind the other.
func rowOf(t vkattn.Tensor, token int) []float32 {
	n := t.Shape[1] * t.Shape[3]
	return slices.Clone(t.Mem.(*vkattn.Host).Float32s()[token*n:][:n])
}

// CacheSpecs are small caches of all kinds: with and without pages, of sizes that are powers of two and not, grouped heads,
// rotations, windows. Some are too small for what a random run wants of them.
func CacheSpecs() []vkattn.CacheSpec {
	inv, _, err := vkattn.RopeFrequencies(8, 1e4, nil)
	if err != nil {
		panic(err)
	}
	op := vkattn.Attention{Batch: 5, HeadsQ: 4, HeadsK: 2, SeqQ: 9, SeqK: 90, HeadDim: 12}
	windowed := op
	windowed.Window, windowed.SinkTokens = vkattn.Window{Left: vkattn.Tokens(20)}, 5
	wide := op
	wide.HeadsQ, wide.HeadsK, wide.HeadsV, wide.ValueDim, wide.HeadDim = 6, 2, 3, 20, 32
	half, interleaved := vkattn.CacheRope{InvFreq: inv}, vkattn.CacheRope{InvFreq: inv, Layout: vkattn.RopeInterleaved, Attention: 1.2}
	return []vkattn.CacheSpec{
		{Op: op, Layers: 2, Rope: half},
		{Op: op, Layers: 2, Page: 4, Rope: interleaved, Pages: 60},
		{Op: op, Layers: 1, Page: 1, Rope: half, Pages: 250},
		{Op: windowed, Layers: 1, Page: 3, Rope: half},
		{Op: windowed, Layers: 1, Page: 8, Pages: 40},
		{Op: wide, Layers: 1, Page: 16},
		{Op: wide, Layers: 1, SplitKeys: 32},
	}
}

// TypedCacheSpecs keep keys and values in other types than float32, also two at once, in rows that do not fill whole words
// without padding.
func TypedCacheSpecs() []vkattn.CacheSpec {
	inv, _, err := vkattn.RopeFrequencies(30, 1e4, nil)
	if err != nil {
		panic(err)
	}
	var specs []vkattn.CacheSpec
	for i, t := range [][2]vkattn.Type{{vkattn.Float16, vkattn.Float16}, {vkattn.BFloat16, vkattn.BFloat16}, {vkattn.F8E4M3, vkattn.F8E5M2}, {vkattn.Q8_0, vkattn.Q8_0},
		{vkattn.Q8_0, vkattn.Q4_0}, {vkattn.Float32, vkattn.Q8_0}, {vkattn.Float16, vkattn.F8E4M3}} {
		op := vkattn.Attention{Batch: 4, HeadsQ: 4, HeadsK: 2, SeqQ: 9, SeqK: 60, HeadDim: 30, ValueDim: 21, TypeK: t[0], TypeV: t[1]}
		if n, _ := t[0].Block(); n > 1 {
			op.HeadDim = 96
		}
		if n, _ := t[1].Block(); n > 1 {
			op.ValueDim = 32 * (1 + i%2)
		}
		specs = append(specs, vkattn.CacheSpec{Op: op, Layers: 1, Page: []int{0, 4}[i%2], Rope: vkattn.CacheRope{InvFreq: inv}})
	}
	return specs
}
