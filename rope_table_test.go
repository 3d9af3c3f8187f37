package vkattn

import (
	"math"
	"math/big"
	"testing"
)

// exactTurn is p*f less whole turns, in 300 bits before the last rounding.
func exactTurn(t *testing.T, p int64, f float64) float64 {
	t.Helper()
	const digits = "3.14159265358979323846264338327950288419716939937510582097494459230781640628620899862803482534211706798214808651"
	pi, _, err := big.ParseFloat(digits, 10, 300, big.ToNearestEven)
	if err != nil {
		t.Fatal(err)
	}
	wide := func() *big.Float { return new(big.Float).SetPrec(300) }
	angle := wide().Mul(wide().SetInt64(p), wide().SetFloat64(f))
	turn := wide().Mul(pi, wide().SetInt64(2))
	turns, _ := wide().Quo(angle, turn).Int(nil)
	rest, _ := wide().Sub(angle, wide().Mul(turn, wide().SetInt(turns))).Float64()
	return rest
}

// TestRopeTable compares with sines of angles that were reduced in 300 bits: each number of the tables is
// within half a unit in the last place of a float32, and a little.
func TestRopeTable(t *testing.T) {
	inv, attention, err := RopeFrequencies(128, 150000, RopeYaRN{Factor: 32, OriginalMaxPosition: 4096, NoTruncate: true})
	if err != nil {
		t.Fatal(err)
	}
	inv = append(inv, maxFrequency, -1, 0)
	for _, base := range []int{0, 1, 20000, 131072, 1 << 20, 1<<30 - 3, math.MaxInt32 - 2, -5, math.MinInt32} {
		cos, sin, err := RopeTable(inv, attention, base, 3)
		if err != nil || cos.Shape != [4]int{1, 1, 3, len(inv)} || sin.Shape != cos.Shape {
			t.Fatalf("%d: %v %v, %v", base, cos, sin, err)
		}
		cosAt, sinAt, err := RopeTableAt(inv, attention, []int32{int32(base + 2), int32(base + 1), int32(base)})
		if err != nil {
			t.Fatal(err)
		}
		for s := range 3 {
			for i, f := range inv {
				turn := exactTurn(t, int64(base+s), f)
				for _, c := range []struct {
					name      string
					table, at Tensor
					want      float64
				}{{"cos", cos, cosAt, attention * math.Cos(turn)}, {"sin", sin, sinAt, attention * math.Sin(turn)}} {
					got := c.table.Mem.(*Host).Float32s()[c.table.Index(0, 0, s, i)]
					if again := c.at.Mem.(*Host).Float32s()[c.at.Index(0, 0, 2-s, i)]; got != again {
						t.Errorf("%s of position %d, pair %d: %v and %v", c.name, base+s, i, got, again)
					}
					ulp := float64(math.Nextafter32(float32(math.Abs(c.want)), 2) - float32(math.Abs(c.want)))
					if math.Abs(float64(got)-c.want) > 0.5001*ulp+1e-15 {
						t.Errorf("%s of position %d, pair %d: %v, want %v", c.name, base+s, i, got, c.want)
					}
				}
			}
		}
	}
}

func TestRopeTableRefuses(t *testing.T) {
	inv, nan := []float64{1, 0.5}, math.NaN()
	for _, c := range []struct {
		arg       string
		inv       []float64
		attention float64
		base, n   int
	}{
		{"InvFreq", nil, 1, 0, 1}, {"InvFreq", []float64{nan}, 1, 0, 1}, {"InvFreq", []float64{math.Inf(-1)}, 1, 0, 1}, {"InvFreq", []float64{65}, 1, 0, 1},
		{"AttentionFactor", inv, 0, 0, 1}, {"AttentionFactor", inv, nan, 0, 1}, {"AttentionFactor", inv, 1e39, 0, 1},
		{"N", inv, 1, 0, -1}, {"N", inv, 1, 0, math.MaxInt}, {"N", inv, 1, 0, 1<<29 + 1},
		{"Base", inv, 1, math.MaxInt32, 2}, {"Base", inv, 1, math.MinInt32 - 1, 1}, {"Base", inv, 1, math.MaxInt, 1},
	} {
		if cos, sin, err := RopeTable(c.inv, c.attention, c.base, c.n); !names(err, c.arg) || cos.Given() || sin.Given() {
			t.Errorf("%v, %v, %d, %d: %v, want an error about %s", c.inv, c.attention, c.base, c.n, err, c.arg)
		}
	}
	for _, n := range []int{0, 1} {
		if cos, sin, err := RopeTable(inv, 1, math.MaxInt32, n); err != nil || cos.Shape != [4]int{1, 1, n, 2} || !sin.Given() {
			t.Errorf("%d positions at the end: %v, %v", n, cos, err)
		}
	}
	if cos, _, err := RopeTableAt(inv, 1, nil); err != nil || cos.Len() != 0 {
		t.Errorf("no positions: %v, %v", cos, err)
	}
}
