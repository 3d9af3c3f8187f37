package vkattn

import "fmt"

// MaskGrid is what block masks of sparse patterns are made for: SeqQ rows and SeqK keys, cut into blocks. Its
// methods build the masks, one per pattern, exactly to the pattern's definition for every size, offset and
// block size: blocks whose pairs are all visible are full, blocks that hold both kinds carry their pairs, and
// nothing else is stored. No matrix of SeqQ x SeqK is ever made, and building takes time about proportional to the
// blocks that are listed.
//
// Row i stands at key position i+off, as everywhere in this package: off is SeqK-SeqQ, 0 or Offset, by Align.
//
// The masks say which blocks a boolean mask need not be read for. A call that has one, or a tree, beside a pattern
// takes the pattern's UnderMasks. Errors are *ShapeError or *ArgError.
type MaskGrid struct {
	SeqQ, SeqK     int   // rows and keys, 0 to MaxSequence
	BlockQ, BlockK int   // rows and keys of a block; 0 is DefaultBlock
	Align          Align // where the diagonal lies
	Offset         int   // off, for AlignOffset; -MaxSequence to MaxSequence
	Batch, Heads   int   // of patterns that differ between them; 0 is 1. Other patterns are shared: 1 and 1
}

// DefaultBlock is the number of rows and keys of a block where a MaskGrid does not say.
const DefaultBlock = 64

// canonical fills in the defaults and refuses what no grid has.
func (g MaskGrid) canonical() (MaskGrid, error) {
	for _, d := range []struct {
		n     *int
		value int
	}{{&g.BlockQ, DefaultBlock}, {&g.BlockK, DefaultBlock}, {&g.Batch, 1}, {&g.Heads, 1}} {
		if *d.n == 0 {
			*d.n = d.value
		}
	}
	if err := checkBlockSize(g.BlockQ, g.BlockK); err != nil {
		return g, err
	}
	if err := checkGridSize(g.SeqQ, g.SeqK); err != nil {
		return g, err
	}
	if g.Batch < 0 || g.Heads < 0 || g.Batch > MaxSequence || g.Heads > MaxSequence {
		return g, &ShapeError{"MaskGrid", "batch and heads", [2]int{g.Batch, g.Heads}, "0 or more"}
	}
	switch g.Align {
	case AlignBottomRight, AlignTopLeft:
		if g.Offset != 0 {
			return g, &ArgError{"Offset", "given, but Align is not AlignOffset"}
		}
	case AlignOffset:
		return g, inRange("Offset", g.Offset, -MaxSequence, MaxSequence)
	default:
		return g, &ArgError{"Align", fmt.Sprintf("unknown alignment %d", uint8(g.Align))}
	}
	return g, nil
}

// assembler is the canonical grid and a mask on it that has no blocks yet.
func (g MaskGrid) assembler() (MaskGrid, *blockAssembler, error) {
	g, err := g.canonical()
	if err != nil {
		return g, nil, err
	}
	a, err := newBlockAssembler(g.Batch, g.Heads, g.SeqQ, g.SeqK, g.BlockQ, g.BlockK)
	return g, a, err
}

// off is the diagonal.
func (g MaskGrid) off() int {
	switch g.Align {
	case AlignBottomRight:
		return g.SeqK - g.SeqQ
	case AlignOffset:
		return g.Offset
	}
	return 0
}

// shared builds the mask of a pattern that all sequences and heads share.
func (g MaskGrid) shared(of func(g MaskGrid) (pattern, error)) (*BlockMask, error) {
	g.Batch, g.Heads = 1, 1
	return g.perHead(func(g MaskGrid, _, _ int) (pattern, error) { return of(g) })
}

// perHead builds the mask of a pattern that sequences and heads have each their own of.
func (g MaskGrid) perHead(of func(g MaskGrid, b, h int) (pattern, error)) (*BlockMask, error) {
	g, a, err := g.assembler()
	if err != nil {
		return nil, err
	}
	for b := range g.Batch {
		for h := range g.Heads {
			p, err := of(g, b, h)
			if err != nil {
				return nil, err
			}
			if err := a.addPattern(p); err != nil {
				return nil, err
			}
		}
	}
	return a.m, nil
}
