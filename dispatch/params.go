package dispatch

import (
	"unsafe"

	"github.com/vkattn/vkattn"
)

// params is the head of the Work buffer of shaders/lib/params.glsl; a test compares the two by name,
// offset and size.
type params struct {
	HeadsQ, HeadsK, HeadsV                uint32
	Cyclic, Pack                          uint32
	Dim, ValueDim                         uint32
	Scale, Softcap                        float32
	Flags                                 uint32
	Sequences                             uint32
	RowTiles                              uint32
	TileRows                              uint32
	WindowLeft, WindowRight               int32
	SinkTokens                            int32
	Chunk                                 int32
	Splits                                uint32
	QBatch, QHead, QRow                   uint32
	KBatch, KHead, KRow                   uint32
	VBatch, VHead, VRow                   uint32
	OutBatch, OutHead, OutRow             uint32
	LseBatch, LseHead, LseRow             uint32
	BiasBatch, BiasHead, BiasRow, BiasKey uint32
	MaskBatch, MaskHead, MaskRow, MaskKey uint32
	MaskHeads, MaskBlock                  uint32
	GlobalCount                           uint32
	SequenceList                          uint32
	SlopeList, SlopeBatch                 uint32
	SinkList, SinkBatch                   uint32
	RelativeList, RelativeBatch           uint32
	RelativeReach                         int32
	GlobalList                            uint32
	BlockList                             uint32
	ItemList, JoinedList                  uint32
	PageList, PageStride                  uint32
	PageTokens, PageCount                 uint32
	DescaleBlock                          uint32

	DescaleQList, DescaleQBatch, DescaleQBlocks uint32
	DescaleKList, DescaleKBatch, DescaleKBlocks uint32
	DescaleVList, DescaleVBatch, DescaleVBlocks uint32

	TreeList uint32
}

// sliceParams is the push constant block of shaders/lib/slice.glsl.
type sliceParams struct {
	TileFirst, TileCount                                      uint32
	KeyFirst, KeyEnd                                          int32
	PartKeys                                                  int32
	PartFirst                                                 uint32
	Phase                                                     uint32
	StateBase                                                 uint32
	RowFirst, RowEnd                                          int32
	QBase, KBase, VBase, OutBase, LseBase, BiasBase, MaskBase uint32
}

const (
	flagCausal = 1 << iota
	flagLeft
	flagRight
	flagBias
	flagMask
	flagALiBi
	flagSink
	flagLSE
	flagBlocks
	flagRelative
	flagTree
)

const (
	phaseResume = 1 << iota
	phaseSuspend
	phasePartial
	phaseItems
	phaseLeave
	phaseJoin
)

const (
	paramBytes    = (int64(unsafe.Sizeof(params{})) + 15) / 16 * 16
	paramWords    = int(paramBytes / 4) // before the lists in a work buffer
	sequenceWords = 10
	keyTile       = 32      // KEY_TILE of flash.comp
	reach         = 1 << 30 // relative positions beyond it compare like it
)

// bytesOf is the memory of a struct that holds nothing but 32-bit numbers.
func bytesOf[T any](p *T) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(p)), unsafe.Sizeof(*p))
}

func wordBytes[T uint32 | int32](w []T) []byte {
	if len(w) == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(&w[0])), 4*len(w))
}

func clamp(x, lo, hi int) int { return max(lo, min(x, hi)) }

// buildParams fills in what does not depend on where the tensors lie, nor on the lists.
func buildParams(op vkattn.Attention, seqs []vkattn.Sequence, tileRows, pack, splits int) params {
	p := params{
		HeadsQ: uint32(op.HeadsQ), HeadsK: uint32(op.HeadsK), HeadsV: uint32(op.HeadsV),
		Cyclic: uint32(op.HeadMap), Pack: uint32(pack), Dim: uint32(op.HeadDim), ValueDim: uint32(op.ValueDim),
		Scale: float32(op.Scale.Value), Softcap: float32(op.Softcap),
		TileRows: uint32(tileRows), Chunk: int32(op.Chunk), Splits: uint32(splits),
		WindowLeft: int32(op.Window.Left.N), WindowRight: int32(op.Window.Right.N),
	}
	for _, f := range []struct {
		on   bool
		flag uint32
	}{
		{op.Causal, flagCausal}, {op.Window.Left.Set, flagLeft}, {op.Window.Right.Set, flagRight},
		{op.With.Has(vkattn.WithBias), flagBias}, {op.With&(vkattn.WithMask|vkattn.WithTree) != 0, flagMask},
		{op.With.Has(vkattn.WithALiBi), flagALiBi}, {op.With.Has(vkattn.WithSinkLogits), flagSink},
		{op.With.Has(vkattn.WithLSE), flagLSE}, {op.With.Has(vkattn.WithBlocks), flagBlocks},
		{op.With.Has(vkattn.WithRelative), flagRelative},
	} {
		if f.on {
			p.Flags |= f.flag
		}
	}
	if len(seqs) > 0 {
		s := &seqs[0]
		p.SinkTokens = int32(clamp(s.SinkTokens-s.KBase, 0, reach))
	}
	return p
}

func ceilDiv(a, b int) int { return (a + b - 1) / b }
