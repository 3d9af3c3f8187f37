package bench

import (
	"fmt"
	"math"
	"strconv"
	"time"
)

// Duration writes d with three significant digits and a fitting unit.
func Duration(d time.Duration) string {
	x := float64(d)
	for _, u := range []struct {
		name string
		size float64
	}{{"s", 1e9}, {"ms", 1e6}, {"us", 1e3}} {
		if x >= 0.9995*u.size {
			return Figure(x/u.size) + " " + u.name
		}
	}
	return fmt.Sprintf("%d ns", d.Nanoseconds())
}

// Figure writes x with three significant digits, never in exponents unless it is tiny.
func Figure(x float64) string {
	if x == 0 || math.IsNaN(x) || math.IsInf(x, 0) {
		return strconv.FormatFloat(x, 'g', 3, 64)
	}
	if a := math.Abs(x); a < 1e-4 {
		return strconv.FormatFloat(x, 'e', 2, 64)
	}
	rounded, _ := strconv.ParseFloat(strconv.FormatFloat(x, 'e', 2, 64), 64)
	digits := 2 - int(math.Floor(math.Log10(math.Abs(rounded))))
	return strconv.FormatFloat(x, 'f', max(digits, 0), 64)
}

// Bytes writes n in binary units.
func Bytes(n int64) string {
	x := float64(n)
	for _, u := range []struct {
		name string
		size float64
	}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if x >= u.size {
			return Figure(x/u.size) + " " + u.name
		}
	}
	return fmt.Sprintf("%d B", n)
}

// Count writes n with thousands separated by commas.
func Count(n int64) string {
	s := strconv.FormatInt(n, 10)
	start := 0
	if n < 0 {
		start = 1
	}
	for i := len(s) - 3; i > start; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
