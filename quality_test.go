package vkattn_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/cpu"
)

// outliers is the data of FlashAttention-3's accuracy table: N(0,1) + N(0,100) Bernoulli(0.001).
func outliers(r *rand.Rand, b, h, s, d int) vkattn.Tensor {
	x := make([]float32, b*h*s*d)
	for i := range x {
		x[i] = float32(r.NormFloat64())
		if r.Float64() < 0.001 {
			x[i] += float32(10 * r.NormFloat64())
		}
	}
	return vkattn.BHSD(vkattn.Float32s(x), b, h, s, d)
}

// quality is one way to bring q, k and v into 8-bit floats.
type quality struct {
	perHead, rotate, smooth bool
	block                   int
}

// call is op in e4m3 on q, k and v, against the oracle of the numbers as they were: the root mean square of the
// error of Out, and the largest error of LSE.
func (c quality) call(t *testing.T, op vkattn.Attention, q, k, v vkattn.Tensor) (rmse, lse float64) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	f32 := func(h, s, d int) vkattn.Tensor {
		return vkattn.BHSD(vkattn.Float32s(make([]float32, op.Batch*h*s*d)), op.Batch, h, s, d)
	}
	exact := vkattn.Args{Q: q, K: k, V: v, Out: f32(op.HeadsQ, op.SeqQ, op.HeadDim), LSE: f32(op.HeadsQ, op.SeqQ, 1)}
	op.With |= vkattn.WithLSE
	want, err := cpu.Oracle(op, &exact)
	must(err)

	args := exact
	var mean vkattn.Tensor
	if c.smooth {
		mean, err = vkattn.KeyMean(k, nil)
		must(err)
	}
	for _, x := range []struct {
		src, mean    vkattn.Tensor
		rotate       bool
		dst, descale *vkattn.Tensor
	}{{q, vkattn.Tensor{}, c.rotate, &args.Q, &args.DescaleQ}, {k, mean, c.rotate, &args.K, &args.DescaleK}, {v, vkattn.Tensor{}, false, &args.V, &args.DescaleV}} {
		how := vkattn.Conversion{Mean: x.mean, Rotate: x.rotate, Seed: 9, DescaleBlock: c.block}
		how.Descale, err = vkattn.DescaleFactors(x.src, vkattn.F8E4M3, c.perHead, c.block, how)
		must(err)
		*x.dst = x.src.As(vkattn.F8E4M3)
		x.dst.Mem = vkattn.Bytes(make([]byte, x.src.Len()))
		must(vkattn.Convert(*x.dst, x.src, how))
		*x.descale = how.Descale
	}
	op.TypeQ, op.TypeK, op.TypeV, op.DescaleBlock = vkattn.F8E4M3, vkattn.F8E4M3, vkattn.F8E4M3, c.block
	op.With |= vkattn.WithDescaleQ | vkattn.WithDescaleK | vkattn.WithDescaleV
	b := cpu.New(cpu.Config{})
	defer b.Close()
	plan, err := b.Plan(t.Context(), op)
	must(err)
	_, err = plan.Run(t.Context(), args)
	must(err)
	if c.smooth {
		must(vkattn.AddKeyMean(op, args.LSE, q, mean))
	}
	sum := 0.0
	for i, o := range args.Out.Mem.(*vkattn.Host).Float32s() {
		sum += (float64(o) - want.Out[i]) * (float64(o) - want.Out[i])
	}
	for i, l := range args.LSE.Mem.(*vkattn.Host).Float32s() {
		lse = math.Max(lse, math.Abs(float64(l)-want.LSE[i]))
	}
	return math.Sqrt(sum / float64(len(want.Out))), lse
}

// TestFP8Quality: what blocks, rotation and smoothing are for. Bounds are what was measured, with room.
func TestFP8Quality(t *testing.T) {
	op := vkattn.Attention{Batch: 1, HeadsQ: 4, HeadsK: 2, SeqQ: 256, SeqK: 512, HeadDim: 128}
	r := rand.New(rand.NewPCG(1, 1))
	q, k, v := outliers(r, 1, 4, 256, 128), outliers(r, 1, 2, 512, 128), outliers(r, 1, 2, 512, 128)
	shifted := outliers(r, 1, 2, 512, 128)
	for i, x := range shifted.Mem.(*vkattn.Host).Float32s() {
		shifted.Mem.(*vkattn.Host).Float32s()[i] = x + 20*float32(i%128%7)
	}
	for _, c := range []struct {
		name     string
		k        vkattn.Tensor
		old, new quality
		gain     float64
	}{
		{"rotation", k, quality{}, quality{rotate: true}, 1.2},
		{"rotation and blocks", k, quality{}, quality{perHead: true, block: 64, rotate: true}, 1.2},
		{"smoothing of keys with a mean", shifted, quality{perHead: true}, quality{perHead: true, smooth: true}, 5},
	} {
		before, _ := c.old.call(t, op, q, c.k, v)
		after, _ := c.new.call(t, op, q, c.k, v)
		t.Logf("%s: the error is %.3g, before %.3g", c.name, after, before)
		if after*c.gain > before {
			t.Errorf("%s: the error is %.3g, before %.3g: want it %g times smaller", c.name, after, before, c.gain)
		}
	}
}

