package report

import (
	"math"
	"slices"
	"strings"
	"time"

	"gonum.org/v1/plot"

	"github.com/vkattn/vkattn/internal/bench"
)

// span is the range of positive values.
type span struct{ lo, hi float64 }

func (s *span) add(x float64) {
	if !drawable(x) {
		return
	}
	if s.hi == 0 {
		*s = span{x, x}
	}
	s.lo, s.hi = min(s.lo, x), max(s.hi, x)
}

// drawable says whether all of x can stand on a logarithmic axis. Files may hold anything.
func drawable(x ...float64) bool {
	for _, v := range x {
		if !(v > 1e-30 && v < 1e30) {
			return false
		}
	}
	return true
}

// axis sets a logarithmic axis to the span, widened to round values, with labels by text.
func (s span) axis(a *plot.Axis, text func(float64) string) {
	if s.hi == 0 {
		s = span{1, 10}
	}
	steps := []float64{1}
	if s.hi/s.lo < 30 {
		steps = []float64{1, 2, 5}
	}
	var ticks []float64
	for e := math.Floor(math.Log10(s.lo)) - 1; e <= math.Ceil(math.Log10(s.hi))+1; e++ {
		for _, m := range steps {
			ticks = append(ticks, m*math.Pow(10, e))
		}
	}
	lo, hi := 0, len(ticks)-1
	for lo+1 < len(ticks) && ticks[lo+1] <= s.lo*0.98 {
		lo++
	}
	for hi-1 > lo+1 && ticks[hi-1] >= s.hi*1.02 {
		hi--
	}
	ticks = ticks[lo : hi+1]
	a.Min, a.Max = ticks[0], ticks[len(ticks)-1]
	every := 1 + len(ticks)/9
	var marks plot.ConstantTicks
	for i, t := range ticks {
		tick := plot.Tick{Value: t}
		if i%every == 0 {
			tick.Label = text(t)
		}
		marks = append(marks, tick)
	}
	a.Tick.Marker = marks
}

// lengthAxis has a tick at each value, labelled as flags are, as far as there is room.
func lengthAxis(a *plot.Axis, values []float64) {
	slices.Sort(values)
	values = slices.Compact(values)
	a.Min, a.Max = values[0], values[len(values)-1]
	if a.Min == a.Max {
		a.Min, a.Max = a.Min/2, a.Max*2
	}
	room := math.Log(a.Max/a.Min) / 10 // of a label
	var marks plot.ConstantTicks
	last := math.Inf(-1)
	for _, v := range values {
		tick := plot.Tick{Value: v}
		if at := math.Log(v); at-last >= room {
			tick.Label, last = bench.Size(int(v)), at
		}
		marks = append(marks, tick)
	}
	a.Tick.Marker = marks
}

func secondsText(x float64) string {
	d := time.Duration(math.Round(x * 1e9))
	for _, u := range []struct {
		name string
		size float64
	}{{" s", 1}, {" ms", 1e-3}, {" us", 1e-6}} {
		if x >= 0.9995*u.size {
			return plain(x/u.size) + u.name
		}
	}
	return d.String()
}

// bytesAxis ticks are powers of two times 1024s.
func bytesAxis(a *plot.Axis, s span) {
	if s.hi == 0 {
		s = span{1, 1024}
	}
	lo, hi := math.Floor(math.Log2(s.lo)), math.Ceil(math.Log2(s.hi))
	if lo == hi {
		hi++
	}
	step := max(1, math.Ceil((hi-lo)/7))
	a.Min, a.Max = math.Exp2(lo), math.Exp2(hi)
	var marks plot.ConstantTicks
	for e := lo; e <= hi; e += step {
		marks = append(marks, plot.Tick{Value: math.Exp2(e), Label: bytesText(math.Exp2(e))})
	}
	a.Tick.Marker = marks
}

func bytesText(x float64) string {
	for _, u := range []struct {
		name string
		size float64
	}{{" TiB", 1 << 40}, {" GiB", 1 << 30}, {" MiB", 1 << 20}, {" KiB", 1 << 10}} {
		if x >= u.size {
			return plain(x/u.size) + u.name
		}
	}
	return plain(x) + " B"
}

// rateText is for a value in TFLOP/s.
func rateText(x float64) string {
	switch {
	case x >= 0.9995:
		return plain(x) + " TFLOP/s"
	case x >= 0.9995e-3:
		return plain(x*1e3) + " GFLOP/s"
	}
	return plain(x*1e6) + " MFLOP/s"
}

// plain is a round number without zeros behind the point.
func plain(x float64) string {
	if r := math.Round(x); math.Abs(x-r) < 1e-6*math.Abs(x) && r < 1e6 {
		return bench.Count(int64(r))
	}
	text := bench.Figure(x)
	if strings.Contains(text, ".") && !strings.Contains(text, "e") {
		text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
	}
	return text
}
