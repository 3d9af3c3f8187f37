package main

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/vkattn/vkattn"
)

// blocks makes the block mask of --block-mask or of a preset for rows and keys of score, [batch, heads, rows, keys].
// masked says that a boolean mask or a tree hides pairs besides. A pattern is that of the whole grid, as vkattn mask
// makes it with the alignment of the problem; key lengths and bases do not move it.
func (s *spec) blocks(files *opener, score [4]int, masked bool) (*vkattn.BlockMask, error) {
	if !isPattern(s.blockMask) {
		return s.blockFile(files, score, masked)
	}
	m, err := s.patternMask(score[1], score[2], score[3])
	if err == nil && masked {
		m = m.UnderMasks()
	}
	return m, err
}

// patternMask makes the mask of a pattern for so many heads, rows and keys.
func (s *spec) patternMask(heads, rows, keys int) (*vkattn.BlockMask, error) {
	p, pattern, err := parsePattern(s.blockMask)
	if err != nil {
		return nil, err
	}
	if len(s.offset) > 1 {
		return nil, usagef("--block-mask %s has one diagonal, --align gives %d", s.blockMask, len(s.offset))
	}
	g := vkattn.MaskGrid{SeqQ: rows, SeqK: keys, BlockQ: s.blockQ, BlockK: s.blockK, Align: s.op.Align, Heads: heads}
	if len(s.offset) == 1 {
		g.Offset = s.offset[0]
	}
	return pattern.build(p, g, nil)
}

// blockFile reads which blocks of the grid are listed.
func (s *spec) blockFile(files *opener, score [4]int, masked bool) (*vkattn.BlockMask, error) {
	array, err := files.ref(s.blockMask, "block_mask")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, usagef("--block-mask %s: neither a file nor one of the patterns %s", s.blockMask, strings.Join(patternNames(), ", "))
	}
	if err != nil {
		return nil, err
	}
	keep, shape, err := fourAxes(array, "row blocks, key blocks")
	if err != nil {
		return nil, usagef("--block-mask %s: %w", s.blockMask, err)
	}
	rows, keys := (score[2]+s.blockQ-1)/s.blockQ, (score[3]+s.blockK-1)/s.blockK
	if shape[2] != rows || shape[3] != keys {
		return nil, usagef("--block-mask %s is of %d x %d blocks, want %d x %d with blocks of %d x %d", s.blockMask, shape[2], shape[3], rows, keys, s.blockQ, s.blockK)
	}
	return vkattn.NewBlockMask(shape[0], shape[1], score[2], score[3], s.blockQ, s.blockK, func(b, h, row, key int) (listed, full bool) {
		return keep[((b*shape[1]+h)*rows+row)*keys+key], !masked
	})
}

// text is the problem's name: that of its op and, as the op does not know it, its pattern.
func (s *spec) text() string { return s.problemOp().String() + s.pattern() }

// pattern follows the name of the op; a file has no name that means something elsewhere.
func (s *spec) pattern() string {
	if !isPattern(s.blockMask) {
		return ""
	}
	return fmt.Sprintf(" %s blocks%dx%d", s.blockMask, s.blockQ, s.blockK)
}
