package attntest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/cpu"
)

// ropeTolerance is the error of a number over the length of its pair: two products of float32 numbers and their
// sum, each rounded.
const ropeTolerance = 0x1p-23

// RopeProblem is one call of Rope with its data, in memory like that of Problem.
type RopeProblem struct {
	Op   vkattn.Rope
	Args vkattn.Args // of a call in place, too, Q and Out are apart here: see Run

	inPlace bool
	inputs  []*store
	out     *store
	raw     []*rawStore // of Q, if it is not float32
	res     *rawStore   // of Out, likewise, which comes to out
}

// Build makes the data of the case. The same seed makes the same data.
func (c RopeCase) Build(seed uint64) *RopeProblem {
	rng, s := rng(c.Name, seed), &c.spec
	op := s.op.Canonical()
	p := &RopeProblem{Op: c.Op, inPlace: s.inPlace}
	in := func(name string, shape [4]int, f func() float64) vkattn.Tensor {
		l, ok := s.layouts[name]
		if !ok {
			l = bhsd
		}
		t, st := placeFloats(shape, l)
		each(t, func(_, _, _, _, at int) { st.f[at] = float32(f()) })
		p.inputs = append(p.inputs, st)
		return t
	}
	shape := [4]int{op.Batch, op.Heads, op.Seq, op.HeadDim}
	p.Args.Q = in("Q", shape, rng.NormFloat64)
	l, ok := s.layouts["Out"]
	if !ok {
		l = bhsd
	}
	p.Args.Out, p.out = placeFloats(shape, l)
	table := [4]int{1, 1, op.Seq, op.RotaryDim / 2}
	if s.perBatch {
		table[0] = op.Batch
	}
	if op.Positions {
		table[2] = s.rows
		p.Args.Positions = make([]int32, s.positions*op.Seq)
		for i := range p.Args.Positions {
			p.Args.Positions[i] = int32(rng.IntN(s.rows))
		}
	}
	p.Args.Cos = in("Cos", table, func() float64 { return 1.3 * math.Cos(10*rng.NormFloat64()) })
	p.Args.Sin = in("Sin", table, func() float64 { return 1.3 * math.Sin(10*rng.NormFloat64()) })
	for b := range op.Batch {
		for t := range op.Seq {
			for h := range op.Heads {
				p.inputs[0].markRow(p.Args.Q, b, h, t)
			}
			row := t
			if op.Positions {
				row = int(p.Args.Positions[(b*op.Seq+t)%len(p.Args.Positions)])
			}
			p.inputs[1].markRow(p.Args.Cos, b%table[0], 0, row)
			p.inputs[2].markRow(p.Args.Sin, b%table[0], 0, row)
		}
	}
	if op := c.Op; op.TypeQ != vkattn.Float32 {
		p.raw = []*rawStore{narrowed(p.inputs[0], op.TypeQ)}
		p.Args.Q.Type, p.Args.Q.Mem = op.TypeQ, p.raw[0].host
	}
	if op := c.Op; op.TypeOut != vkattn.Float32 {
		p.res = narrowed(p.out, op.TypeOut)
		p.Args.Out.Type, p.Args.Out.Mem = op.TypeOut, p.res.host
	}
	return p
}

// Run fills the memory of the output with NaN, calls compute with the arguments, in place or not, and finds what it
// should not have written.
func (p *RopeProblem) Run(pattern uint32, compute func(vkattn.Args) error) error {
	for i := range p.out.f {
		p.out.f[i] = outputFill(pattern, 0, i)
	}
	size := 0
	if p.res != nil {
		p.res.fill(fillByte(pattern))
		size = p.res.typ.Size()
	}
	a := p.Args
	if p.inPlace {
		each(a.Out, func(b, h, s, d, at int) {
			from := a.Q.Index(b, h, s, d)
			p.out.f[at] = p.inputs[0].f[from]
			if p.res != nil {
				copy(p.res.b[at*size:][:size], p.raw[0].b[from*size:])
			}
		})
		a.Q = a.Out
	}
	before := hashOf(withRaw(p.inputs, p.raw))
	if err := compute(a); err != nil {
		return err
	}
	if hashOf(withRaw(p.inputs, p.raw)) != before {
		return errors.New("wrote to an input")
	}
	written := make([]bool, len(p.out.f))
	each(a.Out, func(_, _, _, _, at int) { written[at] = true })
	if p.res != nil {
		for i, w := range written {
			if !w && bytes.Count(p.res.b[i*size:][:size], []byte{fillByte(pattern)}) != size {
				return fmt.Errorf("wrote to element %d of the memory of Out, outside of the tensor", i)
			}
		}
		return p.res.typ.Decode(p.out.f, p.res.b)
	}
	for i, w := range written {
		if !w && math.Float32bits(p.out.f[i]) != math.Float32bits(outputFill(pattern, 0, i)) {
			return fmt.Errorf("wrote to element %d of the memory of Out, outside of the tensor", i)
		}
	}
	return nil
}

