package attntest

import (
	"fmt"
	"math"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/cpu"
)

// roundTo is x in another type and back.
func roundTo(t vkattn.Type, x float64) float64 {
	if t == vkattn.Float32 {
		return float64(float32(x))
	}
	var raw [2]byte
	in, out := [1]float32{float32(x)}, [1]float32{}
	t.Encode(raw[:t.Size()], in[:])
	t.Decode(out[:], raw[:t.Size()])
	return float64(out[0])
}

// measure is the type that the error is measured by: that of the output, or that of 16-bit queries, to which
// matrix units have weights rounded.
func measure(op vkattn.Attention) vkattn.Type {
	if op.TypeOut == vkattn.Float32 && op.TypeQ.Size() == 2 {
		return op.TypeQ
	}
	return op.TypeOut
}

// steps is the type that the unfused computation rounds every step to: the one that the error is measured by, or float16
// where that has 8 bits, since nobody computes in those.
func steps(measured vkattn.Type) vkattn.Type {
	if measured.Size() == 1 {
		return vkattn.Float16
	}
	return measured
}

// plain is the unfused computation that rounds every step to a type: the numbers, products, scores, weights, sums.
type plain struct {
	*TypeProblem
	at   [2]int      // sequence and head of k and v
	k, v [][]float64 // by key
}

// rounded is n rows of a head of Q, K or V from row first of its sequence, times their factors.
func (p *plain) rounded(t, descale vkattn.Tensor, w *view, h, start, first, n int) [][]float64 {
	rows := make([][]float64, n)
	for i := range rows {
		factor := 1.0
		if descale.Given() {
			block, f := 0, descale.Shape
			if p.Op.DescaleBlock > 0 {
				block = (first + i) / p.Op.DescaleBlock
			}
			factor = float64(p.floatAt(descale, min(w.index, f[0]-1), min(h, f[1]-1), min(block, f[2]-1), 0))
		}
		row := make([]float32, t.Shape[3])
		at := t.Type.Bytes(t.Index(w.batch, h, start+first+i, 0))
		if err := t.Type.Decode(row, t.Mem.(*vkattn.Host).Bytes()[at:][:t.Type.Bytes(len(row))]); err != nil {
			panic(err) // the room is right
		}
		for _, x := range row {
			rows[i] = append(rows[i], p.round(factor*float64(x)))
		}
	}
	return rows
}

func (p *plain) round(x float64) float64 { return roundTo(steps(p.rule), x) }

// row is row i of head h.
func (p *plain) row(w *view, h, i int) []float64 {
	a, args, round := p.Op.Canonical(), &p.Args, p.round
	if at := [2]int{w.index, h}; p.k == nil || p.at != at {
		p.at = at
		p.k = p.rounded(args.K, args.DescaleK, w, p.headOf(h, a.HeadsK), w.k0, 0, w.sk)
		p.v = p.rounded(args.V, args.DescaleV, w, p.headOf(h, a.HeadsV), w.k0, 0, w.sk)
	}
	q := p.rounded(args.Q, args.DescaleQ, w, h, w.q0, i, 1)[0]
	scores, m := make([]float64, w.sk), math.Inf(-1)
	for j := range scores {
		scores[j] = math.Inf(-1)
		if !p.closed(w, i, j) || !p.tables(w, h, i, j) {
			continue
		}
		s := 0.0
		for d := range q {
			s += q[d] * p.k[j][d]
		}
		s = round(a.Scale.Value * round(s))
		if a.Softcap > 0 {
			s = round(a.Softcap * math.Tanh(s/a.Softcap))
		}
		if a.With.Has(vkattn.WithALiBi) {
			slope := float64(p.floatAt(args.Slopes, min(w.index, args.Slopes.Shape[0]-1), h, 0, 0))
			s = round(s - slope*math.Abs(float64(args.QBase+i+w.off-args.KBase-j)))
		}
		if a.With.Has(vkattn.WithBias) {
			s = round(s + float64(p.floatAt(args.Bias, w.index, h, i, j)))
		}
		scores[j] = s
		m = math.Max(m, s)
	}
	out := make([]float64, a.ValueDim)
	if math.IsInf(m, -1) {
		return out
	}
	sum := 0.0
	if a.With.Has(vkattn.WithSinkLogits) {
		sink := float64(p.floatAt(args.SinkLogits, min(w.index, args.SinkLogits.Shape[0]-1), h, 0, 0))
		m = math.Max(m, sink)
		sum = math.Exp(sink - m)
	}
	for j, s := range scores {
		scores[j] = math.Exp(s - m)
		sum += scores[j]
	}
	for j, weight := range scores {
		if weight = round(weight / sum); weight != 0 {
			for d := range out {
				out[d] += weight * p.v[j][d]
			}
		}
	}
	for d := range out {
		out[d] = roundTo(a.TypeOut, round(out[d]))
	}
	return out
}

// compareTypes holds Out, as unpack left it, against the oracle's in a narrow type: with ref the oracle and plain the
// unfused computation that rounds every step,
//
//	max|out - ref| <= 2 max|plain - ref| + 2 max|(ref + 0.3 - 0.3) - ref|,  mean|out - ref| <= 1.5 mean|plain - ref|,
//
// the first factor 3 with softcap, ref + 0.3 - 0.3 in that type. Rows that see nothing are 0; NaN meets NaN. The LSE
// is float32 and held to the tolerance of float32.
func (p *TypeProblem) compareTypes(want *cpu.Result) verdict {
	dv, tokens := p.Args.Out.Shape[3], p.Args.Out.Shape[2]
	var v verdict
	var plainMax, shiftMax, plainSum, sum, most, absMax float64
	n, where := 0, ""
	unfused := plain{TypeProblem: p}
	p.eachRow(func(w *view, h, i int) {
		at := (w.batch*p.Op.HeadsQ+h)*tokens + w.q0 + i
		ref, plain := want.Out[at*dv:][:dv], unfused.row(w, h, i)
		for d, x := range ref {
			got := float64(p.out.f[p.Args.Out.Index(w.batch, h, w.q0+i, d)])
			switch {
			case x != x && got == got:
				v.add(math.Inf(1), tolerance, "Out b%d h%d i%d is %v at %d, want NaN", w.index, h, i, got, d)
			case x != x || got != got && p.NonFinite:
				continue
			case math.IsInf(want.LSE[at], -1) && got != 0:
				v.add(math.Inf(1), tolerance, "Out b%d h%d i%d is %v at %d in a row that sees nothing, want 0", w.index, h, i, got, d)
			}
			if plain[d]-plain[d] == 0 {
				plainMax, plainSum = math.Max(plainMax, math.Abs(plain[d]-x)), plainSum+math.Abs(plain[d]-x)
			}
			round := func(x float64) float64 { return roundTo(p.rule, x) }
			shiftMax = math.Max(shiftMax, math.Abs(round(round(round(x)+0.3)-0.3)-x))
			absMax = math.Max(absMax, math.Abs(x))
			e := math.Abs(got - x)
			if e != e {
				e = math.Inf(1)
			}
			sum += e
			n++
			if e > most || where == "" {
				most, where = e, fmt.Sprintf("Out b%d h%d i%d d%d: %v, want %v", w.index, h, i, d, got, x)
			}
		}
		p.compareLSE(&v, w, h, i, want.LSE[at])
	})
	times := 2.0
	if p.Op.Softcap > 0 {
		times = 3
	}
	v.add(most, times*plainMax+2*shiftMax, "%s", where)
	if n > 0 {
		v.add(sum/float64(n), 1.5*plainSum/float64(n)+1e-6*absMax, "the mean error of Out")
	}
	return v
}
