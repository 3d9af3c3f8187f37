package vkattn

import (
	"fmt"
	"math"
)

// RopeScaling changes the inverse frequencies of RoPE so that a model reads longer texts than it was
// trained on. The kinds are RopeLinear, RopeNTK, RopeDynamicNTK, RopeYaRN, RopeLlama3 and RopeLong.
type RopeScaling interface {
	// scale changes inv [R/2], the plain inverse frequencies of theta, and returns the attention factor.
	scale(inv []float64, theta float64) (attention float64, err error)
}

// RopeFrequencies returns the inverse frequencies of R = rotaryDim columns, [R/2],
//
//	inv_i = theta^(-2i/R)
//
// changed by scaling, and the attention factor, by which the scaling multiplies cosine and sine. nil is no
// scaling, and the factor is then 1. All is computed in float64. rotaryDim is even and positive; see
// RotaryDim for models that rotate a part of each head. theta is finite and above 1: 1e4 in most models.
//
// Errors are *ShapeError or *ArgError and name the field. The rules are those of Hugging Face transformers,
// modeling_rope_utils.py, whose names of the rules stand at each kind.
func RopeFrequencies(rotaryDim int, theta float64, scaling RopeScaling) (inv []float64, attention float64, err error) {
	if rotaryDim < 2 || rotaryDim > maxHeadDim || rotaryDim%2 != 0 {
		return nil, 0, &ShapeError{"RotaryDim", "", rotaryDim, fmt.Sprintf("an even number, 2 to %d", maxHeadDim)}
	}
	if !(theta > 1) || math.IsInf(theta, 1) {
		return nil, 0, &ArgError{"Theta", fmt.Sprintf("is %v, want a finite number above 1", theta)}
	}
	inv, attention = make([]float64, rotaryDim/2), 1
	plainFrequencies(inv, theta)
	if scaling != nil {
		if attention, err = scaling.scale(inv, theta); err != nil {
			return nil, 0, err
		}
	}
	for i, f := range inv {
		if !(f >= 0) || math.IsInf(f, 0) {
			return nil, 0, &ArgError{"Scaling", fmt.Sprintf("inverse frequency %d becomes %v", i, f)}
		}
	}
	if err := checkPositive("AttentionFactor", attention); err != nil {
		return nil, 0, err
	}
	return inv, attention, nil
}

// RotaryDim is the number of columns that a model rotates whose partial_rotary_factor is given: the whole
// part of headDim*partial. GPT-NeoX has 0.25, Phi-4-mini 0.75. It is an error if that is odd or below 2.
func RotaryDim(headDim int, partial float64) (int, error) {
	if headDim < 1 || headDim > maxHeadDim {
		return 0, &ShapeError{"HeadDim", "", headDim, fmt.Sprintf("1 to %d", maxHeadDim)}
	}
	if !(partial > 0 && partial <= 1) {
		return 0, &ArgError{"Partial", fmt.Sprintf("is %v, want a number above 0, at most 1", partial)}
	}
	r := int(float64(headDim) * partial)
	if r < 2 || r%2 != 0 {
		return 0, &ShapeError{"RotaryDim", "", r, fmt.Sprintf("an even number, 2 to %d", headDim)}
	}
	return r, nil
}

// plainFrequencies is inv_i = theta^(-2i/R).
func plainFrequencies(inv []float64, theta float64) {
	for i := range inv {
		inv[i] = 1 / math.Pow(theta, float64(2*i)/float64(2*len(inv)))
	}
}

// RopeLinear divides every frequency by Factor, which is the same as dividing the positions (Chen et al.,
// "Position Interpolation", 2023; rope_type "linear"). Gemma 3 has 8 in its global layers.
type RopeLinear struct {
	Factor float64 // positive
}

func (l RopeLinear) scale(inv []float64, _ float64) (float64, error) {
	if err := checkPositive("Factor", l.Factor); err != nil {
		return 0, err
	}
	for i := range inv {
		inv[i] /= l.Factor
	}
	return 1, nil
}

// RopeNTK changes the base once and for all (NTK-aware scaling, bloc97 2023):
//
//	theta' = theta * Alpha^(R/(R-2))
//
// so that the slowest pair turns Alpha times slower and the fastest as before.
type RopeNTK struct {
	Alpha float64 // positive
}

func (n RopeNTK) scale(inv []float64, theta float64) (float64, error) {
	if err := checkPositive("Alpha", n.Alpha); err != nil {
		return 0, err
	}
	return 1, changeBase(inv, theta, n.Alpha)
}

// RopeDynamicNTK changes the base with the length L of the text (emozilla 2023; rope_type "dynamic"):
//
//	theta' = theta * (Factor*L/MaxPosition - (Factor-1))^(R/(R-2))  if L > MaxPosition, else theta
//
// Keys that were rotated for another length have other angles: a cache must hold keys before RoPE.
type RopeDynamicNTK struct {
	Factor      float64 // positive
	MaxPosition int     // the length that the model was trained for, max_position_embeddings
	Length      int     // L, tokens of the text so far
}

func (d RopeDynamicNTK) scale(inv []float64, theta float64) (float64, error) {
	if err := checkPositive("Factor", d.Factor); err != nil {
		return 0, err
	}
	if err := checkLength("MaxPosition", d.MaxPosition, 1); err != nil {
		return 0, err
	}
	if err := checkLength("Length", d.Length, 0); err != nil {
		return 0, err
	}
	if d.Length <= d.MaxPosition {
		return 1, nil
	}
	return 1, changeBase(inv, theta, d.Factor*float64(d.Length)/float64(d.MaxPosition)-(d.Factor-1))
}

// changeBase is plainFrequencies of theta*alpha^(R/(R-2)). A single pair has inv_0 = 1 whatever the base.
func changeBase(inv []float64, theta, alpha float64) error {
	if len(inv) == 1 {
		return nil
	}
	dim := float64(2 * len(inv))
	theta *= math.Pow(alpha, dim/(dim-2))
	if !(theta > 0) || math.IsInf(theta, 1) {
		return &ArgError{"Scaling", fmt.Sprintf("theta becomes %v", theta)}
	}
	plainFrequencies(inv, theta)
	return nil
}

func checkPositive(name string, v float64) error {
	if !(v > 0) || math.IsInf(v, 1) || float32(v) == 0 || math.IsInf(float64(float32(v)), 1) {
		return &ArgError{name, fmt.Sprintf("is %v, want a positive finite float32", v)}
	}
	return nil
}

func checkLength(name string, n, least int) error {
	if n < least || n > MaxSequence {
		return &ShapeError{name, "", n, fmt.Sprintf("%d to %d tokens", least, MaxSequence)}
	}
	return nil
}
