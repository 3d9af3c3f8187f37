package vkattn

import (
	"fmt"
	"math"
)

// RopeLong is LongRoPE (Ding et al., 2024; Phi-3; rope_type "longrope"): a factor for each pair, from one
// of two lists, by the length L of the text:
//
//	inv'_i = inv_i / Short_i  if L <= OriginalMaxPosition, else inv_i / Long_i
//	attention factor = sqrt(1 + ln(s)/ln(OriginalMaxPosition)),  s = MaxPosition/OriginalMaxPosition
//
// and 1 if s <= 1. Keys of a text that grows past OriginalMaxPosition have to be rotated anew.
type RopeLong struct {
	Short, Long         []float64 // [R/2], positive
	MaxPosition         int       // max_position_embeddings
	OriginalMaxPosition int       // original_max_position_embeddings, at least 2
	Length              int       // L, tokens of the text so far
	AttentionFactor     Number    // unset: computed
}

func (l RopeLong) scale(inv []float64, _ float64) (float64, error) {
	for _, f := range []struct {
		name     string
		n, least int
	}{{"MaxPosition", l.MaxPosition, 1}, {"OriginalMaxPosition", l.OriginalMaxPosition, 2}, {"Length", l.Length, 0}} {
		if err := checkLength(f.name, f.n, f.least); err != nil {
			return 0, err
		}
	}
	for _, list := range []struct {
		name    string
		factors []float64
	}{{"Short", l.Short}, {"Long", l.Long}} {
		if len(list.factors) != len(inv) {
			return 0, &ShapeError{list.name, "length", len(list.factors), fmt.Sprintf("%d, one factor for each pair", len(inv))}
		}
		for i, f := range list.factors {
			if err := checkPositive(fmt.Sprintf("%s[%d]", list.name, i), f); err != nil {
				return 0, err
			}
		}
	}
	factors := l.Short
	if l.Length > l.OriginalMaxPosition {
		factors = l.Long
	}
	for i := range inv {
		inv[i] /= factors[i]
	}
	if l.AttentionFactor.Set {
		return l.AttentionFactor.Value, nil
	}
	s := float64(l.MaxPosition) / float64(l.OriginalMaxPosition)
	if s <= 1 {
		return 1, nil
	}
	return math.Sqrt(1 + math.Log(s)/math.Log(float64(l.OriginalMaxPosition))), nil
}
