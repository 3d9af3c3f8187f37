package serve

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/vkattn/vkattn"
)

// Engine computes the steps of a load, in a cache.
type Engine interface {
	// Cache is where the sequences are.
	Cache() vkattn.Cache
	// Step computes so many new tokens of these sequences in all layers. It fails with vkattn.ErrCacheFull, and nothing has happened,
	// if there is no room.
	Step(ctx context.Context, tokens []vkattn.CacheTokens) error
}

// Options are how a load is served.
type Options struct {
	Load
	Time      time.Duration // how long
	Steps     int64         // and how many steps at most; 0: as many as there is time for
	Sequences int           // most that are in the cache at a time
	Tokens    int           // most tokens of a step, at least Sequences
	Context   int           // longest sequence; lengths are cut to it

	Device func() int64                       // the device's memory in use, and nothing that is kept for later; nil: none
	Show   func(now time.Duration, r *Result) // is told after each step; nil: nobody
}

// Result is how it went.
type Result struct {
	Load      Load          `json:"load"`
	Time      time.Duration `json:"time_ns"`
	Steps     int64         `json:"steps"`
	Arrived   int64         `json:"arrived"`
	Finished  int64         `json:"finished"`
	Preempted int64         `json:"preempted"` // sequences that gave up their pages for others, and were computed again
	Running   int           `json:"running"`   // at the end
	Waiting   int           `json:"waiting"`
	Refused   int64         `json:"refused"`       // arrived while too many were waiting
	Prompt    int64         `json:"prompt_tokens"` // computed
	Again     int64         `json:"again_tokens"`  // computed once more after a preemption
	Output    int64         `json:"output_tokens"`

	FirstToken Latency `json:"first_token"` // from arrival
	NextToken  Latency `json:"next_token"`  // from the one before
	Whole      Latency `json:"whole"`       // from arrival to the last token
	Step       Latency `json:"step"`

	Cache    vkattn.CacheStats `json:"cache"`    // at the end, before everything was removed
	Used     Share             `json:"used"`     // of the pages
	Fragment Share             `json:"fragment"` // of the used pages' room, what no token fills
	Batch    float64           `json:"batch"`    // sequences of a step, on average

	Memory []Memory `json:"memory"` // from a fifth of the time on
	Grown  string   `json:"grown,omitempty"`
}

// Share is the mean and the largest of a share, over all steps.
type Share struct {
	Mean float64 `json:"mean"`
	Max  float64 `json:"max"`
	n    float64
}

func (s *Share) add(x float64) {
	s.n++
	s.Mean += (x - s.Mean) / s.n
	s.Max = max(s.Max, x)
}

// sequence is a request in the cache.
type sequence struct {
	request
	id       vkattn.CacheSeq
	computed int           // tokens in the cache
	made     int           // output tokens so far
	due      int           // tokens to compute before the next output token
	last     time.Duration // when the last output token was there
	again    bool          // computed before, and preempted
}

// server is a load being served.
type server struct {
	o        Options
	r        Result
	engine   Engine
	cache    vkattn.Cache
	page     int // tokens of one
	start    time.Time
	arrivals *arrivals
	waiting  []*sequence // in the order of their arrival, preempted ones first
	running  []*sequence // in the order in which they started

	first, next, whole, step Histogram
	batch                    Share
}

// mostWaiting bounds the queue of a load that arrives faster than it is served.
const mostWaiting = 1000

// Run serves a load for a time, or until ctx ends, which is an error beside what was counted until then. Memory that grows is no
// error here: see Result.Grown. Pages that are still in use when all sequences are gone are one.
func Run(ctx context.Context, e Engine, o Options) (*Result, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	cache := e.Cache()
	s := &server{o: o, r: Result{Load: o.Load}, engine: e, cache: cache, page: cache.Spec().PageTokens(), start: time.Now(), arrivals: newArrivals(o.Load)}
	err := s.run(ctx)
	s.sum()
	return &s.r, errors.Join(err, s.leave())
}

func (o *Options) check() error {
	switch {
	case o.Time <= 0 || o.Sequences < 1 || o.Tokens < o.Sequences || o.Context < 2:
		return fmt.Errorf("serve: %v, %d sequences of up to %d tokens, %d tokens of a step: want some of each, and a token of a step for every sequence",
			o.Time, o.Sequences, o.Context, o.Tokens)
	case !(o.Rate >= 0):
		return fmt.Errorf("serve: a rate of %v", o.Rate)
	}
	return errors.Join(o.Prompt.check("prompt"), o.Output.check("output"))
}

func (s *server) now() time.Duration { return time.Since(s.start) }

// run is the loop: who arrives, who starts, a step, what it brought.
func (s *server) run(ctx context.Context) error {
	const moments = 9
	measureAt, between := s.o.Time/5, s.o.Time*4/5/(moments-1)
	for ctx.Err() == nil {
		now := s.now()
		over := now >= s.o.Time || s.o.Steps > 0 && s.r.Steps >= s.o.Steps
		if now >= measureAt || over {
			s.r.Memory = append(s.r.Memory, measure(now, s.o.Device))
			measureAt += between
		}
		if over {
			return nil
		}
		if err := s.admit(now); err != nil {
			return err
		}
		if len(s.running) == 0 {
			s.sleep(ctx, now)
			continue
		}
		if err := s.advance(ctx); err != nil {
			return err
		}
		if s.o.Show != nil {
			s.r.Running, s.r.Waiting = len(s.running), len(s.waiting)
			s.o.Show(now, &s.r)
		}
	}
	return ctx.Err()
}

