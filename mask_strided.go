package vkattn

// Part is one of the two patterns that a factorised one consists of. A model gives them to different heads or
// layers, or merges them.
type Part uint8

// The parts.
const (
	Merged  Part = iota // both: a key that either keeps
	Local               // the keys close to the row
	Distant             // the others
)

// choose is the part of a pattern.
func (p Part) choose(local, distant pattern) (pattern, error) {
	switch p {
	case Merged:
		return either{local, distant}, nil
	case Local:
		return local, nil
	case Distant:
		return distant, nil
	}
	return nil, &ArgError{"Part", "unknown part"}
}

// Strided keeps, causally, the stride last keys (local) and every stride-th key before the row (distant):
//
//	j <= i+off  and  (i+off-j < stride  or  (i+off-j) mod stride == 0)
//
// The distant keys lie in every block: a kernel goes by the mask's Form instead. stride is about the square root of the
// length. Source: Child et al., "Generating Long Sequences with Sparse Transformers"
// (2019), openai/sparse_attention.
func (g MaskGrid) Strided(stride int, part Part) (*BlockMask, error) {
	m, err := g.shared(func(g MaskGrid) (pattern, error) {
		if err := inRange("stride", stride, 1, MaxSequence); err != nil {
			return nil, err
		}
		local := g.closed()
		local.Causal, local.Window = true, Window{Left: Tokens(stride - 1)}
		return part.choose(local, &dilatedPattern{sk: g.SeqK, off: g.off(), right: Tokens(0), step: stride})
	})
	if err != nil || part == Local {
		return m, err
	}
	f := MaskForm{Off: g.off(), Step: stride, Steps: Window{Right: Tokens(0)}}
	if part == Merged {
		f.Near = stride
	}
	return m.withForm(f, nil), nil
}

// Fixed keeps, causally, the keys of the row's own block of stride keys (local) and of every such block the
// summary keys (distant), c of them:
//
//	j <= i+off  and  (floor((i+off)/stride) == floor(j/stride)  or  stride-(v+1)c <= j mod stride < stride-v c)
//
// with v = h mod verts for head h: verts slices of a block take turns over the heads, and 1 is the paper's pattern,
// the last c keys of each block. The mask has g.Heads heads where verts is over 1. Source: as Strided. Masks of one vert have a Form.
func (g MaskGrid) Fixed(stride, c, verts int, part Part) (*BlockMask, error) {
	if verts == 1 {
		g.Heads = 1
	}
	g.Batch = 1
	m, err := g.perHead(func(g MaskGrid, _, h int) (pattern, error) {
		if err := inRange("stride", stride, 1, MaxSequence); err != nil {
			return nil, err
		}
		if err := inRange("c", c, 1, stride); err != nil {
			return nil, err
		}
		if err := inRange("verts", verts, 1, stride/c); err != nil {
			return nil, err
		}
		local := g.closed()
		local.Causal, local.Chunk = true, stride
		hi := stride - h%verts*c
		return part.choose(local, &columnPattern{sk: g.SeqK, off: g.off(), period: stride, lo: hi - c, hi: hi})
	})
	if err != nil || part == Local || verts > 1 {
		return m, err
	}
	f := MaskForm{Off: g.off(), Period: stride, Low: stride - c, High: stride}
	if part == Merged {
		f.Chunk = stride
	}
	return m.withForm(f, nil), nil
}

// columnPattern keeps the keys j <= i+off with lo <= j mod period < hi.
type columnPattern struct {
	sk, off        int
	period, lo, hi int
}

func (c *columnPattern) Spans(dst []Span, i0, i1 int) []Span {
	end := min(c.sk, i1+c.off)
	base := len(dst)
	for k := 0; k+c.lo < end; k += c.period {
		s := Span{k + c.lo, min(k+c.hi, end)}
		if last := len(dst) - 1; last >= base && dst[last].Hi == s.Lo {
			dst[last].Hi = s.Hi
		} else {
			dst = append(dst, s)
		}
	}
	return dst
}

func (c *columnPattern) FullyVisible(i0, _, j0, j1 int) bool {
	at := j0 % c.period
	return j1-1 <= i0+c.off && (at >= c.lo && at+j1-j0 <= c.hi || c.hi-c.lo == c.period)
}

func (c *columnPattern) repeats(i0, j0, _, keys int) (key blockKey, ok bool) {
	k := [2]int{j0 % c.period, j0 - i0}
	if j0+keys-1 <= i0+c.off {
		k[1] = far
	}
	return k, true
}
