package bench

import (
	"context"
	"errors"
	"time"
)

// Sample is one timed run.
type Sample struct {
	Device time.Duration `json:"device_ns"` // by the device's clock; 0 when it has none
	Wall   time.Duration `json:"wall_ns"`
}

// Best is the device's time where there is one, else the wall time.
func (s Sample) Best() time.Duration {
	if s.Device > 0 {
		return s.Device
	}
	return s.Wall
}

// Rule says how long to measure. The zero value of a field means its default; a negative one means none.
type Rule struct {
	WarmRuns   int           // untimed runs before the first sample; default 1
	WarmTime   time.Duration // and for at least this long, before each turn of a device; default 0.5 s, because idle GPUs clock down
	MinSamples int           // default 10
	MinTime    time.Duration // accumulated; default 0.5 s
	Criterion  string        // one of Criteria, asked once there are MinSamples and MinTime; default "stdrel"
	Spread     float64       // stdrel stops when the relative standard deviation is at most this; default 0.005
	MaxTime    time.Duration // accumulated; wins over MinSamples once there are 3 samples; default 5 s
	MaxSamples int           // default 1000
	Rounds     int           // turns that contestants take to reach MinSamples and MinTime; default 3
}

func (r Rule) withDefaults() Rule {
	setDefault(&r.WarmRuns, 1)
	setDefault(&r.WarmTime, 500*time.Millisecond)
	setDefault(&r.MinSamples, 10)
	setDefault(&r.MinTime, 500*time.Millisecond)
	setDefault(&r.Criterion, "stdrel")
	setDefault(&r.Spread, 0.005)
	setDefault(&r.MaxTime, 5*time.Second)
	setDefault(&r.MaxSamples, 1000)
	setDefault(&r.Rounds, 3)
	return r
}

func setDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// Run runs a contestant once.
type Run func(ctx context.Context) (Sample, error)

// Series is what one contestant gave.
type Series struct {
	Samples []Sample
	Warm    int    // untimed runs
	Stopped string // which rule ended it: StopNoise and its like
	Err     error  // the run that failed; samples before it are kept

	total     time.Duration
	criterion *criterion
}

// Measure lets the contestants take turns (A B A B A B ...), so that a drift of the machine hits all of them,
// until each meets the rule. A contestant that fails drops out; the others go on. The error is ctx's, and
// comes with what was measured until then. progress, if given, is called before every turn.
func Measure(ctx context.Context, rule Rule, runs []Run, progress func(contestant, samples int)) ([]Series, error) {
	rule = rule.withDefaults()
	series := make([]Series, len(runs))
	for i := range series {
		series[i].criterion = newCriterion(rule)
	}
	for {
		open := false
		for i := range runs {
			s := &series[i]
			if s.Stopped != "" {
				continue
			}
			if progress != nil {
				progress(i, len(s.Samples))
			}
			s.turn(ctx, rule, runs[i])
			if err := ctx.Err(); err != nil {
				interrupt(series)
				return series, err
			}
			open = open || s.Stopped == ""
		}
		if !open {
			return series, nil
		}
	}
}

// turn warms the contestant up and takes its share of the samples.
func (s *Series) turn(ctx context.Context, rule Rule, run Run) {
	first := len(s.Samples) == 0
	slow := !first && s.Samples[len(s.Samples)-1].Wall >= rule.WarmTime // warms itself
	start := time.Now()
	for n := 0; first && n < rule.WarmRuns || !slow && time.Since(start) < rule.WarmTime; n++ {
		if _, err := run(ctx); err != nil {
			s.fail(err)
			return
		}
		s.Warm++
	}
	wantSamples := (rule.MinSamples + rule.Rounds - 1) / rule.Rounds
	wantTime := rule.MinTime / time.Duration(rule.Rounds)
	var n int
	var spent time.Duration
	for n < wantSamples || spent < wantTime {
		sample, err := run(ctx)
		if err != nil {
			s.fail(err)
			return
		}
		s.Samples = append(s.Samples, sample)
		s.criterion.add(sample.Best())
		s.total += sample.Wall
		spent += sample.Wall
		n++
		if s.Stopped = rule.stop(s); s.Stopped != "" {
			return
		}
	}
}

func (s *Series) fail(err error) {
	s.Err, s.Stopped = err, StopFailed
}

// interrupt ends every series that goes on. What the end of the context broke is no failure of the contestant.
func interrupt(series []Series) {
	for i := range series {
		if s := &series[i]; s.Stopped == "" || errors.Is(s.Err, context.Canceled) || errors.Is(s.Err, context.DeadlineExceeded) {
			s.Err, s.Stopped = nil, StopInterrupted
		}
	}
}

// stop names the rule that ends the series, or is empty.
func (rule Rule) stop(s *Series) string {
	n := len(s.Samples)
	switch {
	case n >= rule.MaxSamples:
		return StopSamples
	case s.total >= rule.MaxTime && n >= min(3, rule.MinSamples):
		return StopTime
	case n < rule.MinSamples || s.total < rule.MinTime:
		return ""
	}
	return s.criterion.done()
}

func (s *Series) each(f func(Sample) time.Duration) []time.Duration {
	out := make([]time.Duration, len(s.Samples))
	for i, x := range s.Samples {
		out[i] = f(x)
	}
	return out
}

// Device summarizes the device times; N is 0 when the device has no clock.
func (s *Series) Device() Summary {
	d := s.each(func(x Sample) time.Duration { return x.Device })
	for _, x := range d {
		if x == 0 {
			return Summary{}
		}
	}
	return Summarize(d)
}

// Wall summarizes the wall times.
func (s *Series) Wall() Summary {
	return Summarize(s.each(func(x Sample) time.Duration { return x.Wall }))
}
