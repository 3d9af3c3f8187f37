package dispatch

import (
	"context"
	"fmt"
	"math/rand/v2"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/cpu"
)

// cacheTest admits the kernels of caches that keep these types, paged or not. It is no decision: nothing but the test is asked of it.
type cacheTest struct {
	decision
	key, value vkattn.Type
	page       int
}

func (t cacheTest) rung() (variant, path, name string) {
	variant = fmt.Sprintf("%s_%s_%s_%d", appendVariant, t.key, t.value, paged(t.page))
	return variant, "plain", variant
}

// selfTest runs two steps of two sequences, the second with a tree of drafts, and compares them with the CPU's.
func (t cacheTest) selfTest(ctx context.Context, b *Backend) (reason string, err error) {
	inv, _, err := vkattn.RopeFrequencies(32, 1e4, nil)
	if err != nil {
		return "", err
	}
	spec := vkattn.CacheSpec{Op: vkattn.Attention{Batch: 2, HeadsQ: 4, HeadsK: 2, SeqQ: 40, SeqK: 80, HeadDim: 64, TypeK: t.key, TypeV: t.value}, Layers: 1,
		Page: min(t.page, 20), Rope: vkattn.CacheRope{InvFreq: inv}}
	if t.page > 0 && paged(t.page) == 1 {
		spec.Page = 3
	} else if t.page > 0 && paged(t.page) == keyTile {
		spec.Page = keyTile
	}
	host := cpu.New(cpu.Config{})
	defer host.Close()
	want, err := host.NewCache(ctx, spec)
	if err != nil {
		return "", err
	}
	got, err := b.newCache(ctx, spec, "not under test")
	if err != nil {
		return err.Error(), nil
	}
	defer got.Close()
	var answers [2][]float32
	for i, c := range []vkattn.Cache{want, got} {
		if answers[i], err = t.answer(ctx, c); err != nil {
			if ctx.Err() != nil || b.dev.Lost() {
				return "", err
			}
			return err.Error(), nil
		}
	}
	allowed, exact := 2e-5, make([]float64, len(answers[0]))
	if t.key != vkattn.Float32 || t.value != vkattn.Float32 {
		allowed = 0.05 // a number that was rotated in another order may be rounded the other way
	}
	for i, x := range answers[0] {
		exact[i] = float64(x)
	}
	if worst := distance(answers[1], exact); worst > allowed {
		return fmt.Sprintf("known answer missed by %.2g", worst), nil
	}
	return "", nil
}

// answer is what a cache makes of the two steps.
func (t cacheTest) answer(ctx context.Context, c vkattn.Cache) (all []float32, err error) {
	rng := rand.New(rand.NewPCG(6, 7))
	op := c.Spec().Op
	tokens := []vkattn.CacheTokens{{N: 37}, {N: 2}}
	for i := range tokens {
		if tokens[i].Seq, err = c.Add(); err != nil {
			return nil, err
		}
	}
	for range 2 {
		step, err := c.Step(ctx, tokens)
		if err != nil {
			return nil, err
		}
		n := step.Tokens()
		rows := func(heads int) vkattn.Tensor {
			return vkattn.THD(vkattn.Float32s(numbers(n*heads*op.HeadDim, rng.NormFloat64)), n, heads, op.HeadDim)
		}
		args := vkattn.CacheArgs{Q: rows(op.HeadsQ), K: rows(op.HeadsK), V: rows(op.HeadsV), Out: rows(op.HeadsQ)}
		if _, err := step.Run(ctx, 0, args); err != nil {
			return nil, err
		}
		all = append(all, args.Out.Mem.(*vkattn.Host).Float32s()...)
		tokens[0].N, tokens[0].Parents = 3, []int32{-1, -1, 0}
	}
	return all, nil
}
