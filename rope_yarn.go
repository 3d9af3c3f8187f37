package vkattn

import (
	"fmt"
	"math"
)

// RopeYaRN interpolates the pairs that turn slowly and leaves those that turn fast (Peng et al., "YaRN",
// 2023; rope_type "yarn"):
//
//	dim(b) = R ln(OriginalMaxPosition/(2 pi b)) / (2 ln theta)     the pair that turns b times
//	low = floor(dim(BetaFast)), high = ceil(dim(BetaSlow)), within 0 to R-1
//	ramp_i = (i-low)/(high-low), within 0 to 1
//	inv'_i = inv_i (1-ramp_i) + inv_i/Factor ramp_i
//
// The attention factor is 0.1 ln(Factor) + 1, or with both MScale and MScaleAllDim
//
//	(0.1 MScale ln(Factor) + 1) / (0.1 MScaleAllDim ln(Factor) + 1)
//
// where a Factor of at most 1 counts as 1, or else AttentionFactor.
type RopeYaRN struct {
	Factor              float64 // positive
	OriginalMaxPosition int     // length of the training texts, original_max_position_embeddings
	BetaFast            float64 // 0: 32; above BetaSlow
	BetaSlow            float64 // 0: 1
	NoTruncate          bool    // low and high stay fractions ("truncate": false), as in GPT-OSS
	AttentionFactor     Number  // unset: computed
	MScale              float64 // 0: none
	MScaleAllDim        float64 // 0: none
}

func (y RopeYaRN) scale(inv []float64, theta float64) (float64, error) {
	fast, slow := orDefault(y.BetaFast, 32), orDefault(y.BetaSlow, 1)
	for _, f := range []struct {
		name string
		v    float64
	}{{"Factor", y.Factor}, {"BetaFast", fast}, {"BetaSlow", slow}} {
		if err := checkPositive(f.name, f.v); err != nil {
			return 0, err
		}
	}
	if err := checkLength("OriginalMaxPosition", y.OriginalMaxPosition, 1); err != nil {
		return 0, err
	}
	if fast <= slow {
		return 0, &ArgError{"BetaFast", fmt.Sprintf("is %v, want more than BetaSlow %v", fast, slow)}
	}
	dims := float64(2 * len(inv))
	dim := func(turns float64) float64 {
		return dims * math.Log(float64(y.OriginalMaxPosition)/(turns*2*math.Pi)) / (2 * math.Log(theta))
	}
	low, high := dim(fast), dim(slow)
	if !y.NoTruncate {
		low, high = math.Floor(low), math.Ceil(high)
	}
	low, high = max(low, 0), min(high, dims-1)
	if low > high { // no pair is between BetaSlow and BetaFast, and a ramp that falls would mix up the two ends
		return 0, &ArgError{"OriginalMaxPosition", fmt.Sprintf("of %d leaves no ramp for theta %v: it would go from pair %.4g down to %.4g", y.OriginalMaxPosition, theta, low, high)}
	}
	if low == high {
		high += 0.001 // as published: a step
	}
	for i, f := range inv {
		ramp := min(max((float64(i)-low)/(high-low), 0), 1)
		inv[i] = f*(1-ramp) + f/y.Factor*ramp
	}
	return y.attention()
}

func (y RopeYaRN) attention() (float64, error) {
	switch {
	case y.AttentionFactor.Set:
		return y.AttentionFactor.Value, nil
	case y.MScale != 0 && y.MScaleAllDim != 0:
		up, down := y.mscale(y.MScale), y.mscale(y.MScaleAllDim)
		if !(up > 0 && down > 0) {
			return 0, &ArgError{"MScale", fmt.Sprintf("%v and MScaleAllDim %v give the factor %v/%v", y.MScale, y.MScaleAllDim, up, down)}
		}
		return up / down, nil
	}
	return y.mscale(1), nil
}

// mscale is 0.1 m ln(Factor) + 1, and 1 for a Factor of at most 1.
func (y RopeYaRN) mscale(m float64) float64 {
	if y.Factor <= 1 {
		return 1
	}
	return 0.1*m*math.Log(y.Factor) + 1
}

// SoftmaxFactor is what multiplies the 1/sqrt(D) of the scores: the square of 0.1 MScaleAllDim ln(Factor) + 1,
// and 1 without MScaleAllDim. DeepSeek-V2 and V3 put it there and not into cosine and sine.
func (y RopeYaRN) SoftmaxFactor() float64 {
	if y.MScaleAllDim == 0 {
		return 1
	}
	m := y.mscale(y.MScaleAllDim)
	return m * m
}
