package golden

import (
	"fmt"
	"math"
	"strings"
)

// Mismatch is a comparison that failed: the element that is furthest off,
// measured by what is allowed there.
type Mismatch struct {
	Case    string
	Tensor  string
	Index   []int // in the shape of the manifest
	Got     float64
	Want    float64
	Allowed float64 // absolute
	Count   int     // elements that are off
}

func (e *Mismatch) Error() string {
	return fmt.Sprintf("golden: %s: %s%v is %.9g, want %.9g, off by %.3g, allowed %.3g; %d elements are off",
		e.Case, e.Tensor, e.Index, e.Got, e.Want, math.Abs(e.Got-e.Want), e.Allowed, e.Count)
}

// rule is the kind of tolerance that a tensor has.
type rule int

const (
	byError  rule = iota // 8*f32_err + 1e-6*max(1, absmax)
	byLog                // 1e-5, relative beyond 1
	byScale              // 1e-6*max(1, absmax)
	relative             // 1e-6 of each element
	exact                // copies of inputs, integers
	byLogit              // 1e-3: a model's numbers in float32
)

func (c *Case) rule(name string) rule {
	switch c.Op {
	case "rope":
		// f32_err is that of float32 angles, which nobody here computes.
		return byScale
	case "rope_inv_freq", "alibi_slopes":
		return relative
	case "t5_bucket":
		return exact
	case Generate:
		if name == "logits_last" {
			return byLogit
		}
		return exact
	}
	switch {
	case strings.HasPrefix(name, "lse"):
		return byLog
	case strings.HasPrefix(name, "present_key"), strings.HasPrefix(name, "present_value"):
		return exact
	case name == "qk_matmul_output":
		// Scores before the softmax are recovered as log(p) + LSE, so they are
		// as exact as an LSE.
		if mode, _ := c.Attrs["qk_matmul_output_mode"].(float64); mode != 3 {
			return byLog
		}
	}
	return byError
}

// Compare compares one tensor, flat and in the manifest's order, with what is
// expected. worst is the error of the element that is furthest off for what is
// allowed there, and allowed is what is allowed there, both absolute. err is a
// *Mismatch if that is too much. Infinities must be met exactly, a NaN only by
// a NaN; any other NaN has the error +Inf.
func (c *Case) Compare(name string, got []float32, want []float64) (worst, allowed float64, err error) {
	if len(got) != len(want) {
		return math.Inf(1), 0, fmt.Errorf("golden: %s: %s has %d elements, want %d", c.Name, name, len(got), len(want))
	}
	if len(got) == 0 {
		return 0, 0, nil
	}
	rule := c.rule(name)
	fixed := 0.0
	switch rule {
	case byScale:
		fixed = 1e-6 * math.Max(1, c.absMax(name, want))
	case byLogit:
		fixed = 1e-3
	case byError:
		key := strings.TrimSuffix(name, "_f64") // the exact version of the same tensor
		if c.Tensors[name].DType == "float16" {
			// Its reference rounds every step to float16. One that is at most twice as far off as that one, and rounds once
			// itself, is at most three times as far from it.
			fixed = 3*c.Tolerance.F32Err[key] + 0x1p-11*c.absMax(name, want)
			break
		}
		fixed = 8*c.Tolerance.F32Err[key] + 1e-6*math.Max(1, c.absMax(name, want))
	}
	at, count, ratio := 0, 0, -1.0
	for i, w := range want {
		g := float64(got[i])
		limit := fixed
		switch rule {
		case byLog:
			limit = 1e-5 * math.Max(1, math.Abs(w))
		case relative:
			limit = 1e-6 * math.Abs(w)
		}
		diff := 0.0
		switch {
		case g == w || g != g && w != w:
		case g != g || w != w || math.IsInf(g, 0) || math.IsInf(w, 0):
			diff = math.Inf(1)
		default:
			diff = math.Abs(g - w)
		}
		if math.IsInf(w, 0) || w != w {
			limit = 0
		}
		if diff > limit {
			count++
		}
		r := diff
		if diff > 0 {
			r = diff / limit
		}
		if r > ratio {
			ratio, at, worst, allowed = r, i, diff, limit
		}
	}
	if count > 0 {
		err = &Mismatch{c.Name, name, unflatten(at, c.Tensors[name].Shape), float64(got[at]), want[at], allowed, count}
	}
	return worst, allowed, err
}

func (c *Case) absMax(name string, want []float64) float64 {
	if m, ok := c.Tolerance.AbsMax[name]; ok {
		return m
	}
	m := 0.0
	for _, w := range want {
		if !math.IsInf(w, 0) {
			m = math.Max(m, math.Abs(w))
		}
	}
	return m
}

func unflatten(at int, shape []int) []int {
	index := make([]int, len(shape))
	for axis := len(shape) - 1; axis >= 0 && shape[axis] > 0; axis-- {
		index[axis] = at % shape[axis]
		at /= shape[axis]
	}
	return index
}
