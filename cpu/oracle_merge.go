package cpu

import (
	"math"

	"github.com/vkattn/vkattn"
)

// OracleMerge joins partial results in float64, for tensors in host memory: out is [B, Heads, S, ValueDim], lse [B, Heads, S]. Args.Out
// and Args.LSE are neither checked nor written, but for the shape of Out.
func OracleMerge(op vkattn.Merge, args *vkattn.Args) (out, lse []float64) {
	for b := range args.Out.Shape[0] {
		for h := range op.Heads {
			for s := range args.Out.Shape[2] {
				row, l := mergeRow(op.ValueDim, args.Parts, b, h, s)
				out, lse = append(out, row...), append(lse, l)
			}
		}
	}
	return out, lse
}

func mergeRow(dv int, parts []vkattn.Partial, b, h, s int) (row []float64, lse float64) {
	row = make([]float64, dv)
	logit := func(p *vkattn.Partial) float64 {
		return float64(p.LSE.Mem.(*vkattn.Host).Float32s()[p.LSE.Index(b, h, s, 0)])
	}
	m := math.Inf(-1)
	for i := range parts {
		m = math.Max(m, logit(&parts[i]))
	}
	if math.IsInf(m, -1) {
		return row, m
	}
	sum := 0.0
	for i := range parts {
		l := logit(&parts[i])
		if math.IsInf(l, -1) {
			continue // absent, whatever its row holds
		}
		w := math.Exp(l - m)
		sum += w
		for d := range row {
			row[d] += w * float64(parts[i].Out.Mem.(*vkattn.Host).Float32s()[parts[i].Out.Index(b, h, s, d)])
		}
	}
	for d := range row {
		row[d] /= sum
	}
	return row, m + math.Log(sum)
}