// TestSmoothing: without rounding, keys less their mean give the same answer, and AddKeyMean the same LSE; so does
// rotation. Masks, groups of heads, ALiBi-like biases and rows that see nothing change nothing about it.
func TestSmoothing(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	b := cpu.New(cpu.Config{})
	defer b.Close()
	for name, op := range map[string]vkattn.Attention{
		"plain":      {Batch: 2, HeadsQ: 4, HeadsK: 2, SeqQ: 33, SeqK: 50, HeadDim: 80},
		"empty rows": {Batch: 1, HeadsQ: 2, SeqQ: 60, SeqK: 50, HeadDim: 31, Causal: true},
		"scaled":     {Batch: 1, HeadsQ: 3, SeqQ: 5, SeqK: 70, HeadDim: 96, Scale: vkattn.Num(-0.05), HeadMap: vkattn.HeadCyclic},
	} {
		op.With |= vkattn.WithLSE
		c := op.Canonical()
		q, k, v := outliers(r, c.Batch, c.HeadsQ, c.SeqQ, c.HeadDim), outliers(r, c.Batch, c.HeadsK, c.SeqK, c.HeadDim), outliers(r, c.Batch, c.HeadsV, c.SeqK, c.HeadDim)
		for i, x := range k.Mem.(*vkattn.Host).Float32s() {
			k.Mem.(*vkattn.Host).Float32s()[i] = x + float32(i%c.HeadDim%3)
		}
		mean, err := vkattn.KeyMean(k, nil)
		if err != nil {
			t.Fatal(err)
		}
		f32 := func(d int) vkattn.Tensor {
			return vkattn.BHSD(vkattn.Float32s(make([]float32, c.Batch*c.HeadsQ*c.SeqQ*d)), c.Batch, c.HeadsQ, c.SeqQ, d)
		}
		args := vkattn.Args{Q: q, K: k, V: v, Out: f32(c.HeadDim), LSE: f32(1)}
		want, err := cpu.Oracle(op, &args)
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range []struct {
			src vkattn.Tensor
			dst *vkattn.Tensor
			how vkattn.Conversion
		}{{q, &args.Q, vkattn.Conversion{Rotate: true, Seed: 4}}, {k, &args.K, vkattn.Conversion{Mean: mean, Rotate: true, Seed: 4}}} {
			x.dst.Mem = vkattn.Float32s(make([]float32, x.src.Len()))
			if err := vkattn.Convert(*x.dst, x.src, x.how); err != nil {
				t.Fatal(err)
			}
		}
		plan, err := b.Plan(t.Context(), op)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := plan.Run(t.Context(), args); err != nil {
			t.Fatal(err)
		}
		if err := vkattn.AddKeyMean(op, args.LSE, q, mean); err != nil {
			t.Fatal(err)
		}
		for i, o := range args.Out.Mem.(*vkattn.Host).Float32s() {
			if math.Abs(float64(o)-want.Out[i]) > 5e-5 {
				t.Fatalf("%s: Out %d is %v, want %v", name, i, o, want.Out[i])
			}
		}
		for i, l := range args.LSE.Mem.(*vkattn.Host).Float32s() {
			if math.Abs(float64(l)-want.LSE[i]) > 5e-5 || math.IsInf(want.LSE[i], -1) != math.IsInf(float64(l), -1) {
				t.Fatalf("%s: LSE %d is %v, want %v", name, i, l, want.LSE[i])
			}
		}
	}
	for _, op := range []vkattn.Attention{
		{Batch: 1, HeadsQ: 1, SeqQ: 1, SeqK: 1, HeadDim: 4, Softcap: 30}, {Batch: 1, HeadsQ: 1, SeqQ: 1, SeqK: 1, HeadDim: 4, With: vkattn.WithSinkLogits},
		{Batch: 1, HeadsQ: 2, SeqQ: 1, SeqK: 1, HeadDim: 4}, {},
	} {
		x := outliers(r, 1, 1, 1, 4)
		if err := vkattn.AddKeyMean(op, x.Slice(3, 0, 1), x, x); err == nil {
			t.Errorf("AddKeyMean of %v: no error", op)
		}
	}
}
