package cpu

import "slices"

// visible is SEMANTICS.md's formula, term by term. It shares no code with vkattn.Sequence, so that a
// mistake in one is found by the other.
func (p *problem) visible(s sequence, h, i, j int) bool {
	op, a := p.op, p.args
	row, key := p.rowPosition(s, i), p.keyPosition(j)

	inside := i < s.sq && j < s.sk
	if !inside {
		return false
	}
	column := j
	if op.MaskBlock > 1 {
		column = j / op.MaskBlock
	}
	boolean := !a.Mask.Given() || p.read(a.Mask, a.Mask.Index(s.index, h, i, column)) != 0
	tree := !a.Tree.Given() || p.read(a.Tree, a.Tree.Index(s.index, 0, i, j)) != 0
	bias := !a.Bias.Given() || p.read(a.Bias, a.Bias.Index(s.index, h, i, j)) != minusInf
	bias = bias && (!a.Relative.Given() || p.byDistance(s, h, i, j) != minusInf)
	chunk := op.Chunk == 0 || floorDiv(row, op.Chunk) == floorDiv(key, op.Chunk)

	causal := !op.Causal || key <= row || key < s.prefix

	left, right := op.Window.Left, op.Window.Right
	window := (!left.Set || row-left.N <= key) && (!right.Set || key <= row+right.N) ||
		op.SinkTokens > 0 && key < op.SinkTokens || p.global(row) || p.global(key)

	return boolean && tree && bias && p.listed(s, h, i, j) && chunk && causal && window
}

// listed reports whether the block mask, if there is one, lists the block of (i, j) and keeps the pair.
func (p *problem) listed(s sequence, h, i, j int) bool {
	m := p.args.Blocks
	if m == nil {
		return true
	}
	b := s.index % m.Batch // Batch and Heads are 1 or the problem's
	n := (b*m.Heads+h%m.Heads)*m.RowBlocks + i/m.BlockQ
	e := slices.Index(m.Keys[m.Start[n]:m.Start[n+1]], int32(j/m.BlockK))
	if e < 0 {
		return false
	}
	if m.Tile == nil || m.Tile[int(m.Start[n])+e] < 0 {
		return true
	}
	tile, row, key := int(m.Tile[int(m.Start[n])+e]), i%m.BlockQ, j%m.BlockK
	words := (m.BlockK + 31) / 32
	return m.Bits[(tile*m.BlockQ+row)*words+key/32]&(1<<(key%32)) != 0
}

// global reports whether the token at an absolute position is in the list of global tokens.
func (p *problem) global(position int) bool {
	return slices.ContainsFunc(p.args.Global, func(g int32) bool { return int(g) == position })
}

// rowPosition and keyPosition are the absolute positions that every closed-form mask and ALiBi compare.
func (p *problem) rowPosition(s sequence, i int) int { return i + s.off + p.args.QBase }
func (p *problem) keyPosition(j int) int             { return j + p.args.KBase }

// floorDiv is a/b rounded towards -inf, for b > 0.
func floorDiv(a, b int) int {
	if a < 0 {
		return -((-a + b - 1) / b)
	}
	return a / b
}
