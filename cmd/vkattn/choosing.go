package main

import (
	"context"
	"math"
	"strings"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/cpu"
	"github.com/vkattn/vkattn/internal/bench"
)

// choosing is what MoBA and NSA have beside attention: one of the two, without its shape.
type choosing struct {
	moba *vkattn.MoBA
	nsa  *vkattn.NSA
}

// over is the op of that attention.
func (c *choosing) over(a vkattn.Attention) vkattn.Op {
	if c.moba != nil {
		m := *c.moba
		m.Attention = a
		return m
	}
	n := *c.nsa
	n.Attention = a
	return n
}

func (c *choosing) check(a vkattn.Attention, args *vkattn.Args) (vkattn.Work, error) {
	switch op := c.over(a).(type) {
	case vkattn.MoBA:
		seqs, err := op.Check(args)
		if err != nil {
			return vkattn.Work{}, err
		}
		return op.Work(args, seqs), nil
	case vkattn.NSA:
		seqs, err := op.Check(args)
		if err != nil {
			return vkattn.Work{}, err
		}
		return op.Work(args, seqs), nil
	}
	return vkattn.Work{}, nil
}

// choosingOf is what --moba and --nsa say, or nil.
func (p *problemFlags) choosingOf() (*choosing, error) {
	if p.moba == "" && p.nsa == "" {
		return nil, nil
	}
	if p.moba != "" && p.nsa != "" || p.linear {
		return nil, usagef("--moba, --nsa and --linear are three kinds of attention, give one")
	}
	flag, text, want := "moba", p.moba, 2
	if p.nsa != "" {
		flag, text, want = "nsa", p.nsa, 5
	}
	var n []int
	for part := range strings.SplitSeq(text, ":") {
		x, err := bench.ParseSizes(part)
		if err != nil || len(x) != 1 {
			return nil, usagef("--%s %s: %q is no number", flag, text, part)
		}
		n = append(n, x[0])
	}
	if len(n) != want {
		return nil, usagef("--%s %s: want %d numbers with colons between them", flag, text, want)
	}
	if p.moba != "" {
		return &choosing{moba: &vkattn.MoBA{Block: n[0], TopK: n[1]}}, nil
	}
	if p.given("lse") {
		return nil, usagef("--lse: native sparse attention is a sum of three, and has no logsumexp")
	}
	if p.in != "" || p.q != "" {
		return nil, usagef("--nsa makes up its tensors, --in and --q do not go with it")
	}
	return &choosing{nsa: &vkattn.NSA{Compress: n[0], Stride: n[1], Select: n[2], TopN: n[3], Window: n[4]}}, nil
}

// gates makes up those of NSA, from 0 to 1.
func (p *problemFlags) gates(b, h, s int) vkattn.Tensor {
	x := p.randn("gates", 3*b*h*s)
	for i, v := range x {
		x[i] = float32(1 / (1 + math.Exp(-float64(v))))
	}
	return vkattn.BHSD(vkattn.Float32s(x), b, h, s, 3)
}

// sureMargin is what the scores of blocks have to differ by, over the largest of them, to be told apart in float32.
const sureMargin = 1e-5

// newChoosingReference computes the oracle's answer to the last rows of each head of pr, as newReference does. Rows whose
// choice hangs on a near tie of scores are left out: in float32 they may see another block, and be as right.
func newChoosingReference(ctx context.Context, pr *problem, want int) (*reference, error) {
	_, _, args := pr.outputs()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	inner := args
	inner.Gates = vkattn.Tensor{}
	seqs, err := pr.op.Check(&inner)
	if err != nil {
		return nil, err
	}
	op := pr.op.Canonical()
	batch, sq := args.Q.Shape[0], args.Q.Shape[2]
	r := &reference{seqs: seqs, dv: op.ValueDim, total: batch * op.HeadsQ * sq}
	n := sq
	switch cost := float64(r.total) * float64(args.K.Shape[2]) * 4 * float64(op.HeadDim); {
	case want > 0:
		n = min(sq, max(1, want/max(1, batch*op.HeadsQ)))
	case want == 0 && cost > oracleBudget:
		n = min(sq, max(1, int(oracleBudget/cost*float64(sq))))
	}
	if r.total == 0 {
		return r, nil
	}
	op.Align, args.Offset = vkattn.AlignOffset, nil
	for i := range seqs {
		args.Offset = append(args.Offset, seqs[i].Off+sq-n)
	}
	for _, t := range []*vkattn.Tensor{&args.Q, &args.Out, &args.LSE, &args.Bias, &args.Gates} {
		if t.Given() {
			*t = t.Slice(2, sq-n, sq)
		}
	}
	out, lse, margin, group, err := pr.choosing.oracle(op, args)
	if err != nil {
		return nil, err
	}
	for b := range batch {
		for h := range op.HeadsQ {
			for i := range n {
				at, g := (b*op.HeadsQ+h)*n+i, h
				if group {
					g = op.HeadMap.Map(h, op.HeadsQ, op.HeadsK)
				}
				if margin[(b*(len(margin)/(batch*n))+g)*n+i] < sureMargin {
					continue
				}
				r.rows = append(r.rows, cpu.Row{Sequence: b, Head: h, I: sq - n + i})
				r.out = append(r.out, out[at*r.dv:(at+1)*r.dv]...)
				if lse == nil {
					r.lse = append(r.lse, 0)
				} else {
					r.lse = append(r.lse, lse[at])
				}
			}
		}
	}
	r.floor = floors(r.rows, r.out, r.dv)
	return r, nil
}

// oracle is the answer to a whole call; margins are of query heads, or of groups.
func (c *choosing) oracle(op vkattn.Attention, args vkattn.Args) (out, lse, margin []float64, group bool, err error) {
	if c.moba != nil {
		r, err := (cpu.MoBA{Block: c.moba.Block, TopK: c.moba.TopK}).Oracle(op, &args)
		if err != nil {
			return nil, nil, nil, false, err
		}
		return r.Out, r.LSE, r.Margin, false, nil
	}
	var g [3][]float64
	x := args.Gates.Mem.(*vkattn.Host).Float32s()
	for b := range args.Gates.Shape[0] {
		for h := range args.Gates.Shape[1] {
			for i := range args.Gates.Shape[2] {
				for k := range g {
					g[k] = append(g[k], float64(x[args.Gates.Index(b, h, i, k)]))
				}
			}
		}
	}
	args.Gates = vkattn.Tensor{}
	n := c.nsa
	r, err := (cpu.NSA{Compress: n.Compress, Stride: n.Stride, Select: n.Select, TopN: n.TopN, Window: n.Window}).Oracle(op, &args,
		cpu.NSAGates{Compress: g[0], Select: g[1], Window: g[2]})
	if err != nil {
		return nil, nil, nil, true, err
	}
	return r.Out, nil, r.Margin, true, nil
}
