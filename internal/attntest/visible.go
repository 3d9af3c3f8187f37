package attntest

import (
	"math"

	"github.com/vkattn/vkattn"
)

// This file says once more, pair by pair and from the op and its arguments alone, which key a row may
// see. It shares no code with vkattn.Sequence, so that each checks the other.

// view is one sequence of a problem.
type view struct {
	index  int // indexes score-shaped and per-sequence arguments
	batch  int
	q0, k0 int
	sq, sk int
	off    int
	prefix int
}

func (p *Problem) views() []view {
	a, args := p.Op, &p.Args
	n := args.Q.Shape[0]
	if a.Packed {
		n = len(args.CuSeqQ) - 1
	}
	pick := func(list []int32, b int) int { return int(list[min(b, len(list)-1)]) }
	views := make([]view, n)
	for b := range views {
		v := view{index: b, batch: b, sq: args.Q.Shape[2], sk: args.K.Shape[2]}
		if a.Packed {
			v = view{index: b, q0: int(args.CuSeqQ[b]), k0: int(args.CuSeqK[b]),
				sq: int(args.CuSeqQ[b+1] - args.CuSeqQ[b]), sk: int(args.CuSeqK[b+1] - args.CuSeqK[b])}
		}
		if a.With.Has(vkattn.WithKeyLengths) {
			v.sk = int(args.KeyLengths[b])
		}
		switch a.Align {
		case vkattn.AlignBottomRight:
			v.off = v.sk - v.sq
		case vkattn.AlignOffset:
			v.off = args.Offset[min(b, len(args.Offset)-1)]
		}
		v.prefix = math.MinInt
		if a.With.Has(vkattn.WithPrefix) {
			v.prefix = pick(args.Prefix, b)
		}
		views[b] = v
	}
	return views
}

// closed reports whether the masks that need no table let row i of v see key j.
func (p *Problem) closed(v *view, i, j int) bool {
	a, args := &p.Op, &p.Args
	diagonal, key := args.QBase+i+v.off, args.KBase+j
	if c := float64(a.Chunk); c > 0 && math.Floor(float64(diagonal)/c) != math.Floor(float64(key)/c) {
		return false
	}
	if a.Causal && key > diagonal && key >= v.prefix {
		return false
	}
	w := a.Window
	if w.Left.Set && key < diagonal-w.Left.N || w.Right.Set && key > diagonal+w.Right.N {
		if a.SinkTokens > 0 && key < a.SinkTokens {
			return true
		}
		if a.With.Has(vkattn.WithGlobal) {
			for _, g := range args.Global {
				if int(g) == key || int(g) == diagonal {
					return true
				}
			}
		}
		return false
	}
	return true
}

func (p *Problem) byteAt(t vkattn.Tensor, b, h, i, j int) bool {
	return t.Mem.(*vkattn.Host).Bytes()[t.Index(b, h, i, j)] != 0
}

func (p *Problem) floatAt(t vkattn.Tensor, b, h, i, j int) float32 {
	return t.Mem.(*vkattn.Host).Float32s()[t.Index(b, h, i, j)]
}

// maskColumn is the element of a row of the mask that is about key j.
func (p *Problem) maskColumn(j int) int {
	if p.Op.MaskBlock > 1 {
		return (j - j%p.Op.MaskBlock) / p.Op.MaskBlock
	}
	return j
}

// hiddenByDistance reports whether the bias by distance hides key j from row i of head h.
func (p *Problem) hiddenByDistance(v *view, h, i, j int) bool {
	args := &p.Args
	t, distance := args.Relative, args.KBase+j-(args.QBase+i+v.off)
	at := max(0, min(distance+t.Shape[3]/2, t.Shape[3]-1))
	return math.IsInf(float64(p.floatAt(t, min(v.index, t.Shape[0]-1), h, 0, at)), -1)
}

