package vkattn

import (
	"fmt"
	"math"
)

// RopeLlama3 is the scaling of Llama 3.1 and later (meta-llama, apply_scaling; rope_type "llama3"). Pairs
// whose wavelength 2 pi/inv is below OriginalMaxPosition/HighFreqFactor keep their frequency, those above
// OriginalMaxPosition/LowFreqFactor have it divided by Factor, and those between go over smoothly:
//
//	s = (OriginalMaxPosition/wavelength - LowFreqFactor) / (HighFreqFactor - LowFreqFactor)
//	inv' = (1-s) inv/Factor + s inv
//
// Llama 3.1 has Factor 8, Llama 3.2 has 32; both leave the rest at the defaults.
type RopeLlama3 struct {
	Factor              float64 // positive
	LowFreqFactor       float64 // 0: 1
	HighFreqFactor      float64 // 0: 4; above LowFreqFactor
	OriginalMaxPosition int     // 0: 8192
}

func (l RopeLlama3) scale(inv []float64, _ float64) (float64, error) {
	low, high, original := orDefault(l.LowFreqFactor, 1), orDefault(l.HighFreqFactor, 4), orDefault(l.OriginalMaxPosition, 8192)
	for _, f := range []struct {
		name string
		v    float64
	}{{"Factor", l.Factor}, {"LowFreqFactor", low}, {"HighFreqFactor", high}} {
		if err := checkPositive(f.name, f.v); err != nil {
			return 0, err
		}
	}
	if err := checkLength("OriginalMaxPosition", original, 1); err != nil {
		return 0, err
	}
	if high <= low {
		return 0, &ArgError{"HighFreqFactor", fmt.Sprintf("is %v, want more than LowFreqFactor %v", high, low)}
	}
	for i, f := range inv {
		turns := float64(original) * f / (2 * math.Pi) // within the original length
		s := min(max((turns-low)/(high-low), 0), 1)
		inv[i] = (1-s)*f/l.Factor + s*f
	}
	return 1, nil
}

// orDefault is v, or what 0 stands for.
func orDefault[T int | float64](v, unset T) T {
	if v == 0 {
		return unset
	}
	return v
}
