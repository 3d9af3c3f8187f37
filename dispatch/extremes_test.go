package dispatch_test

import (
	"math"
	"strings"
	"testing"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/cpu"
	"github.com/vkattn/vkattn/dispatch"
)

// mixedScale is a factor by which some rows of problem get scores of more than 2^10, which flash_range takes another way, and others do not.
const mixedScale = 50

// extremes runs calls of 300 keys or more on a kernel, in all types that the device multiplies, with scores so large that their rounding counts, that have
// overflowed, or that are NaN, against the oracle.
func extremes(t *testing.T, b *dispatch.Backend, op vkattn.Attention, kernel string) {
	t.Helper()
	every := func(x []float32, value float32) {
		for i := range x {
			x[i] = value
		}
	}
	d, dv := op.HeadDim, op.ValueDim
	for _, typ := range []vkattn.Type{vkattn.Float16, vkattn.BFloat16} {
		op.TypeQ, op.TypeK, op.TypeV, op.TypeOut = typ, typ, typ, typ
		if b.Supports(op) != nil {
			if typ == vkattn.Float16 {
				t.Fatal(b.Supports(op))
			}
			t.Logf("not in %v, which this device does not multiply", typ)
			continue
		}
		low := map[vkattn.Type]float32{vkattn.Float16: float32(math.Inf(-1)), vkattn.BFloat16: -0x1p120}[typ] // times positive queries
		large := map[vkattn.Type]float32{vkattn.Float16: 1, vkattn.BFloat16: 0x1p120}[typ]
		for _, c := range []struct {
			name  string
			scale float64
			fill  func(q, k, v []float32)
			leaks bool // NaN in column 3 may reach the rows of a tile that do not see it
			never vkattn.Type
		}{
			{name: "each row has one key", scale: 1e9},
			{name: "each row has one key, the scale negative", scale: -1e23},
			{name: "some rows have large scores", scale: mixedScale},
			{name: "NaN in a value", fill: func(_, _, v []float32) { v[250*dv+3] = float32(math.NaN()) }, leaks: true},
			{name: "NaN in a key", fill: func(_, k, _ []float32) { k[280*d+3] = float32(math.NaN()) }},
			{name: "NaN in a query", fill: func(q, _, _ []float32) { q[min(10, op.SeqQ-1)*d+3] = float32(math.NaN()) }},
			{name: "the first scores are -inf", fill: func(q, k, _ []float32) {
				every(q, large)
				every(k, 0)
				every(k[:100*d], low)
			}},
			{name: "scores in the middle are -inf", fill: func(q, k, _ []float32) {
				every(q, large)
				every(k, 0)
				every(k[100*d:260*d], low)
			}},
			// In float16 only infinite numbers have such products, and then there is no answer.
			{name: "all scores overflow to -inf", fill: func(q, k, _ []float32) {
				every(q, large)
				every(k, low)
			}, never: vkattn.Float16},
		} {
			if c.never == typ {
				continue
			}
			op := op
			if c.scale != 0 {
				op.Scale = vkattn.Num(c.scale)
			}
			args := problem(op, 3)
			if c.fill != nil {
				c.fill(args.Q.Mem.(*vkattn.Host).Float32s(), args.K.Mem.(*vkattn.Host).Float32s(), args.V.Mem.(*vkattn.Host).Float32s())
			}
			make16(t, typ, &args.Q, &args.K, &args.V, &args.Out)
			if r := run(t, b, op, args); !strings.HasPrefix(r.Kernel, kernel) {
				t.Fatalf("%s ran, not %s: %s", r.Kernel, kernel, r.Tile)
			}
			want, err := cpu.Oracle(op.Canonical(), &args)
			if err != nil {
				t.Fatal(err)
			}
			got, err := args.Out.To(vkattn.Float32)
			if err != nil {
				t.Fatal(err)
			}
			allowed := map[vkattn.Type]float64{vkattn.Float16: 2e-3, vkattn.BFloat16: 16e-3}[typ]
			wrong := 0
			for i, x := range got.Mem.(*vkattn.Host).Float32s() {
				w := want.Out[i]
				if c.leaks && math.IsNaN(float64(x)) && i%dv == 3 {
					continue
				}
				if x := float64(x); math.IsNaN(x) != math.IsNaN(w) || math.Abs(x-w) > allowed*max(1, math.Abs(w)) {
					if wrong++; wrong <= 3 {
						t.Errorf("%v, %s: head %d, row %d, column %d: %g, want %g", typ, c.name, i/dv/op.SeqQ, i/dv%op.SeqQ, i%dv, x, w)
					}
				}
			}
		}
	}
}
