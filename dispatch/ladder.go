package dispatch

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/vk"
)

// Ladder is what a device has for one kind of work: kernels from the best to the last, and why those that do not serve
// do not.
type Ladder struct {
	Name  string `json:"name"` // such as "attention, float16"
	Op    string `json:"op"`   // the problem that was planned, in canonical form
	Steps []Step `json:"steps"`
}

// Step is one kernel of a ladder.
type Step struct {
	Kernel string    `json:"kernel"`
	Rung   string    `json:"rung,omitempty"` // what Config.Disable calls it
	Path   string    `json:"path,omitempty"` // as in Report.Path
	State  StepState `json:"state"`
	Reason string    `json:"reason,omitempty"`
	// Cached says that the verdict was known before, and File where verdicts on this kernel lie: deleting it asks for
	// a new one.
	Cached bool   `json:"cached,omitempty"`
	File   string `json:"file,omitempty"`
}

// StepState is what is known of a kernel on a device.
type StepState string

const (
	StepPassed  StepState = "passed"  // gave the known answer
	StepFailed  StepState = "failed"  // gave another, or an error
	StepCrashed StepState = "crashed" // ended the process that tested it; see KeepCrash
	StepRefused StepState = "refused" // the planner does not take it here: a limit, a quirk of the driver, Config.Disable
)

// Serves reports whether the kernel may serve.
func (s Step) Serves() bool { return s.State == StepPassed }

// ladderOps are the kinds of work that ladders are shown for.
var ladderOps = []struct {
	name   string
	op     vkattn.Op
	kernel string // of Config.Kernel, "": any
}{
	{"attention, float32", ladderAttention(vkattn.Float32, vkattn.Float32), ""},
	{"attention, float16", ladderAttention(vkattn.Float16, vkattn.Float16), ""},
	{"attention, bfloat16", ladderAttention(vkattn.BFloat16, vkattn.BFloat16), ""},
	{"attention, float16 with keys and values q8_0", ladderAttention(vkattn.Float16, vkattn.Q8_0), ""},
	{"decode, float16 over keys and values q8_0", ladderDecode, ""},
	{"linear attention, float32", ladderLinear(vkattn.Float32), ""},
	{"linear attention in chunks, float16", ladderLinear(vkattn.Float16), linearChunk},
	{"rotary embedding, float32", vkattn.Rope{Batch: 1, Heads: 8, Seq: 512, HeadDim: 64}, ""},
}

func ladderLinear(t vkattn.Type) vkattn.Linear {
	return vkattn.Linear{Batch: 1, HeadsQ: 8, HeadsK: 2, SeqQ: 512, HeadDim: 64, Causal: true, TypeQ: t, TypeK: t, TypeV: t, TypeOut: t}
}

func ladderAttention(t, kv vkattn.Type) vkattn.Attention {
	return vkattn.Attention{Batch: 1, HeadsQ: 8, HeadsK: 2, SeqQ: 512, SeqK: 512, HeadDim: 64, Causal: true, TypeQ: t, TypeK: kv, TypeV: kv, TypeOut: t}
}

// ladderDecode is what integer dot products are for.
var ladderDecode = vkattn.Attention{Batch: 1, HeadsQ: 8, HeadsK: 2, SeqQ: 1, SeqK: 4096, HeadDim: 64, Causal: true,
	TypeQ: vkattn.Float16, TypeK: vkattn.Q8_0, TypeV: vkattn.Q8_0, TypeOut: vkattn.Float16}

// Ladders tests every kernel that this device could take for some kinds of work, and not only the best one. Verdicts of
// earlier processes are taken where they say passed; all else is tested again. before, if not nil, hears of every
// test before it runs, and may forbid it: should the process die of it, KeepCrash can tell later ones.
// A ladder whose work the device cannot do at all has only steps that are refused.
func (b *Backend) Ladders(ctx context.Context, before func(Step) bool) ([]Ladder, error) {
	if err := b.begin(); err != nil {
		return nil, err
	}
	defer b.active.Done()
	var all []Ladder
	for _, w := range ladderOps {
		l := Ladder{Name: w.name, Op: w.op.String()}
		decisions, refused, err := b.walkProbed(ctx, w.op, w.kernel)
		if err != nil {
			return nil, err
		}
		for i, d := range decisions {
			l.Steps = append(l.Steps, refused[i]...)
			s, err := b.testStep(ctx, d, before)
			if err != nil {
				return nil, err
			}
			l.Steps = append(l.Steps, s)
		}
		l.Steps = append(l.Steps, refused[len(decisions)]...)
		all = append(all, l)
	}
	return all, nil
}

