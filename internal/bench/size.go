package bench

import (
	"fmt"
	"strconv"
	"strings"
)

// maxSweep bounds the values that one list may stand for.
const maxSweep = 1000

// ParseSize reads a whole number with an optional suffix: 2k is 2048, 1m is 1048576.
func ParseSize(s string) (int, error) {
	digits, unit := strings.ToLower(strings.TrimSpace(s)), 1
	switch {
	case strings.HasSuffix(digits, "k"):
		digits, unit = digits[:len(digits)-1], 1<<10
	case strings.HasSuffix(digits, "m"):
		digits, unit = digits[:len(digits)-1], 1<<20
	}
	n, err := strconv.Atoi(digits)
	if err != nil || n < 0 || n > (1<<40)/unit {
		return 0, fmt.Errorf("%q is no size, want a number such as 2048 or 2k", s)
	}
	return n * unit, nil
}

// Size writes n as ParseSize reads it: 2048 is 2k.
func Size(n int) string {
	switch {
	case n >= 1<<20 && n%(1<<20) == 0:
		return strconv.Itoa(n>>20) + "m"
	case n >= 1<<10 && n%(1<<10) == 0:
		return strconv.Itoa(n>>10) + "k"
	}
	return strconv.Itoa(n)
}

// ParseSizes reads a comma list of sizes and ranges: "1k,2k", "1k-64k*2" (doubling), "64-256+64".
func ParseSizes(s string) ([]int, error) {
	var out []int
	for part := range strings.SplitSeq(s, ",") {
		lo, rest, isRange := strings.Cut(part, "-")
		if lo == "" { // a negative number
			lo, isRange = part, false
		}
		first, err := ParseSize(lo)
		if err != nil {
			return nil, err
		}
		if !isRange {
			out = append(out, first)
			continue
		}
		at := strings.IndexAny(rest, "*+")
		if at < 0 {
			return nil, fmt.Errorf("range %q has no step, write it like 1k-64k*2 or 64-256+64", part)
		}
		last, err := ParseSize(rest[:at])
		if err != nil {
			return nil, err
		}
		step, err := ParseSize(rest[at+1:])
		if err != nil {
			return nil, err
		}
		times := rest[at] == '*'
		if times && (step < 2 || first < 1) || !times && step < 1 {
			return nil, fmt.Errorf("range %q never ends", part)
		}
		for n := first; n <= last; {
			if out = append(out, n); len(out) > maxSweep {
				return nil, fmt.Errorf("%q stands for more than %d values", s, maxSweep)
			}
			if times {
				n *= step
			} else {
				n += step
			}
		}
	}
	return out, nil
}