// tables reports whether boolean, tree and block masks and the bias let row i of head h see key j.
func (p *Problem) tables(v *view, h, i, j int) bool {
	a, args := &p.Op, &p.Args
	return (!a.With.Has(vkattn.WithBlocks) || p.listed(v.index, h, i, j)) &&
		(!a.With.Has(vkattn.WithMask) || p.byteAt(args.Mask, v.index, h, i, p.maskColumn(j))) &&
		(!a.With.Has(vkattn.WithTree) || p.byteAt(args.Tree, v.index, 0, i, j)) &&
		(!a.With.Has(vkattn.WithRelative) || !p.hiddenByDistance(v, h, i, j)) &&
		(!a.With.Has(vkattn.WithBias) || !math.IsInf(float64(p.floatAt(args.Bias, v.index, h, i, j)), -1))
}

// listed looks block (i, j) up by a linear walk over the lists, and the pair up in the block's tile.
func (p *Problem) listed(b, h, i, j int) bool {
	_, found := p.blockAt(b, h, i, j)
	return found
}

func (p *Problem) blockAt(b, h, i, j int) (full, found bool) {
	m := p.Args.Blocks
	n := 0
	if m.Batch > 1 {
		n = b
	}
	n *= m.Heads
	if m.Heads > 1 {
		n += h
	}
	n = n*m.RowBlocks + i/m.BlockQ
	for e := m.Start[n]; e < m.Start[n+1]; e++ {
		if int(m.Keys[e]) != j/m.BlockK {
			continue
		}
		if m.Tile == nil || m.Tile[e] < 0 {
			return m.Full[e], true
		}
		words := (m.BlockK + 31) / 32
		bit := ((int(m.Tile[e])*m.BlockQ+i%m.BlockQ)*words)*32 + j%m.BlockK
		return false, m.Bits[bit/32]>>(bit%32)&1 == 1
	}
	return false, false
}

// Sees reports whether row i of query head h in sequence b sees key j.
func (p *Problem) Sees(b, h, i, j int) bool {
	v := p.views()[b]
	return i < v.sq && j < v.sk && p.closed(&v, i, j) && p.tables(&v, h, i, j)
}

// headOf is the key or value head of query head h.
func (p *Problem) headOf(h, heads int) int {
	if p.Op.HeadMap == vkattn.HeadCyclic {
		return h % heads
	}
	return h * heads / p.Op.HeadsQ
}

// mark finds the live elements of every input.
func (p *Problem) mark() {
	a, args := &p.Op, &p.Args
	q, k, v := p.store(args.Q), p.store(args.K), p.store(args.V)
	mask, tree, bias := p.store(args.Mask), p.store(args.Tree), p.store(args.Bias)
	for _, t := range []vkattn.Tensor{args.Slopes, args.SinkLogits, args.Relative} {
		if s := p.store(t); s != nil {
			each(t, func(_, _, _, _, at int) { s.live[at] = true })
		}
	}
	for _, w := range p.views() {
		for h := range a.HeadsQ {
			hk, hv := p.headOf(h, args.K.Shape[1]), p.headOf(h, args.V.Shape[1])
			seen := make([]bool, w.sk)
			for i := range w.sq {
				any := false
				for j := range w.sk {
					full := false
					visible := p.closed(&w, i, j)
					if a.With.Has(vkattn.WithBlocks) {
						var found bool
						full, found = p.blockAt(w.index, h, i, j)
						visible = visible && found
					}
					// Whoever calls a block full vouches for all of its mask.
					if visible || full {
						if mask != nil {
							mask.live[args.Mask.Index(w.index, h, i, p.maskColumn(j))] = true
							visible = visible && p.byteAt(args.Mask, w.index, h, i, p.maskColumn(j))
						}
						if tree != nil {
							tree.live[args.Tree.Index(w.index, 0, i, j)] = true
							visible = visible && p.byteAt(args.Tree, w.index, 0, i, j)
						}
					}
					visible = visible && !(a.With.Has(vkattn.WithRelative) && p.hiddenByDistance(&w, h, i, j))
					if visible && bias != nil {
						at := args.Bias.Index(w.index, h, i, j)
						bias.live[at] = true
						visible = !math.IsInf(float64(bias.f[at]), -1)
					}
					if visible {
						any, seen[j] = true, true
					}
				}
				if any {
					q.markRow(args.Q, w.batch, h, w.q0+i)
				}
			}
			for j, s := range seen {
				if s {
					k.markRow(args.K, w.batch, hk, w.k0+j)
					v.markRow(args.V, w.batch, hv, w.k0+j)
				}
			}
		}
	}
}