// walkProbed is planner.walk with all layouts of matrices known that its decisions need.
func (b *Backend) walkProbed(ctx context.Context, op vkattn.Op, kernel string) (decisions []decision, refused [][]Step, err error) {
	for again := true; again; {
		if decisions, refused, err = b.planner.walk(&b.caps, op, kernel, b.disabled); err != nil {
			return nil, nil, err
		}
		again = false
		for _, d := range decisions {
			for _, part := range partsOf(d) {
				known, err := b.probed(ctx, part)
				if err != nil {
					return nil, nil, err
				}
				again = again || !known
			}
		}
	}
	return decisions, refused, nil
}

const walkedBy = "seen"

// walk goes down the planner's ladder for op: the decisions from the best down, and the kernels refused before each of
// them and after the last.
func (p *planner) walk(caps *vk.Caps, op vkattn.Op, kernel string, disabled map[string]string) (decisions []decision, refused [][]Step, err error) {
	off := map[string]string{}
	maps.Copy(off, disabled)
	seen := map[vkattn.Refusal]bool{}
	note := func(reasons []vkattn.Refusal) {
		var steps []Step
		for _, r := range reasons {
			if r.Reason != walkedBy && !seen[r] {
				seen[r] = true
				steps = append(steps, Step{Kernel: r.Kernel, State: StepRefused, Reason: r.Reason})
			}
		}
		refused = append(refused, steps)
	}
	for {
		d, err := p.forOp(caps, op, kernel, off)
		var none *vkattn.UnsupportedError
		if errors.As(err, &none) {
			note(none.Reasons)
			return decisions, refused, nil
		}
		if err != nil {
			return nil, nil, err
		}
		note(d.summary().refused)
		decisions = append(decisions, d)
		if _, _, name := rungOf(d); off[name] == "" {
			off[name] = walkedBy
		} else { // the planner does not listen: that was all
			return decisions, append(refused, nil), nil
		}
	}
}

// rungOf is the variant, the path and the name of what a decision takes.
func rungOf(d decision) (variant, path, name string) {
	if a, late := admittedLate(d); late {
		return a.rung()
	}
	path = d.summary().path
	if i := slices.IndexFunc(rungs, func(r rung) bool { return r.path == path }); i >= 0 {
		variant = rungs[i].variant
	}
	return variant, path, path
}

// testStep is the verdict on what a decision takes.
func (b *Backend) testStep(ctx context.Context, d decision, before func(Step) bool) (Step, error) {
	variant, path, name := rungOf(d)
	s := Step{Kernel: d.summary().kernel, Rung: name, Path: path, State: StepPassed, File: b.cacheFile("selftest", path, variant)}
	if c, ok := d.(*choice); ok && c.matrix == nil && variant != dotVariant && (c.op.TypeQ != vkattn.Float32 || c.op.TypeK != vkattn.Float32 || c.op.TypeV != vkattn.Float32 || c.op.TypeOut != vkattn.Float32) {
		s.Reason = "tested in float32" // which admits the rung
	}
	var v verdict
	if loadCache(s.File, &v) && v.Path == path && v.Passed {
		s.Cached = true
		return s, nil
	}
	if before != nil && !before(s) {
		s.State, s.Reason = StepCrashed, "not tested: "+v.Reason
		return s, nil
	}
	v, err := b.judge(s.File, path, variant, func() (string, error) {
		if a, late := admittedLate(d); late {
			return a.selfTest(ctx, b)
		}
		return b.testRung(ctx, path)
	})
	if !v.Passed {
		s.State, s.Reason = StepFailed, v.Reason
	}
	return s, err
}

// KeepCrash keeps that a kernel ended the process that tested it, as Ladders announced it: backends opened on this device and
// driver from then on do not try it, until the driver changes, the file is deleted, or Ladders finds that it passes.
func KeepCrash(s Step, reason string) error {
	return saveCache(s.File, verdict{Path: s.Path, Crashed: true, Reason: reason})
}
