package attntest

import (
	"fmt"
	"math"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/cpu"
)

// tolerance is the relative L2 error that a row of the output may have on ordinary inputs, and the error
// of a log-sum-exp: absolute up to 1, relative beyond.
const tolerance = 1e-5

// allowedRow widens the tolerance for rows whose scores are large: float32 holds a score s to s/2^24, and
// the weights inherit that as a relative error. The log-sum-exp tells how large the scores that count are.
func allowedRow(lse float64) float64 {
	if math.IsInf(lse, 0) || math.IsNaN(lse) {
		return tolerance
	}
	return tolerance * min(max(math.Abs(lse)/32, 1), 32)
}

// verdict is the worst deviation of a call from the oracle, as a share of what it may be.
type verdict struct {
	worst, allowed float64
	where          string
}

func (v *verdict) add(worst, allowed float64, format string, args ...any) {
	if v.where != "" && !(worst/allowed > v.worst/v.allowed) {
		return
	}
	v.worst, v.allowed, v.where = worst, allowed, fmt.Sprintf(format, args...)
}

func (v *verdict) ok() bool { return v.worst <= v.allowed }

// compare holds the outputs of p against the oracle's. A row's error is its L2 distance over the norm of
// the oracle's row; rows much smaller than the others (by cancellation, as a rule) count against a tenth
// of the root mean square of all norms.
func (p *Problem) compare(want *cpu.Result) verdict {
	var v verdict
	dv, tokens := p.Args.Out.Shape[3], p.Args.Out.Shape[2]
	square, n := 0.0, 0
	p.eachRow(func(w *view, h, i int) {
		at := (w.batch*p.Op.HeadsQ+h)*tokens + w.q0 + i
		if s := sumSquares(want.Out[at*dv:][:dv]); s > 0 {
			square += s
			n++
		}
	})
	floor := 0.0
	if n > 0 {
		floor = 0.1 * math.Sqrt(square/float64(n))
	}
	p.eachRow(func(w *view, h, i int) {
		at := (w.batch*p.Op.HeadsQ+h)*tokens + w.q0 + i
		p.compareRow(&v, w, h, i, want.Out[at*dv:][:dv], want.LSE[at], floor)
	})
	return v
}

func (p *Problem) eachRow(f func(w *view, h, i int)) {
	for _, w := range p.views() {
		for h := range p.Op.HeadsQ {
			for i := range w.sq {
				f(&w, h, i)
			}
		}
	}
}

func (p *Problem) compareRow(v *verdict, w *view, h, i int, want []float64, lse, floor float64) {
	row := func() string { return fmt.Sprintf("b%d h%d i%d", w.index, h, i) }
	bad := func(format string, args ...any) {
		v.add(math.Inf(1), tolerance, "%s: %s", row(), fmt.Sprintf(format, args...))
	}
	empty := true
	for j := range w.sk {
		if p.closed(w, i, j) && p.tables(w, h, i, j) {
			empty = false
			break
		}
	}
	square, norm := 0.0, sumSquares(want)
	for d := range want {
		got := float64(p.out.f[p.Args.Out.Index(w.batch, h, w.q0+i, d)])
		switch {
		case empty:
			if got != 0 {
				bad("Out is %v at %d in a row that sees nothing, want 0", got, d)
				return
			}
		case math.IsNaN(want[d]):
			if !math.IsNaN(got) {
				bad("Out is %v at %d, want NaN", got, d)
				return
			}
		case math.IsNaN(got) && p.NonFinite:
			// shares a key tile with the NaN
		default:
			square += (got - want[d]) * (got - want[d])
		}
	}
	e := math.Sqrt(square)
	if e > 0 {
		e /= max(math.Sqrt(norm), floor)
	}
	if math.IsNaN(e) {
		e = math.Inf(1)
	}
	v.add(e, allowedRow(lse), "Out %s", row())
	p.compareLSE(v, w, h, i, lse)
}

func (p *Problem) compareLSE(v *verdict, w *view, h, i int, lse float64) {
	if p.lse == nil {
		return
	}
	row := func() string { return fmt.Sprintf("b%d h%d i%d", w.index, h, i) }
	bad := func(format string, args ...any) {
		v.add(math.Inf(1), tolerance, "%s: %s", row(), fmt.Sprintf(format, args...))
	}
	got := float64(p.lse.f[p.Args.LSE.Index(w.batch, h, w.q0+i, 0)])
	switch {
	case math.IsNaN(lse):
		if !math.IsNaN(got) {
			bad("LSE is %v, want NaN", got)
		}
	case math.IsNaN(got) && p.NonFinite:
	case math.IsInf(lse, 0):
		if got != lse {
			bad("LSE is %v, want %v", got, lse)
		}
	default:
		e := math.Abs(got-lse) / max(1, math.Abs(lse))
		if math.IsNaN(e) {
			e = math.Inf(1)
		}
		v.add(e, tolerance, "LSE %s: %v, want %v", row(), got, lse)
	}
}

// sumSquares leaves out what is not finite.
func sumSquares(x []float64) (s float64) {
	for _, v := range x {
		if v-v == 0 {
			s += v * v
		}
	}
	return s
}

// outputs is a copy of the memory of both outputs.
func (p *Problem) outputs() [2][]float32 {
	var out [2][]float32
	for n, s := range []*store{p.out, p.lse} {
		if s != nil {
			out[n] = append([]float32(nil), s.f...)
		}
	}
	return out
}

// firstDifference finds an element of an output that is not bit for bit the same. Two NaNs are the same.
func (p *Problem) firstDifference(before [2][]float32) (where string, found bool) {
	for n, o := range []struct {
		name string
		t    vkattn.Tensor
		s    *store
	}{{"Out", p.Args.Out, p.out}, {"LSE", p.Args.LSE, p.lse}} {
		if o.s == nil {
			continue
		}
		for _, w := range p.views() {
			for h := range o.t.Shape[1] {
				for i := range w.sq {
					for d := range o.t.Shape[3] {
						at := o.t.Index(w.batch, h, w.q0+i, d)
						a, b := before[n][at], o.s.f[at]
						if math.Float32bits(a) != math.Float32bits(b) && (a == a || b == b) {
							return fmt.Sprintf("%s b%d h%d i%d d%d was %v, is %v", o.name, w.index, h, i, d, a, b), true
						}
					}
				}
			}
		}
	}
	return "", false
}
