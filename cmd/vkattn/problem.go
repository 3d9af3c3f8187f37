package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/internal/tensorio"
)

// problem is one call with its data in host memory, and what it may be compared with.
type problem struct {
	op       vkattn.Attention // of linear attention, the shape alone
	linear   *vkattn.Linear   // nil for softmax attention
	choosing *choosing        // nil unless rows choose blocks of keys for themselves
	args     vkattn.Args      // without outputs
	layout   string           // bhsd, bshd, thd or hsd: how outputs are laid out and written

	pattern string      // what the block mask adds to the name of the op
	work    vkattn.Work // filled in by finish

	wantOut, wantLSE *tensorio.Array // from the input file; nil when it has none
	wantFrom         string
	notes            []string // what was guessed
}

// build reads or generates the tensors of the one problem that the flags describe.
func (p *problemFlags) build() (*problem, error) {
	specs, err := p.specs(false)
	if err != nil {
		return nil, err
	}
	s := specs[0]
	if p.in != "" || p.q != "" || p.k != "" || p.v != "" {
		return p.fromFiles(s)
	}
	return p.generate(s)
}

// generate makes up every tensor that the spec needs and that no flag reads from a file.
func (p *problemFlags) generate(s spec) (*problem, error) {
	if s.linear != nil {
		return p.generateLinear(s)
	}
	if err := s.op.Validate(); err != nil {
		return nil, err
	}
	op := s.op.Canonical()
	pr := &problem{op: s.op, choosing: s.choosing, layout: s.layout}
	if pr.layout == "auto" {
		pr.layout = "bhsd"
		if op.Packed {
			pr.layout = "thd"
		}
	}
	b, sq, sk := op.Batch, op.SeqQ, op.SeqK
	if op.Packed {
		b, sq, sk = 1, op.TotalQ, op.TotalK
	}
	if pr.layout == "thd" && b != 1 {
		return nil, usagef("--layout thd holds one sequence, or packed ones with --cu-seqlens-q")
	}
	pr.args.Q = pr.tensor(p.randn("q", b*op.HeadsQ*sq*op.HeadDim), b, op.HeadsQ, sq, op.HeadDim)
	pr.args.K = pr.tensor(p.randn("k", b*op.HeadsK*sk*op.HeadDim), b, op.HeadsK, sk, op.HeadDim)
	if s.valueInKey {
		pr.args.V = pr.args.K.Slice(3, 0, op.ValueDim)
		pr.note("values are the first %d channels of the keys, in the same memory", op.ValueDim)
	} else {
		pr.args.V = pr.tensor(p.randn("v", b*op.HeadsV*sk*op.ValueDim), b, op.HeadsV, sk, op.ValueDim)
	}
	if s.choosing != nil && s.choosing.nsa != nil {
		pr.args.Gates = p.gates(b, op.HeadsQ, sq)
	}
	files := &opener{}
	defer files.close()
	if err := p.extras(pr, s, files); err != nil {
		return nil, err
	}
	return pr, p.narrow(pr)
}

// problemOp is the op: softmax attention or linear attention.
func (pr *problem) problemOp() vkattn.Op {
	switch {
	case pr.linear != nil:
		return *pr.linear
	case pr.choosing != nil:
		return pr.choosing.over(pr.op)
	}
	return pr.op
}

// text is what the problem is called.
func (pr *problem) text() string { return pr.problemOp().String() + pr.pattern }

// canonical is the op with its defaults written out.
func (pr *problem) canonical() vkattn.Op {
	switch op := pr.problemOp().(type) {
	case vkattn.Linear:
		return op.Canonical()
	case vkattn.MoBA:
		return op.Canonical()
	case vkattn.NSA:
		return op.Canonical()
	}
	return pr.op.Canonical()
}

func (pr *problem) note(format string, args ...any) {
	pr.notes = append(pr.notes, fmt.Sprintf(format, args...))
}

// tensor views data in the problem's layout.
func (pr *problem) tensor(data []float32, b, h, s, d int) vkattn.Tensor {
	return view(vkattn.Float32s(data), pr.layout, b, h, s, d)
}

