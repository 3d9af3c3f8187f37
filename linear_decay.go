package vkattn

import (
	"fmt"
	"math"
)

// RetNetDecay is the log decays of RetNet for Args.Decay with DecayHead, shape [1, heads, 1, 1]:
//
//	g_h = ln(1 - 2^(-5-h)),  h = 0 .. heads-1
//
// Source: arXiv:2307.08621, section 3.1.
func RetNetDecay(heads int) ([]float32, error) {
	if heads < 1 || heads > maxHeads {
		return nil, &ShapeError{"heads", "", heads, fmt.Sprintf("1 to %d", maxHeads)}
	}
	g := make([]float32, heads)
	for h := range g {
		g[h] = float32(math.Log1p(-math.Exp2(float64(-5 - h))))
	}
	return g, nil
}

// TransNormerLLMRule says which of two formulas TransNormerLLMDecay uses. They differ a lot: in the paper the first
// head does not decay at all, in the checkpoints it decays fastest.
type TransNormerLLMRule uint8

const (
	// TransNormerLLMCheckpoint is the published checkpoints' code: g_h = -slope_h (1 - l/(L-1) + 1e-5), with ALiBi's slopes
	// for any number of heads; one layer counts as l/(L-1) = 0. MiniMax-01 has the same.
	TransNormerLLMCheckpoint TransNormerLLMRule = iota
	// TransNormerLLMPaper is the formula of the paper: g_h = -(8h/H) (1 - l/L).
	TransNormerLLMPaper
)

// TransNormerLLMDecay is the log decays of TransNormerLLM (Lightning Attention) for Args.Decay with DecayHead, shape
// [1, heads, 1, 1], in layer l of L, from 0.
//
// Sources: arXiv:2307.14995, 2401.04658; modeling_transnormer.py of OpenNLPLab/TransnormerLLM.
func TransNormerLLMDecay(heads, layer, layers int, rule TransNormerLLMRule) ([]float32, error) {
	switch {
	case heads < 1 || heads > maxHeads:
		return nil, &ShapeError{"heads", "", heads, fmt.Sprintf("1 to %d", maxHeads)}
	case layers < 1:
		return nil, &ShapeError{"layers", "", layers, "1 or more"}
	case layer < 0 || layer >= layers:
		return nil, &ShapeError{"layer", "", layer, fmt.Sprintf("0 to %d", layers-1)}
	case rule > TransNormerLLMPaper:
		return nil, &ShapeError{"rule", "", rule, "TransNormerLLMCheckpoint or TransNormerLLMPaper"}
	}
	g := make([]float32, heads)
	for h := range g {
		if rule == TransNormerLLMPaper {
			g[h] = float32(-8 * float64(h) / float64(heads) * (1 - float64(layer)/float64(layers)))
			continue
		}
		depth := float64(layer) / float64(max(layers-1, 1))
		g[h] = float32(-alibiSlope(h, heads) * (1 - depth + 1e-5))
	}
	for h := range g {
		g[h] += 0 // -0 becomes 0
	}
	return g, nil
}
