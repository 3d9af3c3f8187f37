package bench

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestParseSizes(t *testing.T) {
	for _, c := range []struct {
		in   string
		want []int
		bad  bool
	}{
		{in: "2048", want: []int{2048}},
		{in: "1k,2K,1m", want: []int{1024, 2048, 1 << 20}},
		{in: "1k-8k*2", want: []int{1024, 2048, 4096, 8192}},
		{in: "64-256+64", want: []int{64, 128, 192, 256}},
		{in: "1-5+3,7", want: []int{1, 4, 7}},
		{in: "0", want: []int{0}},
		{in: "", bad: true}, {in: "-1", bad: true}, {in: "1k-2k", bad: true}, {in: "1-9*1", bad: true},
		{in: "0-9*2", bad: true}, {in: "1-9+0", bad: true}, {in: "x", bad: true}, {in: "1-1m+1", bad: true},
		{in: "99999999999999999999", bad: true}, {in: "9999999999999m", bad: true},
	} {
		got, err := ParseSizes(c.in)
		if (err != nil) != c.bad || !slices.Equal(got, c.want) && !c.bad {
			t.Errorf("ParseSizes(%q) = %v, %v", c.in, got, err)
		}
	}
}

func TestSummarize(t *testing.T) {
	s := Summarize([]time.Duration{30, 10, 20, 50, 40})
	if s.N != 5 || s.Min != 10 || s.Max != 50 || s.Median != 30 || s.Mean != 30 || s.P5 != 12 || s.P95 != 48 {
		t.Errorf("%+v", s)
	}
	if s.Spread < 0.52 || s.Spread > 0.53 { // sqrt(250)/30
		t.Errorf("spread %v", s.Spread)
	}
	if s := Summarize([]time.Duration{10, 20}); s.Median != 15 {
		t.Errorf("median of two is %v", s.Median)
	}
	if s := Summarize(nil); s != (Summary{}) {
		t.Errorf("%+v", s)
	}
}

// fake is a contestant whose runs take as long as it says, without taking it.
func fake(log *strings.Builder, name byte, d time.Duration) Run {
	return func(context.Context) (Sample, error) {
		log.WriteByte(name)
		return Sample{Device: d, Wall: 2 * d}, nil
	}
}

func TestMeasureTakesTurns(t *testing.T) {
	var log strings.Builder
	rule := Rule{WarmRuns: 2, WarmTime: -1, MinSamples: 4, MinTime: time.Millisecond, Rounds: 2, Spread: 1}
	s, err := Measure(t.Context(), rule, []Run{fake(&log, 'a', time.Millisecond), fake(&log, 'b', time.Millisecond)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if log.String() != "aaaabbbbaabb" {
		t.Errorf("order is %s, want two warm-ups each and two samples a turn", log.String())
	}
	for _, x := range s {
		if len(x.Samples) != 4 || x.Warm != 2 || x.Stopped != StopNoise || x.Device().Median != time.Millisecond || x.Wall().N != 4 {
			t.Errorf("%+v", x)
		}
	}
}

func TestMeasureLimits(t *testing.T) {
	var log strings.Builder
	slow := fake(&log, 's', time.Minute)
	s, err := Measure(t.Context(), Rule{WarmTime: -1}, []Run{slow}, nil)
	if err != nil || len(s[0].Samples) != 3 || s[0].Stopped != "time" {
		t.Errorf("%v %+v", err, s)
	}
	empty := fake(&log, 'e', 0)
	s, err = Measure(t.Context(), Rule{WarmTime: -1, MaxSamples: 20}, []Run{empty}, nil)
	if err != nil || len(s[0].Samples) != 20 || s[0].Stopped != "samples" || s[0].Device().N != 0 {
		t.Errorf("%v %+v", err, s)
	}
}

func TestMeasureFailures(t *testing.T) {
	n := 0
	bad := func(context.Context) (Sample, error) {
		if n++; n > 3 {
			return Sample{}, errors.New("lost")
		}
		return Sample{Wall: 1}, nil
	}
	var log strings.Builder
	s, err := Measure(t.Context(), Rule{WarmTime: -1, MaxSamples: 20}, []Run{bad, fake(&log, 'g', 1)}, nil)
	if err != nil || s[0].Err == nil || len(s[0].Samples) != 2 || s[0].Stopped != "failed" || len(s[1].Samples) != 20 {
		t.Errorf("%v %+v", err, s)
	}
}

// TestMeasureInterrupted: what was measured until then is kept, and a run that the end of the context broke is no
// failure.
func TestMeasureInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	stop := func(ctx context.Context) (Sample, error) {
		if n++; n == 6 {
			cancel()
			return Sample{}, ctx.Err()
		}
		return Sample{Wall: 1}, nil
	}
	var log strings.Builder
	s, err := Measure(ctx, Rule{WarmTime: -1, MaxSamples: 20}, []Run{stop, fake(&log, 'b', 1)}, nil)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v", err)
	}
	if len(s[0].Samples) != 4 || s[0].Stopped != StopInterrupted || s[0].Err != nil || s[1].Stopped != StopInterrupted {
		t.Errorf("%+v", s)
	}
}

func TestFormats(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{Duration(1234 * time.Millisecond), "1.23 s"}, {Duration(999999 * time.Microsecond), "1.00 s"},
		{Duration(12345 * time.Nanosecond), "12.3 us"}, {Duration(12 * time.Nanosecond), "12 ns"},
		{Figure(0), "0"}, {Figure(1234.5), "1234"}, {Figure(0.01234), "0.0123"}, {Figure(0.00001), "1.00e-05"},
		{Bytes(1536), "1.50 KiB"}, {Bytes(12), "12 B"}, {Bytes(3 << 30), "3.00 GiB"},
		{Size(1000), "1000"}, {Size(2048), "2k"}, {Size(3 << 20), "3m"}, {Size(0), "0"},
		{Count(1234567), "1,234,567"}, {Count(-123), "-123"}, {Count(100), "100"},
	} {
		if c.got != c.want {
			t.Errorf("%q, want %q", c.got, c.want)
		}
	}
}