// arrive takes in who is there by now.
func (s *server) arrive(now time.Duration) {
	for s.o.Rate > 0 || len(s.waiting) == 0 {
		r, ok := s.arrivals.take(now)
		if !ok {
			return
		}
		s.r.Arrived++
		if len(s.waiting) >= mostWaiting {
			s.r.Refused++
			continue
		}
		r.prompt = min(r.prompt, s.o.Context-1)
		r.output = min(r.output, s.o.Context-r.prompt)
		s.waiting = append(s.waiting, &sequence{request: r, due: r.prompt})
	}
}

// admit starts who has room: pages for what is to be computed, and one more for each that runs, so that who starts is
// not preempted at once.
func (s *server) admit(now time.Duration) error {
	for {
		s.arrive(now)
		if len(s.waiting) == 0 || len(s.running) >= s.o.Sequences {
			return nil
		}
		next, stats := s.waiting[0], s.cache.Stats()
		need := (next.due+s.page-1)/s.page + len(s.running)
		if stats.Pages-stats.Used < need && len(s.running) > 0 {
			return nil
		}
		id, err := s.cache.Add()
		if err != nil {
			return err
		}
		next.id, next.computed = id, 0
		s.running = append(s.running, next)
		s.waiting = slices.Delete(s.waiting, 0, 1)
	}
}

// part is so many tokens of a sequence in a step.
type part struct {
	*sequence
	n int
}

// plan is the next step: a token for each sequence that has its prompt, then as much of the prompts as fits.
func (s *server) plan() (parts []part, tokens []vkattn.CacheTokens) {
	left := s.o.Tokens
	for _, long := range []bool{false, true} {
		for _, q := range s.running {
			if n := min(q.due, left); n > 0 && (q.due > 1) == long {
				parts = append(parts, part{q, n})
				tokens = append(tokens, vkattn.CacheTokens{Seq: q.id, N: n})
				left -= n
			}
		}
	}
	return parts, tokens
}

// advance is one step. Where the cache is full, those that started last give up their pages and wait again.
func (s *server) advance(ctx context.Context) error {
	for {
		parts, tokens := s.plan()
		before := s.now()
		err := s.engine.Step(ctx, tokens)
		if errors.Is(err, vkattn.ErrCacheFull) && len(s.running) > 1 {
			if err := s.preempt(); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		now := s.now()
		s.r.Steps++
		s.step.Add(now - before)
		s.look(len(parts))
		for _, p := range parts {
			if err := s.account(p, now); err != nil {
				return err
			}
		}
		return nil
	}
}

// preempt takes the sequence that started last out of the cache. Its tokens will be computed again.
func (s *server) preempt() error {
	last := len(s.running) - 1
	q := s.running[last]
	s.running = s.running[:last]
	q.due, q.again = q.prompt+q.made, q.computed > 0
	s.waiting = slices.Insert(s.waiting, 0, q)
	s.r.Preempted++
	return s.cache.Remove(q.id)
}

// look notes how full the cache is.
func (s *server) look(sequences int) {
	stats := s.cache.Stats()
	s.batch.add(float64(sequences))
	s.r.Used.add(float64(stats.Used) / float64(max(stats.Pages, 1)))
	s.r.Fragment.add(float64(stats.Slack) / float64(max(stats.Used*s.page, 1)))
}

// account books what a step brought a sequence.
func (s *server) account(p part, now time.Duration) error {
	q := p.sequence
	q.computed += p.n
	q.due -= p.n
	switch {
	case q.again:
		s.r.Again += int64(p.n)
	case q.made == 0:
		s.r.Prompt += int64(p.n)
	}
	if q.due > 0 {
		return nil
	}
	if q.made++; q.made == 1 {
		s.first.Add(now - q.at)
	} else {
		s.next.Add(now - q.last)
	}
	s.r.Output++
	q.last, q.due, q.again = now, 1, false
	if q.made < q.output {
		return nil
	}
	s.whole.Add(now - q.at)
	s.r.Finished++
	s.running = slices.DeleteFunc(s.running, func(x *sequence) bool { return x == q })
	return s.cache.Remove(q.id)
}

// sleep waits for the next arrival.
func (s *server) sleep(ctx context.Context, now time.Duration) {
	t := time.NewTimer(min(max(s.arrivals.next.at-now, 0), s.o.Time-now))
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// sum fills in what follows from the counts.
func (s *server) sum() {
	r := &s.r
	r.Time, r.Running, r.Waiting = s.now(), len(s.running), len(s.waiting)
	r.FirstToken, r.NextToken, r.Whole, r.Step = s.first.Latency(), s.next.Latency(), s.whole.Latency(), s.step.Latency()
	r.Cache, r.Batch = s.cache.Stats(), s.batch.Mean
	if n := len(r.Memory); n > 1 {
		from := r.Memory[0]
		from.Resident = r.Memory[(n-1)/2].Resident // llvmpipe takes 10 to 25 MiB in the first minute, and no more then
		r.Grown = grown(from, r.Memory[n-1])
	}
}

// leave takes all sequences out of the cache, which must be empty then.
func (s *server) leave() error {
	var errs []error
	for _, q := range s.running {
		errs = append(errs, s.cache.Remove(q.id))
	}
	if stats := s.cache.Stats(); stats.Used != 0 || stats.Sequences != 0 {
		errs = append(errs, fmt.Errorf("serve: %d pages and %d sequences are left in the cache when all are gone", stats.Used, stats.Sequences))
	}
	return errors.Join(errs...)
}
