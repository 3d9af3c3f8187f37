package dispatch_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/dispatch"
	"github.com/vkattn/vkattn/internal/attntest"
)

// token is what a step's token brings, from its name alone: the same in every cache and every batch.
func cacheRows(seed uint64, heads, last int) []float32 {
	return normal(rand.New(rand.NewPCG(seed, 3)), heads*last)
}

// enter runs a step in layer 0 whose tokens are named (sequence, position), and returns the rows of its output: [tokens][heads*last].
func enter(t *testing.T, c vkattn.Cache, seqs []vkattn.CacheSeq, names []int, lens []int, n []int, cascade bool) [][]float32 {
	t.Helper()
	rows, _ := entered(t, c, seqs, names, lens, n, cascade)
	return rows
}

// entered is enter with the report.
func entered(t *testing.T, c vkattn.Cache, seqs []vkattn.CacheSeq, names []int, lens []int, n []int, cascade bool) ([][]float32, vkattn.Report) {
	t.Helper()
	op := c.Spec().Op
	var tokens []vkattn.CacheTokens
	var q, k, v []float32
	for i, s := range seqs {
		tokens = append(tokens, vkattn.CacheTokens{Seq: s, N: n[i]})
		for p := lens[i]; p < lens[i]+n[i]; p++ {
			seed := uint64(names[i])<<32 | uint64(p)<<2
			q = append(q, cacheRows(seed, op.HeadsQ, op.HeadDim)...)
			k = append(k, cacheRows(seed+1, op.HeadsK, op.HeadDim)...)
			v = append(v, cacheRows(seed+2, op.HeadsV, op.ValueDim)...)
		}
	}
	step, err := c.Step(t.Context(), tokens)
	if err != nil {
		t.Fatal(err)
	}
	total := step.Tokens()
	out := make([]float32, total*op.HeadsQ*op.ValueDim)
	args := vkattn.CacheArgs{Q: vkattn.THD(vkattn.Float32s(q), total, op.HeadsQ, op.HeadDim),
		K: vkattn.THD(vkattn.Float32s(k), total, op.HeadsK, op.HeadDim), V: vkattn.THD(vkattn.Float32s(v), total, op.HeadsV, op.ValueDim),
		Out: vkattn.THD(vkattn.Float32s(out), total, op.HeadsQ, op.ValueDim), Cascade: cascade}
	codes := make([]byte, op.TypeOut.Bytes(len(out)))
	if op.TypeOut != vkattn.Float32 {
		args.Out = vkattn.THD(vkattn.Bytes(codes), total, op.HeadsQ, op.ValueDim).As(op.TypeOut)
	}
	if op.With.Has(vkattn.WithALiBi) {
		slopes, err := vkattn.ALiBiSlopes(op.HeadsQ)
		if err != nil {
			t.Fatal(err)
		}
		args.Slopes = vkattn.Vector(vkattn.Float32s(slopes), op.HeadsQ)
	}
	if op.With.Has(vkattn.WithSinkLogits) {
		args.SinkLogits = vkattn.Vector(vkattn.Float32s(cacheRows(5, op.HeadsQ, 1)), op.HeadsQ)
	}
	if op.With.Has(vkattn.WithLSE) {
		args.LSE = vkattn.THD(vkattn.Float32s(make([]float32, total*op.HeadsQ)), total, op.HeadsQ, 1)
	}
	r, err := step.Run(t.Context(), 0, args)
	if err == nil && op.TypeOut != vkattn.Float32 {
		err = op.TypeOut.Decode(out, codes)
	}
	if err != nil {
		t.Fatal(err)
	}
	rows := slices.Collect(slices.Chunk(out, op.HeadsQ*op.ValueDim))
	if args.LSE.Given() {
		rows = append(rows, args.LSE.Mem.(*vkattn.Host).Float32s())
	}
	return rows, r
}

