package attntest

import (
	"math"

	"github.com/vkattn/vkattn"
)

// TypeProblem is one call in other types than float32 with its data. Q, K, V and Out lie in raw memory, element by
// element where they lie in that of the Problem, which holds everything else.
type TypeProblem struct {
	*Problem
	rule vkattn.Type // the type that the error is measured by; Float32: that of Problem

	raw []*rawStore
	res *rawStore // of Out, nil where that is float32
}

// rawStore is the memory of elements of any type.
type rawStore struct {
	typ  vkattn.Type
	b    []byte
	live []bool // by element
	host *vkattn.Host
}

// Build makes the data of the case. The same seed makes the same data.
func (c TypeCase) Build(seed uint64) *TypeProblem {
	p := &TypeProblem{Problem: c.base.Build(seed), rule: measure(c.Op)}
	p.Op = c.Op
	done := map[*store]*rawStore{}
	narrow := func(t *vkattn.Tensor, typ vkattn.Type) *rawStore {
		if typ == vkattn.Float32 {
			return nil
		}
		s := p.store(*t)
		if done[s] == nil {
			done[s] = narrowed(s, typ)
		}
		t.Type, t.Mem = typ, done[s].host
		return done[s]
	}
	for _, t := range []struct {
		t   *vkattn.Tensor
		typ vkattn.Type
	}{{&p.Args.Q, c.Op.TypeQ}, {&p.Args.K, c.Op.TypeK}, {&p.Args.V, c.Op.TypeV}} {
		if r := narrow(t.t, t.typ); r != nil && (len(p.raw) == 0 || p.raw[len(p.raw)-1] != r) {
			p.raw = append(p.raw, r)
		}
	}
	p.res = narrow(&p.Args.Out, c.Op.TypeOut)
	p.fillFactors(c, seed)
	return p
}

// narrowed is the memory of s in another type.
func narrowed(s *store, typ vkattn.Type) *rawStore {
	n, _ := typ.Block()
	x := append([]float32(nil), s.f...)
	for len(x)%n != 0 {
		x = append(x, 0)
	}
	r := &rawStore{typ: typ, b: make([]byte, typ.Bytes(len(x))), live: s.live}
	if err := typ.Encode(r.b, x); err != nil {
		panic(err) // the room is right
	}
	r.host = vkattn.Bytes(r.b)
	return r
}

// fillFactors makes the descale factors, between 1/4 and 4 as a rule, one of them negative and one 0.
func (p *TypeProblem) fillFactors(c TypeCase, seed uint64) {
	r := rng(c.Name+" factors", seed)
	a := p.Op.Canonical()
	batch := len(p.views())
	sq, sk := p.Args.Q.Shape[2], p.Args.K.Shape[2]
	if a.Packed {
		sq, sk = a.SeqQ, a.SeqK
	}
	for _, f := range []struct {
		with     vkattn.With
		t        *vkattn.Tensor
		heads, n int
	}{{vkattn.WithDescaleQ, &p.Args.DescaleQ, a.HeadsQ, sq}, {vkattn.WithDescaleK, &p.Args.DescaleK, a.HeadsK, sk}, {vkattn.WithDescaleV, &p.Args.DescaleV, a.HeadsV, sk}} {
		if !a.With.Has(f.with) {
			continue
		}
		shape := [4]int{batch, f.heads, 1, 1}
		switch c.factors {
		case oneFactor:
			shape = [4]int{1, 1, 1, 1}
		case blockFactors:
			shape[2] = (f.n + factorBlock - 1) / factorBlock
		}
		t, s := p.floats(shape, layout{order: "bhs", pad: [3]int{1, 2, 0}})
		each(t, func(b, h, n, _, at int) {
			s.f[at], s.live[at] = float32(math.Exp(r.NormFloat64()/2)), true
			switch {
			case c.factors != oneFactor && h == f.heads-1 && n == 0:
				s.f[at] *= -1
			case c.factors == blockFactors && h == 0 && n == 1:
				s.f[at] = 0
			}
		})
		p.inputs = append(p.inputs, s)
		*f.t = t
	}
}

// Zero sets all input memory that no visible pair reads to 0, and fills the outputs with NaN.
func (p *TypeProblem) Zero() {
	p.Problem.Zero()
	spoil(p.raw, zeroCode)
	p.fillOut(zeroByte)
}

// Poison fills all input memory that no visible pair reads with codes of NaN, infinities and the largest numbers, and
// the outputs with others than Zero does.
func (p *TypeProblem) Poison() {
	p.Problem.Poison()
	spoil(p.raw, poisonCode)
	p.fillOut(poisonByte)
}

// The bytes that Out is full of before a run.
const (
	zeroByte   = 0x7F
	poisonByte = 0xFF
)

func zeroCode(int) byte { return 0 }

func poisonCode(i int) byte {
	return [...]byte{0x7F, 0x7E, 0xFF, 0x7C, 0x00, 0xFC, 0xFB, 0x01, 0x80}[(i/2+i)%9]
}

// spoil replaces the blocks of elements of which none is live.
func spoil(raw []*rawStore, with func(i int) byte) {
	for _, r := range raw {
		n, size := r.typ.Block()
		for at := 0; at*n < len(r.live); at++ {
			live := false
			for e := at * n; e < min((at+1)*n, len(r.live)); e++ {
				live = live || r.live[e]
			}
			for i := at * size; i < (at+1)*size && !live; i++ {
				r.b[i] = with(i)
			}
		}
	}
}

func (p *TypeProblem) fillOut(b byte) {
	if p.res != nil {
		p.res.fill(b)
	}
}

func (r *rawStore) fill(b byte) {
	for i := range r.b {
		r.b[i] = b
	}
}

// strayWrite looks for a changed byte of Out's memory that is no element of it, or does what Problem does.
func (p *TypeProblem) strayWrite(pattern uint32, fill byte) (name string, index int, found bool) {
	if p.res == nil {
		return p.Problem.strayWrite(pattern)
	}
	size := p.res.typ.Size()
	written := make([]bool, len(p.res.b))
	p.eachRow(func(w *view, h, i int) {
		for d := range p.Args.Out.Shape[3] {
			at := p.Args.Out.Index(w.batch, h, w.q0+i, d) * size
			for e := range size {
				written[at+e] = true
			}
		}
	})
	for i, b := range p.res.b {
		if !written[i] && b != fill {
			return "Out", i / size, true
		}
	}
	return "", 0, false
}

// unpack brings Out's memory as float32 to where Problem looks.
func (p *TypeProblem) unpack() {
	if p.res != nil {
		if err := p.res.typ.Decode(p.out.f, p.res.b); err != nil {
			panic(err) // the room is right
		}
	}
}

// hash tells whether anything changed in the memory of the inputs.
func (p *TypeProblem) hash() uint64 {
	return hashOf(withRaw(p.inputs, p.raw))
}

func withRaw(inputs []*store, raw []*rawStore) []*store {
	all := append([]*store(nil), inputs...)
	for _, r := range raw {
		all = append(all, &store{raw: r.b})
	}
	return all
}
