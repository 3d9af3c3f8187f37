package cpu

import "math"

// expRow replaces every s by exp(s-m) and returns their sum. NaN stays NaN; -inf gives 0, and s far above m +inf.
// The difference is taken before the change of base, so that m may be large, and
// 2^f is a Taylor polynomial of degree 7 in float64: 5e-9 off, so that the result is within 0.6 ulp.
func expRow(s []float32, m float64) float64 {
	const (
		round = 0x1.8p52 // adding it leaves the nearest integer in the low bits
		c1    = math.Ln2
		c2    = c1 * math.Ln2 / 2
		c3    = c2 * math.Ln2 / 3
		c4    = c3 * math.Ln2 / 4
		c5    = c4 * math.Ln2 / 5
		c6    = c5 * math.Ln2 / 6
		c7    = c6 * math.Ln2 / 7
	)
	var sum float64
	for i, x := range s {
		d := float64(x) - m
		if d < -104 { // below half the smallest float32
			s[i] = 0
			continue
		}
		if d > 100 { // infinite in float32
			d = 100
		}
		y := d * math.Log2E
		k := y + round
		f := y - (k - round)
		f2 := f * f
		f4 := f2 * f2
		p := (1 + c1*f + (c2+c3*f)*f2) + (c4+c5*f+(c6+c7*f)*f2)*f4
		e := float32(p * math.Float64frombits(uint64(int64(int32(math.Float64bits(k)))+1023)<<52))
		s[i] = e
		sum += float64(e)
	}
	return sum
}

// weight is exp(m-to) for to >= m, the factor that brings a state with maximum m to the maximum to.
func weight(m, to float32) float64 {
	if m == to {
		return 1 // infinities included
	}
	return math.Exp(float64(m) - float64(to))
}