// halfUnit is the most that rounding to a type moves x.
func halfUnit(t vkattn.Type, x float64) float64 {
	switch t {
	case vkattn.Float16:
		return math.Max(math.Abs(x)*0x1p-11, 0x1p-25)
	case vkattn.BFloat16:
		return math.Abs(x) * 0x1p-8
	}
	return 0
}

// compare holds the output against the oracle's, rounded to its type. Columns that are copied have to be equal.
func (p *RopeProblem) compare(v *verdict, want []float64) {
	op, n := p.Op.Canonical(), 0
	each(p.Args.Out, func(b, h, s, d, at int) {
		x, w, size := float64(p.out.f[at]), want[n], 0.0
		if d < op.RotaryDim {
			beside := d ^ 1
			if op.Layout == vkattn.RopeHalf {
				beside = (d + op.RotaryDim/2) % op.RotaryDim
			}
			size = math.Hypot(w, want[n-d+beside])
		}
		n++
		e := math.Abs(x - w)
		if d < op.RotaryDim {
			e -= halfUnit(op.TypeOut, w) * (1 + ropeTolerance)
		} else {
			e = math.Abs(x - roundTo(op.TypeOut, w))
		}
		if e != e {
			e = math.Inf(1)
		}
		if e > 0 {
			v.add(e/size, ropeTolerance, "Out b%d h%d i%d column %d", b, h, s, d)
		}
	})
}

// VerifyRopeCase runs one case: with zeros in the memory that the call does not read, and again with poison there.
func VerifyRopeCase(ctx context.Context, b vkattn.Backend, c RopeCase, o Options) Result {
	return examine(ctx, b, o, Result{Name: c.Name, Op: c.Op.String(), Allowed: ropeTolerance}, c.Op, func(r *Result) error {
		plan, err := b.Plan(ctx, c.Op)
		if err != nil {
			return fmt.Errorf("plan: %w", err)
		}
		defer plan.Close()
		r.Kernel = plan.Explain().Kernel
		return c.Build(o.Seed).ask(ctx, plan, r)
	})
}

// ask runs the problem twice and says what is wrong with the answers. It notes the worst number in r.
func (p *RopeProblem) ask(ctx context.Context, plan vkattn.Plan, r *Result) error {
	compute := func(a vkattn.Args) error {
		_, err := plan.Run(ctx, a)
		return err
	}
	zero(p.inputs)
	spoil(p.raw, zeroCode)
	want, err := cpu.OracleRope(p.Op, &p.Args)
	if err != nil {
		return fmt.Errorf("oracle: %w", err)
	}
	if err := p.Run(zeroPattern, compute); err != nil {
		return err
	}
	var v verdict
	p.compare(&v, want)
	if v.where != "" { // there was something to compare
		r.Worst, r.Allowed, r.Where = v.worst, v.allowed, v.where
	}
	if !v.ok() {
		return errors.New("differs from the oracle")
	}
	before := slices.Clone(p.out.f)
	poison(p.inputs)
	spoil(p.raw, poisonCode)
	if err := p.Run(poisonPattern, compute); err != nil {
		return fmt.Errorf("with poison in unused memory: %w", err)
	}
	each(p.Args.Out, func(b, h, s, d, at int) {
		if math.Float32bits(before[at]) != math.Float32bits(p.out.f[at]) && err == nil {
			err = fmt.Errorf("poison in unused memory changes the answer: Out b%d h%d i%d column %d was %v, is %v", b, h, s, d, before[at], p.out.f[at])
		}
	})
	return err
}

// RunRope runs the chosen cases of Rope as subtests of t.
func RunRope(t *testing.T, b vkattn.Backend, o Options) {
	t.Helper()
	runRope(t, b, RopeCases(), o)
}

// RunRopeTypes does the same with those in other types than float32.
func RunRopeTypes(t *testing.T, b vkattn.Backend, o Options) {
	t.Helper()
	runRope(t, b, RopeTypeCases(), o)
}

func runRope(t *testing.T, b vkattn.Backend, all []RopeCase, o Options) {
	t.Helper()
	cases := slices.DeleteFunc(all, func(c RopeCase) bool { return !o.chosen(c.Name, true) })
	subtests(t, b, o, cases, func(c RopeCase) (string, vkattn.Op) { return c.Name, c.Op }, VerifyRopeCase)
}
