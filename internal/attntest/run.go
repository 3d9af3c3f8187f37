// Package attntest is the conformance suite: one table of attention calls that every backend and every
// driver answers, held against the float64 oracle of package cpu.
//
// Each case runs twice. First with zeros in all memory that no visible pair reads: hidden keys and values,
// padding, gaps between rows, margins around tensors. The answer must be the oracle's. Then with NaN,
// infinities and huge numbers there: the answer must not change by a bit. The outputs are full of NaN
// before each run, and nothing but their elements may change.
//
// Cases is the table, Verify runs it, Run runs it as a test. BadInputs holds the calls that every backend
// must refuse. TypeCases is the table of types other than float32, LinearCases and RopeCases are those of the other
// ops. Package attntest/property has what must hold between calls.
package attntest

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"math"
	"regexp"
	"slices"
	"testing"
	"time"
	"unsafe"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/cpu"
)

// Options chooses the cases and how strict to be. The zero value runs the whole table.
type Options struct {
	Sample     bool           // only the fixed sample that covers pairs of masks, extras and head sizes
	Filter     *regexp.Regexp // only cases whose name matches
	RequireAll bool           // an unsupported case is a failure
	FailFast   bool           // stop after the first failure
	Seed       uint64         // of the data
}

func (o Options) cases() []Case {
	return slices.DeleteFunc(Cases(), func(c Case) bool { return !o.chosen(c.Name, c.Sample) })
}

func (o Options) chosen(name string, sample bool) bool {
	return (!o.Sample || sample) && (o.Filter == nil || o.Filter.MatchString(name))
}

// Status is how a case went.
type Status string

// The four ways.
const (
	Passed      Status = "passed"
	Failed      Status = "failed"
	Unsupported Status = "unsupported" // the backend's Supports refused it
	Skipped     Status = "skipped"     // the context ended before
)

// Result is one line of a Summary.
type Result struct {
	Name   string `json:"name"`
	Op     string `json:"op"`
	Status Status `json:"status"`
	// Worst is the largest error among rows of Out (relative L2) and numbers of LSE, the one that used up
	// the largest share of what is Allowed; math.MaxFloat64 for a NaN where there should be none.
	Worst   float64       `json:"worst"`
	Allowed float64       `json:"allowed"`
	Where   string        `json:"where,omitempty"` // the row of Worst
	Reason  string        `json:"reason,omitempty"`
	Kernel  string        `json:"kernel,omitempty"`
	Time    time.Duration `json:"time_ns"`
}

// Summary is what Verify found.
type Summary struct {
	Passed      int      `json:"passed"`
	Failed      int      `json:"failed"`
	Unsupported int      `json:"unsupported"`
	Skipped     int      `json:"skipped"`
	Total       int      `json:"total"`
	Cases       []Result `json:"cases"`
}

func (s *Summary) add(r Result) {
	switch r.Status {
	case Passed:
		s.Passed++
	case Failed:
		s.Failed++
	case Unsupported:
		s.Unsupported++
	case Skipped:
		s.Skipped++
	}
	s.Total++
	s.Cases = append(s.Cases, r)
}

// Verify runs the chosen cases and calls progress, if there is one, after each. When ctx ends, the
// remaining cases are skipped.
func Verify(ctx context.Context, b vkattn.Backend, o Options, progress func(done, total int, r Result)) Summary {
	cases := o.cases()
	s := Summary{Cases: []Result{}}
	for n, c := range cases {
		r := VerifyCase(ctx, b, c, o)
		s.add(r)
		if progress != nil {
			progress(n+1, len(cases), r)
		}
		if o.FailFast && r.Status == Failed {
			break
		}
	}
	return s
}

// Run runs the chosen cases as subtests of t.
func Run(t *testing.T, b vkattn.Backend, o Options) {
	t.Helper()
	subtests(t, b, o, o.cases(), func(c Case) (string, vkattn.Op) { return c.Name, c.Op }, VerifyCase)
}

