package serve

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/cpu"
)

// books is an engine that computes nothing: the cache's books alone.
type books struct {
	cache vkattn.Cache
	steps int
	sizes []int // tokens of the steps
	fail  error
	delay time.Duration
}

func (b *books) Cache() vkattn.Cache { return b.cache }

func (b *books) Step(ctx context.Context, tokens []vkattn.CacheTokens) error {
	if b.fail != nil && b.steps > 20 {
		return b.fail
	}
	step, err := b.cache.Step(ctx, tokens)
	if err != nil {
		return err
	}
	b.steps++
	b.sizes = append(b.sizes, step.Tokens())
	time.Sleep(b.delay)
	return nil
}

func newBooks(t *testing.T, sequences, tokens, context, page, pages int) *books {
	t.Helper()
	backend := cpu.New(cpu.Config{})
	t.Cleanup(func() { backend.Close() })
	cache, err := backend.NewCache(t.Context(), vkattn.CacheSpec{
		Op: vkattn.Attention{Batch: sequences, HeadsQ: 1, SeqQ: tokens, SeqK: context, TotalQ: tokens, HeadDim: 1}, Layers: 1, Page: page, Pages: pages,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cache.Close() })
	return &books{cache: cache}
}

var small = Options{
	Load:      Load{Seed: 1, Prompt: Lengths{20, 0.7, 1, 100}, Output: Lengths{10, 0.7, 1, 50}},
	Time:      time.Minute,
	Steps:     400,
	Sequences: 6, Tokens: 32, Context: 128,
}

// TestRoom: with room for all nobody is preempted, and steps are full.
func TestRoom(t *testing.T) {
	b := newBooks(t, 6, 32, 128, 16, 0)
	r, err := Run(t.Context(), b, small)
	if err != nil {
		t.Fatal(err)
	}
	if r.Preempted != 0 || r.Again != 0 || r.Finished < 20 || r.Steps != int64(b.steps) || r.Refused != 0 || r.Waiting != 1 {
		t.Errorf("%+v", r)
	}
	if slices.Max(b.sizes) != 32 || r.Arrived != r.Finished+int64(r.Running+r.Waiting) {
		t.Errorf("steps of up to %d tokens; %+v", slices.Max(b.sizes), r)
	}
	// Each output token but a sequence's last was computed in turn, and the prompts before them.
	computed := int64(0)
	for _, n := range b.sizes {
		computed += int64(n)
	}
	if want := r.Prompt + r.Output - r.FirstToken.Count; computed != want {
		t.Errorf("%d tokens computed, want %d", computed, want)
	}
	if r.FirstToken.Count+r.NextToken.Count != r.Output || r.Whole.Count != r.Finished || r.Step.Count != r.Steps {
		t.Errorf("%+v", r)
	}
	if r.Batch < 2 || r.Batch > 6 || r.Used.Mean <= 0 || r.Used.Max > 1 || r.Fragment.Mean <= 0 || r.Fragment.Max >= 1 {
		t.Errorf("batch %g, used %+v, fragment %+v", r.Batch, r.Used, r.Fragment)
	}
	if len(r.Memory) != 1 || r.Memory[0].Heap <= 0 {
		t.Errorf("memory %+v", r.Memory)
	}
}

// TestPreempted: with too few pages sequences are preempted, and all of them are finished in the end nevertheless.
func TestPreempted(t *testing.T) {
	b := newBooks(t, 6, 32, 128, 8, 20)
	o := small
	r, err := Run(t.Context(), b, o)
	if err != nil {
		t.Fatal(err)
	}
	if r.Preempted == 0 || r.Again == 0 || r.Finished < 20 || r.Used.Max < 0.9 {
		t.Errorf("%+v", r)
	}
	if r.Arrived != r.Finished+int64(r.Running+r.Waiting) {
		t.Errorf("%d arrived, %d finished, %d run, %d wait", r.Arrived, r.Finished, r.Running, r.Waiting)
	}
}

// TestOneTooLong: a sequence that has the cache for itself and does not fit is an error.
func TestOneTooLong(t *testing.T) {
	b := newBooks(t, 6, 32, 128, 8, 3)
	o := small
	o.Prompt, o.Output = Lengths{90, 0, 1, 100}, Lengths{10, 0, 1, 10}
	if _, err := Run(t.Context(), b, o); !errors.Is(err, vkattn.ErrCacheFull) {
		t.Error(err)
	}
}

// TestRate: a slow load has pauses, and the first tokens come at once; one that is too fast is refused in the end.
func TestRate(t *testing.T) {
	b := newBooks(t, 6, 32, 128, 16, 0)
	o := small
	o.Rate, o.Steps, o.Time = 60, 0, time.Second
	r, err := Run(t.Context(), b, o)
	if err != nil {
		t.Fatal(err)
	}
	if r.Arrived < 10 || r.Arrived > 120 || r.FirstToken.P50 > 500*time.Millisecond || len(r.Memory) < 2 || r.Time < time.Second {
		t.Errorf("%+v", r)
	}
	b.delay = time.Millisecond
	o.Rate, o.Steps, o.Time = 1e5, 100, time.Minute
	if r, err = Run(t.Context(), b, o); err != nil {
		t.Fatal(err)
	}
	if r.Refused == 0 || r.Waiting > mostWaiting+6 {
		t.Errorf("%d refused, %d wait", r.Refused, r.Waiting)
	}
}