func view(m vkattn.Memory, layout string, b, h, s, d int) vkattn.Tensor {
	if layout == "bshd" || layout == "thd" {
		return vkattn.BSHD(m, b, s, h, d)
	}
	return vkattn.BHSD(m, b, h, s, d)
}

// outputs makes room for the results of one run, in the problem's layout. out and lse are float32 slices; see unpack.
func (pr *problem) outputs() (out, lse []float32, args vkattn.Args) {
	if pr.linear != nil {
		out, args = pr.linearOutputs()
		return out, nil, args
	}
	op := pr.op.Canonical()
	args = pr.args
	s := args.Q.Shape
	out, m := pr.outMemory(s[0] * s[1] * s[2] * op.ValueDim)
	args.Out = view(m, pr.layout, s[0], s[1], s[2], op.ValueDim).As(op.TypeOut)
	if op.With.Has(vkattn.WithLSE) {
		lse = make([]float32, s[0]*s[1]*s[2])
		args.LSE = view(vkattn.Float32s(lse), pr.lseLayout(), s[0], s[1], s[2], 1)
	}
	return out, lse, args
}

// maxCounted bounds the pairs that are counted one by one for the report.
const maxCounted = 1 << 28

// finish checks the whole call and counts its work, pair by pair where masks are data and that is quick.
func (pr *problem) finish() error {
	_, _, args := pr.outputs()
	if pr.linear != nil {
		seqs, err := pr.linear.Check(&args)
		if err == nil {
			pr.work = pr.linear.Work(&args, seqs)
		}
		return err
	}
	if pr.choosing != nil {
		var err error
		pr.work, err = pr.choosing.check(pr.op, &args)
		return err
	}
	seqs, err := pr.op.Check(&args)
	if err != nil {
		return err
	}
	pairs := 0
	for i := range seqs {
		pairs += seqs[i].Sq * seqs[i].Sk * pr.op.HeadsQ
	}
	const data = vkattn.WithMask | vkattn.WithTree | vkattn.WithBias | vkattn.WithRelative
	pr.work = pr.op.Work(&args, seqs, pairs <= maxCounted || pr.op.With&data == 0) // block masks are counted by words
	return nil
}

// lseLayout is [batch, heads, rows] unless tokens come first.
func (pr *problem) lseLayout() string {
	if pr.layout == "thd" {
		return "thd"
	}
	return "bhsd"
}