// subtests runs cases of one op. Some must pass.
func subtests[C any](t *testing.T, b vkattn.Backend, o Options, cases []C, about func(C) (name string, op vkattn.Op),
	verify func(context.Context, vkattn.Backend, C, Options) Result) {
	t.Helper()
	var s Summary
	start := time.Now()
	for _, c := range cases {
		name, op := about(c)
		t.Run(name, func(t *testing.T) {
			r := verify(t.Context(), b, c, o)
			s.add(r)
			record(t, b.Info(), op, r)
			switch r.Status {
			case Failed:
				t.Error(r)
			case Unsupported, Skipped:
				t.Skip(r.Reason)
			}
		})
		if o.FailFast && t.Failed() {
			break
		}
	}
	t.Logf("%s: %d passed, %d failed, %d unsupported of %d cases in %v", b.Info().Device, s.Passed, s.Failed, s.Unsupported, s.Total, time.Since(start).Round(time.Millisecond))
	if s.Passed == 0 {
		t.Error("no case passed")
	}
}

func (r Result) String() string {
	text := fmt.Sprintf("%s: %s", r.Name, r.Status)
	if r.Where != "" {
		text += fmt.Sprintf(", worst %.3g of %.3g allowed at %s", r.Worst, r.Allowed, r.Where)
	}
	if r.Reason != "" {
		text += ": " + r.Reason
	}
	return text
}

// VerifyCase runs one case.
func VerifyCase(ctx context.Context, b vkattn.Backend, c Case, o Options) Result {
	return examine(ctx, b, o, Result{Name: c.Name, Op: c.Op.String(), Allowed: tolerance}, c.Op, func(r *Result) error {
		plan, err := b.Plan(ctx, c.Op)
		if err != nil {
			return fmt.Errorf("plan: %w", err)
		}
		defer plan.Close()
		r.Kernel = plan.Explain().Kernel
		q, err := c.pose(o.Seed)
		if err != nil {
			return fmt.Errorf("oracle: %w", err)
		}
		return q.ask(ctx, plan, r)
	})
}

// examine runs a case of any op, of which r has the name: ask says what is wrong, and notes in r by how much.
func examine(ctx context.Context, b vkattn.Backend, o Options, r Result, op vkattn.Op, ask func(r *Result) error) Result {
	start := time.Now()
	r.Status = Failed
	err := ctx.Err()
	if err != nil {
		r.Status = Skipped
	} else if err = b.Supports(op); err != nil {
		if errors.Is(err, vkattn.ErrUnsupported) && !o.RequireAll {
			r.Status = Unsupported
		}
	} else if err = ask(&r); err == nil {
		r.Status = Passed
	}
	if err != nil {
		r.Reason = err.Error()
	}
	if !(r.Worst <= math.MaxFloat64) {
		r.Worst = math.MaxFloat64
	}
	r.Time = time.Since(start)
	return r
}

// question is a problem with its answer.
type question struct {
	p    *Problem
	want *cpu.Result
}

func (c Case) pose(seed uint64) (question, error) {
	q := question{p: c.Build(seed)}
	q.p.Zero()
	var err error
	q.want, err = cpu.Oracle(c.Op, &q.p.Args)
	return q, err
}

// ask runs the problem twice and says what is wrong with the answers. It notes the worst row in r.
func (q question) ask(ctx context.Context, plan vkattn.Plan, r *Result) error {
	p := q.p
	run := func(pattern uint32) error {
		before := p.inputHash()
		if _, err := plan.Run(ctx, p.Args); err != nil {
			return err
		}
		if name, at, found := p.strayWrite(pattern); found {
			return fmt.Errorf("wrote to element %d of the memory of %s, outside of the tensor", at, name)
		}
		if p.inputHash() != before {
			return errors.New("wrote to an input")
		}
		return nil
	}
	p.Zero()
	if err := run(zeroPattern); err != nil {
		return err
	}
	v := p.compare(q.want)
	r.Worst, r.Allowed, r.Where = v.worst, v.allowed, v.where
	if !v.ok() {
		return errors.New("differs from the oracle")
	}
	before := p.outputs()
	p.Poison()
	if err := run(poisonPattern); err != nil {
		return fmt.Errorf("with poison in hidden memory: %w", err)
	}
	if where, found := p.firstDifference(before); found {
		return fmt.Errorf("poison in hidden memory changes the answer: %s", where)
	}
	return nil
}

// inputHash tells whether anything changed in the memory of the inputs.
func (p *Problem) inputHash() uint64 { return hashOf(p.inputs) }

func hashOf(inputs []*store) uint64 {
	var h maphash.Hash
	h.SetSeed(hashSeed)
	for _, s := range inputs {
		h.Write(s.raw)
		if len(s.f) > 0 {
			h.Write(unsafe.Slice((*byte)(unsafe.Pointer(&s.f[0])), 4*len(s.f)))
		}
	}
	return h.Sum64()
}

var hashSeed = maphash.MakeSeed()
