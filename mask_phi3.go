package vkattn

// BlockSparse says how the pattern of Phi-3-small is made.
type BlockSparse struct {
	Block     int  // tokens of a block of the pattern; 0 is 64. The grid's blocks may be of another size
	Local     int  // blocks that a row sees up to its own; 0 is 16
	Stride    int  // every so many blocks one is seen by all later rows; 0 is 8
	SameHeads bool // all heads see the same blocks, those of head 0
}

// BlockSparse keeps, causally, the blocks close to the row and every Stride-th block before it, which blocks these are
// depends on the head h:
//
//	j <= i+off  and  (qb-kb < Local  or  (kb + h step + 1) mod Stride == 0)
//
// with qb = floor((i+off)/Block), kb = floor(j/Block) and step = max(1, floor(Stride/g.Heads)). Source: Microsoft,
// Phi-3-small (2024), its modeling_phi3_small.
func (g MaskGrid) BlockSparse(b BlockSparse) (*BlockMask, error) {
	for _, d := range []struct {
		arg   string
		n     *int
		value int
	}{{"BlockSparse.Block", &b.Block, 64}, {"BlockSparse.Local", &b.Local, 16}, {"BlockSparse.Stride", &b.Stride, 8}} {
		if *d.n == 0 {
			*d.n = d.value
		}
		if err := inRange(d.arg, *d.n, 1, MaxSequence); err != nil {
			return nil, err
		}
	}
	step := max(1, b.Stride/max(g.Heads, 1))
	if b.SameHeads {
		g.Heads = 1
	}
	g.Batch = 1
	return g.perHead(func(g MaskGrid, _, h int) (pattern, error) {
		local := &nearBlocks{sk: g.SeqK, off: g.off(), block: b.Block, n: b.Local}
		at := b.Stride - 1 - h*step%b.Stride // the block of each Stride that all see
		return either{local, &columnPattern{sk: g.SeqK, off: g.off(), period: b.Stride * b.Block, lo: at * b.Block, hi: (at + 1) * b.Block}}, nil
	})
}

// nearBlocks keeps the keys j <= i+off of the row's own block and of the n-1 blocks before it.
type nearBlocks struct{ sk, off, block, n int }

func (p *nearBlocks) Spans(dst []Span, i0, i1 int) []Span {
	lo := max(0, (floorDiv(i0+p.off, p.block)-p.n+1)*p.block)
	if hi := min(p.sk, i1+p.off); lo < hi {
		dst = append(dst, Span{lo, hi})
	}
	return dst
}

func (p *nearBlocks) FullyVisible(i0, i1, j0, j1 int) bool {
	return j1-1 <= i0+p.off && j0 >= (floorDiv(i1-1+p.off, p.block)-p.n+1)*p.block
}

func (p *nearBlocks) repeats(i0, j0, rows, keys int) (key blockKey, ok bool) {
	first := i0 + p.off
	k := [2]int{j0 - first, first - floorDiv(first, p.block)*p.block}
	if j0+keys-1 < (floorDiv(first, p.block)-p.n+1)*p.block { // before what any row sees
		k = [2]int{far}
	}
	return k, true
}
