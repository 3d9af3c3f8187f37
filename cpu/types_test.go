package cpu

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/vkattn/vkattn"
)

var numberTypes = []vkattn.Type{vkattn.Float32, vkattn.Float16, vkattn.BFloat16, vkattn.F8E4M3, vkattn.F8E5M2, vkattn.Q8_0, vkattn.Q4_0}

// encoded is random numbers of a type in the layout of t, with garbage between rows, and the same numbers in float32.
func encoded(r *rand.Rand, t vkattn.Tensor) (narrow, wide vkattn.Tensor) {
	_, n, _ := t.Extent()
	elements, _ := t.Type.Block()
	n = (n + elements - 1) / elements * elements
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	raw := make([]byte, t.Type.Bytes(n))
	if err := errors.Join(t.Type.Encode(raw, x), t.Type.Decode(x, raw)); err != nil {
		panic(err)
	}
	narrow, wide = t, t
	narrow.Mem, wide.Mem = vkattn.Bytes(raw), vkattn.Float32s(x)
	wide.Type = vkattn.Float32
	return narrow, wide
}

// TestTypes: a call of narrow tensors gives bit for bit what one of the same numbers in float32 gives, rounded to
// the type of the output: many rows and few, rows in place and apart, whole tiles and parts.
func TestTypes(t *testing.T) {
	onKernels(t, func(t *testing.T, start func(Config) *Backend) {
		b := start(Config{})
		defer b.Close()
		r := rand.New(rand.NewPCG(1, 1))
		for n, typeK := range numberTypes {
			for m, typeV := range numberTypes {
				if testing.Short() && (n+m)%3 > 0 {
					continue
				}
				typeQ, typeOut := numberTypes[(n+m)%5], numberTypes[(n+3*m)%5]
				sq, sk := []int{70, 1, 5}[(n+m)%3], []int{131, 64, 4200, 17}[(n+2*m)%4]
				op := vkattn.Attention{Batch: 2, HeadsQ: 4, HeadsK: 2, SeqQ: sq, SeqK: sk, HeadDim: 64, ValueDim: 32,
					TypeQ: typeQ, TypeK: typeK, TypeV: typeV, TypeOut: typeOut, Causal: m%2 == 0, With: vkattn.WithLSE}
				if typeK.Size() > 0 && typeV.Size() > 0 {
					op.HeadDim, op.ValueDim = 37, 21
				}
				tensor := func(typ vkattn.Type, h, s, d int) vkattn.Tensor {
					if (n+m)%2 == 0 {
						return vkattn.BHSD(nil, 2, h, s, d).As(typ)
					}
					return vkattn.BSHD(nil, 2, s, h, d).As(typ)
				}
				var narrow, wide vkattn.Args
				narrow.Q, wide.Q = encoded(r, tensor(typeQ, 4, sq, op.HeadDim))
				narrow.K, wide.K = encoded(r, tensor(typeK, 2, sk, op.HeadDim))
				narrow.V, wide.V = encoded(r, tensor(typeV, 2, sk, op.ValueDim))
				narrow.Out, wide.Out = encoded(r, tensor(typeOut, 4, sq, op.ValueDim))
				narrow.LSE, wide.LSE = encoded(r, tensor(vkattn.Float32, 4, sq, 1))
				name := fmt.Sprintf("%v", op)
				run := func(op vkattn.Attention, args vkattn.Args) {
					plan, err := b.Plan(t.Context(), op)
					if err == nil {
						_, err = plan.Run(t.Context(), args)
					}
					if err != nil {
						t.Fatalf("%s: %v", name, err)
					}
				}
				run(op, narrow)
				op.TypeQ, op.TypeK, op.TypeV, op.TypeOut = 0, 0, 0, 0
				run(op, wide)
				want := wide.Out.Mem.(*vkattn.Host).Float32s()
				rounded := make([]byte, typeOut.Bytes(len(want)))
				typeOut.Encode(rounded, want)
				if string(rounded) != string(narrow.Out.Mem.(*vkattn.Host).Bytes()) {
					t.Errorf("%s: Out differs from that of the same numbers in f32", name)
				}
				if string(wide.LSE.Mem.(*vkattn.Host).Bytes()) != string(narrow.LSE.Mem.(*vkattn.Host).Bytes()) {
					t.Errorf("%s: LSE differs from that of the same numbers in f32", name)
				}
			}
		}
	})
}