func TestStops(t *testing.T) {
	b := newBooks(t, 6, 32, 128, 16, 0)
	ctx, cancel := context.WithCancel(t.Context())
	o := small
	o.Steps = 0
	o.Show = func(_ time.Duration, r *Result) {
		if r.Steps == 50 {
			cancel()
		}
	}
	r, err := Run(ctx, b, o)
	if !errors.Is(err, context.Canceled) || r.Steps != 50 {
		t.Errorf("%v, %d steps", err, r.Steps)
	}
	b.fail = errors.New("broken")
	o = small
	if _, err := Run(t.Context(), b, o); !errors.Is(err, b.fail) {
		t.Error(err)
	}
	// Whatever happened, the cache is empty again.
	if s := b.cache.Stats(); s.Used != 0 || s.Sequences != 0 {
		t.Errorf("%+v", s)
	}
}

func TestOptions(t *testing.T) {
	b := newBooks(t, 6, 32, 128, 16, 0)
	for name, change := range map[string]func(*Options){
		"no time":      func(o *Options) { o.Time = 0 },
		"no sequences": func(o *Options) { o.Sequences = 0 },
		"few tokens":   func(o *Options) { o.Tokens = 5 },
		"no context":   func(o *Options) { o.Context = 1 },
		"rate":         func(o *Options) { o.Rate = math.NaN() },
		"prompt":       func(o *Options) { o.Prompt.Median = 0 },
		"spread":       func(o *Options) { o.Output.Spread = math.Inf(1) },
		"empty":        func(o *Options) { o.Output.Min = 0 },
		"crossed":      func(o *Options) { o.Output.Max = 0 },
	} {
		o := small
		change(&o)
		if _, err := Run(t.Context(), b, o); err == nil || b.steps > 0 {
			t.Errorf("%s: no error", name)
		}
	}
}

// TestArrivals: the same seed is the same load, at the stated rate and lengths.
func TestArrivals(t *testing.T) {
	l := small.Load
	l.Rate = 10
	all := func(seed uint64) (rs []request) {
		l.Seed = seed
		a := newArrivals(l)
		for range 5000 {
			r, ok := a.take(math.MaxInt64)
			if !ok {
				t.Fatal("nobody comes")
			}
			rs = append(rs, r)
		}
		return rs
	}
	one := all(1)
	if !slices.Equal(one, all(1)) || slices.Equal(one, all(2)) {
		t.Error("seeds do not decide")
	}
	if last := one[len(one)-1].at.Seconds(); math.Abs(last-500) > 35 {
		t.Errorf("5000 arrivals in %g s, want 500", last)
	}
	var lengths []int
	for _, r := range one {
		if r.prompt < 1 || r.prompt > 100 || r.output < 1 || r.output > 50 {
			t.Fatalf("%+v", r)
		}
		lengths = append(lengths, r.prompt)
	}
	slices.Sort(lengths)
	if m := lengths[len(lengths)/2]; m < 19 || m > 21 {
		t.Errorf("median %d, want 20", m)
	}
	if q := lengths[len(lengths)*8413/10000]; q < 37 || q > 43 { // one spread above: 20*exp(0.7)
		t.Errorf("one spread above the median is %d, want 40", q)
	}
	a := newArrivals(l)
	if _, ok := a.take(-1); ok {
		t.Error("somebody comes too early")
	}
}

func TestHistogram(t *testing.T) {
	var h Histogram
	if l := h.Latency(); l != (Latency{}) {
		t.Errorf("nothing: %+v", l)
	}
	r := rand.New(rand.NewPCG(1, 1))
	var exact []time.Duration
	for range 20000 {
		d := time.Duration(math.Exp(r.Float64() * 40))
		exact = append(exact, d)
		h.Add(d)
	}
	slices.Sort(exact)
	for _, p := range []float64{0.001, 0.1, 0.5, 0.9, 0.99, 1} {
		want, got := exact[int(math.Ceil(p*float64(len(exact))))-1], h.Percentile(p)
		if got < want || float64(got) > float64(want)*1.032+1 {
			t.Errorf("percentile %g is %d, want %d", p, got, want)
		}
	}
	if l := h.Latency(); l.Count != 20000 || l.Max != exact[len(exact)-1] {
		t.Errorf("%+v", l)
	}
	for _, d := range []time.Duration{-5, 0, 1, 31, 32, 33, 63, 64, math.MaxInt64} {
		b := bucket(max(d, 0))
		if b < 0 || b >= len(h.buckets) || upper(b) < d || b > 0 && upper(b-1) >= max(d, 0) {
			t.Errorf("%d is in bucket %d, up to %d", d, b, upper(b))
		}
		h.Add(d)
	}
}

func TestGrown(t *testing.T) {
	base := Memory{Heap: 10 << 20, Resident: 100 << 20, Device: 50 << 20}
	if g := grown(base, Memory{Heap: 11 << 20, Resident: 110 << 20, Device: 50 << 20}); g != "" {
		t.Error(g)
	}
	g := grown(base, Memory{Heap: 13 << 20, Resident: 130 << 20, Device: 50<<20 + 1})
	for _, want := range []string{"the heap from 10485760", "the process from", "the device's memory from 52428800 to 52428801"} {
		if !strings.Contains(g, want) {
			t.Errorf("%q lacks %q", g, want)
		}
	}
}
