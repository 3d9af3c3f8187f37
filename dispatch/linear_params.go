package dispatch

import (
	"unsafe"

	"github.com/vkattn/vkattn"
)

// linearParams is the Params block of shaders/lib/linear.glsl; a test compares the two by name, offset and size.
type linearParams struct {
	Heads, HeadsQ, HeadsK, HeadsV, States uint32
	Reads, Cyclic                         uint32
	QDim, KDim, VDim                      uint32
	Features, ValueDim, RawDim            uint32
	Map, Flags                            uint32
	Scale, Eps, MapEps                    float32
	QBatch, QHead, QRow                   uint32
	KBatch, KHead, KRow                   uint32
	VBatch, VHead, VRow                   uint32
	OutBatch, OutHead, OutRow             uint32
	DecayBatch, DecayHead, DecayRow       uint32
	BetaBatch, BetaHead, BetaRow          uint32
}

// linearSlice is its push constant block.
type linearSlice struct {
	Count, UnitFirst                                            uint32
	SeqFirst, HeadFirst, HeadCount                              uint32
	PartFirst, PartTokens                                       uint32
	ReadFirst, ReadEnd                                          uint32
	TokenFirst, TokenEnd                                        int32
	Phase                                                       uint32
	StateSeq, StateHead, StatePart, StateRow                    uint32
	HomeSeq, HomeHead, HomeRow                                  uint32
	StateBase, HomeBase                                         uint32
	QBase, KBase, VBase, OutBase, DecayBase, BetaBase, ListBase uint32
}

const (
	linearPushBytes = int(unsafe.Sizeof(linearSlice{}))
	linearParamSize = int(unsafe.Sizeof(linearParams{}))
)

// The bindings of the linear kernels where they differ from attention's.
const (
	bindState = bindLSE
	bindDecay = bindBias
	bindBeta  = bindMask
	bindHome  = bindBias // linear_join, linear_entry
	bindPeaks = bindMask // linear_features, linear_favor
)

const (
	linearDecay = 1 << iota
	linearFeatured
	linearRescaled
	linearProject
	linearKeys
	linearStandard
)

const (
	linearResume = 1 << iota
	linearSuspend
	linearAdvance
	linearRead
	linearTotal
	linearExclusive
	linearFirst
	linearFinal
	linearApply
	linearEntry
)

// linearSequenceWords is the size of an entry of the table of sequences.
const linearSequenceWords = 8

// linearTable is the table of sequences.
func linearTable(seqs []vkattn.Sequence) []uint32 {
	w := make([]uint32, 0, len(seqs)*linearSequenceWords)
	for i := range seqs {
		s := &seqs[i]
		w = append(w, uint32(s.Index), uint32(s.Batch), uint32(s.Q0), uint32(s.K0), uint32(s.Sq), uint32(s.Sk), 0, 0)
	}
	return w
}