func newCache(t *testing.T, b vkattn.CacheBackend, spec vkattn.CacheSpec) vkattn.Cache {
	t.Helper()
	c, err := b.NewCache(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func addSeqs(t *testing.T, c vkattn.Cache, n int) []vkattn.CacheSeq {
	t.Helper()
	var seqs []vkattn.CacheSeq
	for range n {
		s, err := c.Add()
		if err != nil {
			t.Fatal(err)
		}
		seqs = append(seqs, s)
	}
	return seqs
}

func sameRows(a, b [][]float32) error {
	if len(a) != len(b) {
		return fmt.Errorf("%d rows and %d", len(a), len(b))
	}
	for i := range a {
		for d := range a[i] {
			if math.Float32bits(a[i][d]) != math.Float32bits(b[i][d]) {
				return fmt.Errorf("row %d, column %d: %v and %v", i, d, a[i][d], b[i][d])
			}
		}
	}
	return nil
}

// serve runs steps of three sequences: prompts of several lengths, then some decode and some go on with their prompts.
func serve(t *testing.T, c vkattn.Cache) (all [][]float32) {
	seqs, names, lens := addSeqs(t, c, 3), []int{1, 2, 3}, []int{0, 0, 0}
	for _, n := range [][]int{{40, 1, 17}, {1, 70, 1}, {1, 1, 1}, {33, 1, 2}, {1, 1, 1}, {1, 64, 1}, {1, 1, 1}} {
		all = append(all, enter(t, c, seqs, names, lens, n, false)...)
		for i := range lens {
			lens[i] += n[i]
		}
	}
	return all
}

// shuffle leaves a cache empty, with its free pages in disorder.
func shuffle(t *testing.T, c vkattn.Cache) {
	seqs := addSeqs(t, c, 3)
	for i := range 12 {
		if _, err := c.Step(t.Context(), []vkattn.CacheTokens{{Seq: seqs[i%3], N: 1 + i*7%40}}); err != nil {
			t.Fatal(err)
		}
	}
	for _, i := range []int{1, 0, 2} {
		if err := c.Remove(seqs[i]); err != nil {
			t.Fatal(err)
		}
	}
}

var bitsOp = vkattn.Attention{Batch: 4, HeadsQ: 6, HeadsK: 2, SeqQ: 80, SeqK: 300, HeadDim: 24}

func bitsSpec(page int) vkattn.CacheSpec {
	inv, _, err := vkattn.RopeFrequencies(24, 1e4, nil)
	if err != nil {
		panic(err)
	}
	return vkattn.CacheSpec{Op: bitsOp, Layers: 1, Page: page, Rope: vkattn.CacheRope{InvFreq: inv}}
}

// TestKVCachePagesChangeNoBit: whatever the page, in whatever order, and whatever unused memory holds.
func TestKVCachePagesChangeNoBit(t *testing.T) {
	pages := []int{3, 16, 256}
	if os.Getenv("VKATTN_FULL") == "1" {
		pages = []int{1, 2, 3, 4, 7, 16, 32, 64, 100, 255, 256}
	}
	b := open(t, dispatch.Config{})
	want := serve(t, newCache(t, b, bitsSpec(0)))
	dirty := newCache(t, b, bitsSpec(0))
	if err := dirty.(*dispatch.KVCache).Poison(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := sameRows(serve(t, dirty), want); err != nil {
		t.Errorf("contiguous, poisoned: %v", err)
	}
	for _, page := range pages {
		c := newCache(t, b, bitsSpec(page))
		shuffle(t, c)
		if err := c.(*dispatch.KVCache).Poison(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := sameRows(serve(t, c), want); err != nil {
			t.Errorf("page %d: %v", page, err)
		}
	}
}

// TestKVCacheEvictedPages: what was evicted, and poisoned since, changes no bit.
func TestKVCacheEvictedPages(t *testing.T) {
	b := open(t, dispatch.Config{})
	spec := bitsSpec(4)
	spec.Op.Window, spec.Op.SinkTokens = vkattn.Window{Left: vkattn.Tokens(31)}, 3
	run := func(evict bool) (all [][]float32, freed int) {
		c := newCache(t, b, spec)
		seqs, others := addSeqs(t, c, 1), addSeqs(t, c, 1)
		at, other := 0, 0
		for _, n := range []int{80, 1, 60, 1, 1, 20, 1} {
			all = append(all, enter(t, c, seqs, []int{1}, []int{at}, []int{n}, false)...)
			at += n
			if !evict {
				continue
			}
			pages, err := c.Evict(seqs[0])
			if err != nil {
				t.Fatal(err)
			}
			freed += pages
			enter(t, c, others, []int{9}, []int{other}, []int{8}, false) // takes the pages
			other += 8
		}
		return all, freed
	}
	want, _ := run(false)
	got, freed := run(true)
	if freed < 20 {
		t.Errorf("%d pages evicted", freed)
	}
	if err := sameRows(got, want); err != nil {
		t.Error(err)
	}
}

// TestKVCacheBatchInvariance: with parts of a fixed size the bits of a sequence do not depend on who is with it, nor on how
// its prompt is cut to chunks.
func TestKVCacheBatchInvariance(t *testing.T) {
	b := open(t, dispatch.Config{})
	for _, page := range []int{0, 16} {
		spec := bitsSpec(page)
		spec.SplitKeys = 64
		together := serve(t, newCache(t, b, spec))
		var first [][]float32 // those of the first sequence
		at := 0
		for _, n := range [][]int{{40, 1, 17}, {1, 70, 1}, {1, 1, 1}, {33, 1, 2}, {1, 1, 1}, {1, 64, 1}, {1, 1, 1}} {
			first = append(first, together[at:at+n[0]]...)
			at += n[0] + n[1] + n[2]
		}
		for _, chunks := range [][]int{{40, 1, 1, 33, 1, 1, 1}, {78}, {13, 64, 1}} {
			c := newCache(t, b, spec)
			s := addSeqs(t, c, 1)
			var alone [][]float32
			at := 0
			for _, n := range chunks {
				alone = append(alone, enter(t, c, s, []int{1}, []int{at}, []int{n}, false)...)
				at += n
			}
			if err := sameRows(alone, first); err != nil {
				t.Errorf("page %d, chunks %v: %v", page, chunks, err)
			}
		}
	}
}

// TestKVCacheTree: a tree of 64 drafts is 64 sequences, and the accepted path goes on as if it had been appended alone.
func TestKVCacheTree(t *testing.T) {
	b := open(t, dispatch.Config{})
	spec := bitsSpec(8)
	spec.Op.Batch = 70
	c := newCache(t, b, spec)
	base := addSeqs(t, c, 1)[0]
	enter(t, c, []vkattn.CacheSeq{base}, []int{1}, []int{0}, []int{75}, false)
	parents := attntest.Parents(rand.New(rand.NewPCG(1, 1)), 64)
	op := spec.Op.Canonical()
	rows := func(kind, draft int) []float32 {
		heads := []int{op.HeadsQ, op.HeadsK, op.HeadsV}[kind]
		return cacheRows(uint64(1000+draft)<<2+uint64(kind), heads, op.HeadDim)
	}
	step := func(s vkattn.CacheSeq, drafts []int, parents []int32) [][]float32 {
		t.Helper()
		st, err := c.Step(t.Context(), []vkattn.CacheTokens{{Seq: s, N: len(drafts), Parents: parents}})
		if err != nil {
			t.Fatal(err)
		}
		var data [3][]float32
		for _, d := range drafts {
			for kind := range data {
				data[kind] = append(data[kind], rows(kind, d)...)
			}
		}
		n := len(drafts)
		out := make([]float32, n*op.HeadsQ*op.ValueDim)
		if _, err := st.Run(t.Context(), 0, vkattn.CacheArgs{Q: vkattn.THD(vkattn.Float32s(data[0]), n, op.HeadsQ, op.HeadDim),
			K: vkattn.THD(vkattn.Float32s(data[1]), n, op.HeadsK, op.HeadDim), V: vkattn.THD(vkattn.Float32s(data[2]), n, op.HeadsV, op.HeadDim),
			Out: vkattn.THD(vkattn.Float32s(out), n, op.HeadsQ, op.HeadDim)}); err != nil {
			t.Fatal(err)
		}
		return slices.Collect(slices.Chunk(out, op.HeadsQ*op.ValueDim))
	}
	path := func(i int) (p []int) {
		for ; i >= 0; i = int(parents[i]) {
			p = append(p, i)
		}
		slices.Reverse(p)
		return p
	}
	var separate [][]float32
	for i := range parents {
		s, err := c.Fork(base)
		if err != nil {
			t.Fatal(err)
		}
		out := step(s, path(i), nil)
		separate = append(separate, out[len(out)-1])
		if err := c.Remove(s); err != nil {
			t.Fatal(err)
		}
	}
	drafts := make([]int, 64)
	for i := range drafts {
		drafts[i] = i
	}
	twin, err := c.Fork(base)
	if err != nil {
		t.Fatal(err)
	}
	together := step(base, drafts, parents)
	for i := range together {
		for d := range together[i] {
			if e := math.Abs(float64(together[i][d] - separate[i][d])); !(e <= 2e-6) {
				t.Fatalf("draft %d, column %d: %v, alone %v", i, d, together[i][d], separate[i][d])
			}
		}
	}
	deepest := 0
	for i := range parents {
		if len(path(i)) > len(path(deepest)) {
			deepest = i
		}
	}
	accepted := path(deepest)
	if err := c.Keep(t.Context(), base, 75, accepted); err != nil {
		t.Fatal(err)
	}
	step(twin, accepted, nil)
	if err := sameRows(step(base, []int{99}, nil), step(twin, []int{99}, nil)); err != nil {
		t.Errorf("after an accepted path of %d: %v", len(accepted), err)
	}
}