// extras adds what the op's With names and the lists of the spec.
func (p *problemFlags) extras(pr *problem, s spec, files *opener) error {
	op := &pr.op
	a := &pr.args
	a.Offset, a.Prefix, a.Global = s.offset, s.prefix, s.global
	a.CuSeqQ, a.CuSeqK, a.KeyLengths = s.cuQ, s.cuK, s.keyLengths
	a.QBase, a.KBase = p.qBase, p.kBase
	c := op.Canonical()
	batch := a.Q.Shape[0]
	if op.Packed {
		batch = len(s.cuQ) - 1
	} else {
		c.SeqQ, c.SeqK = a.Q.Shape[2], a.K.Shape[2]
	}
	score := [4]int{batch, c.HeadsQ, c.SeqQ, c.SeqK}
	var err error
	if p.bias == "randn" {
		a.Bias = vkattn.BHSD(vkattn.Float32s(p.randn("bias", c.SeqQ*c.SeqK)), 1, 1, c.SeqQ, c.SeqK).Broadcast(score[0], score[1], score[2], score[3])
	} else if p.bias != "" {
		if err = p.scoreFile(files, "bias", p.bias, score, &a.Bias); err != nil {
			return err
		}
	}
	if chance, ok := strings.CutPrefix(p.mask, "random:"); ok {
		keep, err := strconv.ParseFloat(chance, 64)
		if err != nil || !(keep >= 0 && keep <= 1) {
			return usagef("--mask %s: want random:P with P from 0 to 1", p.mask)
		}
		a.Mask = vkattn.BHSD(vkattn.Bools(p.coins("mask", c.SeqQ*c.SeqK, keep)), 1, 1, c.SeqQ, c.SeqK).As(vkattn.Bool).Broadcast(score[0], score[1], score[2], score[3])
	} else if p.mask != "" {
		if err = p.scoreFile(files, "mask", p.mask, score, &a.Mask); err != nil {
			return err
		}
		if a.Mask.Type != vkattn.Bool {
			return usagef("--mask %s holds numbers, want booleans; numbers that are added to the scores go to --bias", p.mask)
		}
	}
	if p.treeMask != "" {
		if err = p.scoreFile(files, "tree", p.treeMask, [4]int{batch, 1, c.SeqQ, c.SeqK}, &a.Tree); err != nil {
			return err
		}
		if a.Tree.Type != vkattn.Bool {
			return usagef("--tree %s holds numbers, want booleans", p.treeMask)
		}
	}
	if p.alibi || p.slopes != "" {
		slopes, err := vkattn.ALiBiSlopes(c.HeadsQ)
		if p.slopes != "" {
			slopes, err = p.perHead(files, "slopes", p.slopes, c.HeadsQ)
		}
		if err != nil {
			return err
		}
		a.Slopes = vkattn.Vector(vkattn.Float32s(slopes), c.HeadsQ)
	}
	if p.relative != "" {
		if a.Relative, err = p.byDistance(files, c.HeadsQ); err != nil {
			return err
		}
	}
	switch {
	case p.sinks == "randn" || p.sinks == "" && s.sinksFromPreset && !a.SinkLogits.Given():
		a.SinkLogits = vkattn.Vector(vkattn.Float32s(p.randn("sinks", c.HeadsQ)), c.HeadsQ)
	case p.sinks != "":
		sinks, err := p.perHead(files, "sinks", p.sinks, c.HeadsQ)
		if err != nil {
			return err
		}
		a.SinkLogits = vkattn.Vector(vkattn.Float32s(sinks), c.HeadsQ)
	}
	if s.blockMask != "" {
		pr.pattern = s.pattern()
		if a.Blocks, err = s.blocks(files, score, op.With.Has(vkattn.WithMask) || op.With.Has(vkattn.WithTree)); err != nil {
			return err
		}
	}
	return nil
}

// byDistance reads or makes a bias by distance.
func (p *problemFlags) byDistance(files *opener, heads int) (vkattn.Tensor, error) {
	r := vkattn.RelativeBias{Heads: heads}
	if reach, ok := strings.CutPrefix(p.relative, "randn:"); ok {
		n, err := strconv.Atoi(reach)
		if err != nil || n < 0 || n > 1<<20 {
			return vkattn.Tensor{}, usagef("--relative-bias %s: want randn:R with R from 0 to %d", p.relative, 1<<20)
		}
		r.K, r.Table = n, p.randn("relative", heads*(2*n+1))
		return r.Args()
	}
	array, err := files.ref(p.relative, "relative-bias")
	if err != nil {
		return vkattn.Tensor{}, err
	}
	r.Table = array.Float32s()
	if n := len(r.Table); n%heads != 0 || n/heads%2 == 0 {
		return vkattn.Tensor{}, usagef("--relative-bias has %d numbers, want an odd number for each of %d query heads", n, heads)
	}
	r.K = len(r.Table) / heads / 2
	return r.Args()
}

// perHead reads one number per head from a list or a file.
func (p *problemFlags) perHead(files *opener, flag, text string, heads int) ([]float32, error) {
	var values []float32
	if !strings.ContainsAny(text, `/\`) && (strings.Contains(text, ",") || isNumber(text)) {
		for part := range strings.SplitSeq(text, ",") {
			x, err := number(flag, part)
			if err != nil {
				return nil, err
			}
			values = append(values, float32(x))
		}
	} else {
		array, err := files.ref(text, flag)
		if err != nil {
			return nil, err
		}
		values = array.Float32s()
	}
	if len(values) != heads {
		return nil, usagef("--%s has %d numbers, want one for each of %d query heads", flag, len(values), heads)
	}
	return values, nil
}

func isNumber(s string) bool {
	_, err := strconv.ParseFloat(s, 64)
	return err == nil
}
