package vkattn

import (
	"hash/maphash"
	"sync"
	"unsafe"
)

// MaskForm is what the builder of a block mask knows beyond its lists: by which arithmetic a row sees its keys. A stride
// puts a pair into every block, so a kernel that visits blocks visits them all; by the form it need not. With p = i+Off
// the position of row i, a row sees the keys of either part:
//
//	near     0 <= p-j < Near, or, with Chunk > 0, j <= p and floor(p/Chunk) == floor(j/Chunk)
//	strided  j = p + n Step, for whole numbers n from -Left to Right of Steps, where those are set
//	columns  j <= p and Low <= j mod Period < High
type MaskForm struct {
	Off               int
	Near, Chunk       int    // 0: no part near the row; Chunk is 0 or Period
	Step              int    // 0: no strided part
	Steps             Window // in steps
	Period, Low, High int    // Period 0: no columns
}

// RowLists is what the builder of a mask of chosen keys knows: the keys of every row, ascending and each once.
type RowLists struct {
	Batch, Groups, Rows int     // head h of H reads group h / (H/Groups)
	Start               []int   // Batch*Groups*Rows + 1 places in Keys
	Keys                []int32 // one list behind the other
}

// List is the keys of row i of (b, group).
func (l *RowLists) List(b, group, i int) []int32 {
	n := (b*l.Groups+group)*l.Rows + i
	return l.Keys[l.Start[n]:l.Start[n+1]]
}

// knownForm is the form of a mask, or its rows' lists, and what shows that the mask is still what the builder has made.
type knownForm struct {
	MaskForm
	rows  *RowLists // nil: the form
	seed  maphash.Seed
	sum   uint64
	once  sync.Once
	whole bool
	lists BlockMask
}

// withForm is a mask that its builder has just made, with its form, or with its rows' lists.
func (m *BlockMask) withForm(f MaskForm, rows *RowLists) *BlockMask {
	m.form = &knownForm{MaskForm: f, rows: rows, seed: maphash.MakeSeed(), lists: *m}
	m.form.sum = m.checksum(m.form.seed)
	return m
}

// checksum is of everything that says which pairs the mask keeps.
func (m *BlockMask) checksum(seed maphash.Seed) uint64 {
	var h maphash.Hash
	h.SetSeed(seed)
	for _, words := range [][]int32{m.Start, m.Keys, m.Tile} {
		h.Write(bytesOf(words))
	}
	h.Write(bytesOf(m.Bits))
	return h.Sum64()
}

func bytesOf[T int32 | uint32](words []T) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(words))), 4*len(words))
}

// Form is the form of a mask, and whether one is known: MaskGrid's builders of strided, fixed and dilated patterns leave one. A mask whose fields were set to others has none, nor one whose lists were changed before the first call.
func (m *BlockMask) Form() (MaskForm, bool) {
	if f := m.known(); f != nil && f.rows == nil {
		return f.MaskForm, true
	}
	return MaskForm{}, false
}

// RowLists is the lists of a mask that SelectedKeys has made, under the same conditions, or nil.
func (m *BlockMask) RowLists() *RowLists {
	if f := m.known(); f != nil {
		return f.rows
	}
	return nil
}

// known is what the builder knew of the mask, if that is what it still is.
func (m *BlockMask) known() *knownForm {
	f := m.form
	if f == nil {
		return nil
	}
	l := &f.lists
	if !same(m.Start, l.Start) || !same(m.Keys, l.Keys) || !same(m.Tile, l.Tile) || !same(m.Bits, l.Bits) ||
		[6]int{m.BlockQ, m.BlockK, m.Batch, m.Heads, m.RowBlocks, m.KeyBlocks} != [6]int{l.BlockQ, l.BlockK, l.Batch, l.Heads, l.RowBlocks, l.KeyBlocks} {
		return nil
	}
	f.once.Do(func() { f.whole = l.checksum(f.seed) == f.sum })
	if !f.whole {
		return nil
	}
	return f
}

// same reports whether two slices are the same memory.
func same[T any](a, b []T) bool {
	return len(a) == len(b) && (a == nil) == (b == nil) && unsafe.SliceData(a) == unsafe.SliceData(b)
}

// ByBlocks is m without its form: kernels visit the blocks that it lists, all of them.
func (m *BlockMask) ByBlocks() *BlockMask {
	u := *m
	u.form = nil
	return &u
}

// Sees reports whether the form lets row i see key j of a grid.
func (f MaskForm) Sees(i, j int) bool {
	p := i + f.Off
	switch {
	case j <= p && (p-j < f.Near || f.Chunk > 0 && floorDiv(p, f.Chunk) == floorDiv(j, f.Chunk)):
		return true
	case f.Period > 0 && j <= p && j%f.Period >= f.Low && j%f.Period < f.High:
		return true
	case f.Step == 0 || (j-p)%f.Step != 0:
		return false
	}
	n := (j - p) / f.Step
	return (!f.Steps.Left.Set || n >= -f.Steps.Left.N) && (!f.Steps.Right.Set || n <= f.Steps.Right.N)
}