// TestDescale: factors of every granularity, against numbers that were multiplied before, by the definition.
func TestDescale(t *testing.T) {
	onKernels(t, func(t *testing.T, start func(Config) *Backend) {
		b := start(Config{})
		defer b.Close()
		r := rand.New(rand.NewPCG(2, 2))
		for _, c := range []struct {
			name                 string
			block, packed        int
			batch, headsQ, heads int // of the factors
		}{
			{"per tensor", 0, 0, 1, 1, 1}, {"per head", 0, 0, 1, 4, 2}, {"per batch and head", 0, 0, 2, 4, 2},
			{"per block", 16, 0, 2, 4, 2}, {"per block of all heads", 7, 0, 1, 1, 1}, {"packed", 0, 1, 2, 4, 2}, {"packed blocks", 16, 1, 2, 1, 2},
			{"one block", 1000, 0, 2, 4, 2},
		} {
			op := vkattn.Attention{Batch: 2, HeadsQ: 4, HeadsK: 2, SeqQ: 33, SeqK: 47, HeadDim: 24, Causal: true, TypeQ: vkattn.F8E4M3, TypeK: vkattn.F8E4M3,
				TypeV: vkattn.F8E5M2, DescaleBlock: c.block, With: vkattn.WithDescaleQ | vkattn.WithDescaleK | vkattn.WithDescaleV}
			var narrow, wide vkattn.Args
			tensor := func(typ vkattn.Type, h, s int) vkattn.Tensor { return vkattn.BSHD(nil, 2, s, h, 24).As(typ) }
			cuQ, cuK := []int32{0, 33, 50}, []int32{0, 20, 67}
			if c.packed > 0 {
				op.Packed, op.TotalQ, op.TotalK = true, 50, 67
				narrow.CuSeqQ, narrow.CuSeqK = cuQ, cuK
				tensor = func(typ vkattn.Type, h, s int) vkattn.Tensor {
					if s == 33 {
						return vkattn.THD(nil, 50, h, 24).As(typ)
					}
					return vkattn.THD(nil, 67, h, 24).As(typ)
				}
				wide = narrow
			}
			narrow.Q, wide.Q = encoded(r, tensor(op.TypeQ, 4, 33))
			narrow.K, wide.K = encoded(r, tensor(op.TypeK, 2, 47))
			narrow.V, wide.V = encoded(r, tensor(op.TypeV, 2, 47))
			narrow.Out, _ = encoded(r, tensor(op.TypeOut, 4, 33))
			wide.Out, _ = encoded(r, tensor(op.TypeOut, 4, 33))
			for _, f := range []struct {
				descale  *vkattn.Tensor
				x        vkattn.Tensor
				cu       []int32
				heads, n int
			}{{&narrow.DescaleQ, wide.Q, cuQ, c.headsQ, 33}, {&narrow.DescaleK, wide.K, cuK, c.heads, 47}, {&narrow.DescaleV, wide.V, cuK, c.heads, 47}} {
				blocks, size := 1, 1000
				if c.block > 0 {
					blocks, size = (f.n+c.block-1)/c.block, c.block
				}
				factors := make([]float32, c.batch*f.heads*blocks)
				for i := range factors {
					factors[i] = float32(math.Exp(r.NormFloat64()))
				}
				*f.descale = vkattn.BHSD(vkattn.Float32s(factors), c.batch, f.heads, blocks, 1)
				x := f.x.Mem.(*vkattn.Host).Float32s()
				for b := range 2 {
					lo, hi, at := 0, f.n, b
					if c.packed > 0 {
						lo, hi, at = int(f.cu[b]), int(f.cu[b+1]), 0
					}
					for h := range f.x.Shape[1] {
						for s := lo; s < hi; s++ {
							factor := factors[(b%c.batch*f.heads+h%f.heads)*blocks+(s-lo)/size]
							for d := range 24 {
								x[f.x.Index(at, h, s, d)] *= factor
							}
						}
					}
				}
			}
			plain := op
			plain.TypeQ, plain.TypeK, plain.TypeV, plain.With, plain.DescaleBlock = 0, 0, 0, 0, 0
			for _, call := range []struct {
				op   vkattn.Attention
				args vkattn.Args
			}{{op, narrow}, {plain, wide}} {
				plan, err := b.Plan(t.Context(), call.op)
				if err == nil {
					_, err = plan.Run(t.Context(), call.args)
				}
				if err != nil {
					t.Fatalf("%s: %v", c.name, err)
				}
			}
			oracle, err := Oracle(op, &narrow)
			if err != nil {
				t.Fatal(err)
			}
			got, want := floats32(narrow.Out), floats32(wide.Out)
			n := 0
			each(narrow.Out, func(at int) {
				if math.Float32bits(got[at]) != math.Float32bits(want[at]) {
					t.Fatalf("%s: element %d is %v, want %v", c.name, at, got[at], want[at])
				}
				if math.Abs(float64(got[at])-oracle.Out[n]) > 2e-5 {
					t.Fatalf("%s: element %d is %v, the oracle says %v", c.name, at, got[at], oracle.Out[n])
				}
				n++
			})
		}
	})
}

// TestTypesRefused: what has no meaning is refused before any work, with a typed error.
func TestTypesRefused(t *testing.T) {
	b := New(Config{})
	defer b.Close()
	for name, c := range map[string]struct {
		edit func(*vkattn.Attention)
		want error
	}{
		"queries in blocks":         {func(a *vkattn.Attention) { a.TypeQ = vkattn.Q8_0 }, vkattn.ErrUnsupported},
		"output in blocks":          {func(a *vkattn.Attention) { a.TypeOut = vkattn.Q4_0 }, vkattn.ErrUnsupported},
		"heads of part of a block":  {func(a *vkattn.Attention) { a.TypeK, a.HeadDim = vkattn.Q4_0, 48 }, vkattn.ErrInvalid},
		"values of part of a block": {func(a *vkattn.Attention) { a.TypeV, a.ValueDim = vkattn.Q8_0, 33 }, vkattn.ErrInvalid},
		"factors of f32":            {func(a *vkattn.Attention) { a.With = vkattn.WithDescaleQ }, vkattn.ErrInvalid},
		"factors of q8_0":           {func(a *vkattn.Attention) { a.TypeK, a.With = vkattn.Q8_0, vkattn.WithDescaleK }, vkattn.ErrInvalid},
		"negative block":            {func(a *vkattn.Attention) { a.DescaleBlock = -1 }, vkattn.ErrInvalid},
		"booleans":                  {func(a *vkattn.Attention) { a.TypeV = vkattn.Bool }, vkattn.ErrInvalid},
	} {
		op := vkattn.Attention{Batch: 1, HeadsQ: 1, SeqQ: 4, SeqK: 4, HeadDim: 64}
		c.edit(&op)
		if err := b.Supports(op); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}
