package dispatch

import (
	"fmt"
	"unsafe"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/vk"
)

// The kernels of MoBA and NSA beside attention.
const (
	selectPool   = "select_pool"
	selectScores = "select_scores"
	selectTop    = "select_top"
	selectGate   = "select_gate"

	selectLanes = 64 // their workgroup
	scoreRows   = 4  // ROWS of select_scores.comp
)

// poolSlice, scoresSlice, topSlice and gateSlice are the push constant blocks of the kernels; a test compares them by name
// and offset.
type poolSlice struct {
	Columns, Padded           uint32
	Heads                     uint32
	BlockFirst, BatchFirst    uint32
	Span, Stride              uint32
	Whole                     uint32
	InBatch, InHead, InRow    uint32
	OutBatch, OutHead, OutRow uint32
	InBase, OutBase           uint32
}

type scoresSlice struct {
	Rows, Columns                         uint32
	Groups, Members                       uint32
	Dim                                   uint32
	QBatch, QGroup, QRow, QMember         uint32
	KBatch, KGroup, KRow                  uint32
	OutBatch, OutGroup, OutRow, OutMember uint32
	LseBatch, LseGroup, LseMember         uint32
	QBase, KBase, OutBase, LseBase        uint32
	RowFirst, ColumnFirst, BatchFirst     uint32
	Span, Stride                          uint32
	Flags                                 uint32
	Scale                                 float32
}

const (
	scoresWeigh = 1 << iota
	scoresResume
)

type topSlice struct {
	Rows, Blocks, Inputs         uint32
	Top, Block                   uint32
	Pieces, Overlap              uint32
	InBatch, InHead, InRow       uint32
	KeysBatch, KeysHead, KeysRow uint32
	MaskBatch, MaskHead, MaskRow uint32
	InBase, KeysBase, MaskBase   uint32
	RowFirst, BatchFirst         uint32
}

type gateSlice struct {
	Count, Columns                         uint32
	CBatch, CHead, CRow                    uint32
	SBatch, SHead, SRow                    uint32
	WBatch, WHead, WRow                    uint32
	GateBatch, GateHead, GateRow, GateStep uint32
	OutBatch, OutHead, OutRow              uint32
	CBase, SBase, WBase, GateBase, OutBase uint32
}

// selectKey is one of the kernels.
type selectKey struct {
	name  string
	lanes uint32
	typ   vkattn.Type // that it reads or, gate, writes
}

// selectKeyOf is the key of a kernel on a device. On a software driver a workgroup is one core's work, and a barrier
// between more lanes than run at once costs it dear: top takes 8.
func selectKeyOf(caps *vk.Caps, name string, t vkattn.Type) selectKey {
	if name == selectTop && caps.DeviceType == "cpu" {
		return selectKey{name, 8, t}
	}
	return selectKey{name, selectLanes, t}
}

func (k selectKey) pipelineSpec() vk.PipelineSpec {
	push := map[string]uintptr{selectPool: unsafe.Sizeof(poolSlice{}), selectScores: unsafe.Sizeof(scoresSlice{}),
		selectTop: unsafe.Sizeof(topSlice{}), selectGate: unsafe.Sizeof(gateSlice{})}[k.name]
	spec := vk.PipelineSpec{Name: k.name, Spec: []vk.SpecConstant{{ID: 0, Value: k.lanes}}, PushBytes: int(push)}
	if k.name != selectTop {
		spec.Spec = append(spec.Spec, vk.SpecConstant{ID: 1, Value: uint32(k.typ)})
	}
	return spec
}

// chooser is a call whose rows choose blocks of keys, on the device.
type chooser struct {
	r    *run
	op   *vkattn.Attention // canonical
	seqs []vkattn.Sequence
	list *vk.Buffer // keys and diagonal of each sequence
}

// scratch is a tensor of float32 or of words in memory of its own, rows one behind the other.
func (c *chooser) scratch(b, h, rows, row int) (view, error) { return c.r.scratch(b, h, rows, row) }

func (r *run) scratch(b, h, rows, row int) (view, error) {
	if n := 4 * float64(b) * float64(h) * float64(rows) * float64(row); n > 1<<46 {
		return view{}, fmt.Errorf("dispatch: %g bytes of scratch: %w", n, vkattn.ErrOutOfMemory)
	}
	v := view{sb: h * rows * row, sh: rows * row, ss: row, sj: 1, n: row}
	var err error
	v.buf, err = r.hold(max(16, 4*int64(b)*int64(h)*int64(rows)*int64(row)), vk.HeapDevice, "scratch")
	if err == nil {
		v.room = v.buf.Size()
	}
	return v, err
}

// asTensor is a view as kernels of attention take it.
func (c *chooser) asTensor(v view, t vkattn.Type, b, h, s int) vkattn.Tensor {
	return c.r.asTensor(v, t, b, h, s)
}

func (r *run) asTensor(v view, t vkattn.Type, b, h, s int) vkattn.Tensor {
	return vkattn.Tensor{Type: t, Shape: [4]int{b, h, s, v.n}, Stride: [4]int{v.sb, v.sh, v.ss, v.sj}, Offset: v.off,
		Mem: &memory{be: r.be, buf: v.buf, size: v.room}}
}

// row is the part of a view from a row on.
func (v view) row(i int) view {
	v.off += i * v.ss
	return v
}

// writeList makes the list of sequences.
func (c *chooser) writeList() error {
	words := make([]int32, 0, 2*len(c.seqs))
	for i := range c.seqs {
		words = append(words, int32(c.seqs[i].Sk), int32(clamp(c.seqs[i].Off, -reach, reach-1)))
	}
	var err error
	content := wordBytes(words)
	if c.list, err = c.r.hold(max(16, int64(len(content))), vk.HeapDevice, "scratch"); err != nil {
		return err
	}
	if dst := c.list.Bytes(); dst != nil {
		copy(dst, content)
		return c.list.Flush(0, c.list.Size())
	}
	staging, err := c.r.hold(max(16, int64(len(content))), vk.HeapUpload, "staging")
	if err != nil {
		return err
	}
	copy(staging.Bytes(), content)
	return c.r.copyBuffer(staging, c.list, 0, int64(len(content)))
}

// pool makes the means of t, [B, heads, Sk, columns], over blocks keys of a sequence: span of them, stride apart, only whole
// ones or all.
func (c *chooser) pool(name string, t view, heads, columns, blocks, span, stride int, whole bool) (view, error) {
	padded := ceilDiv(columns, 4) * 4
	out, err := c.scratch(len(c.seqs), heads, max(blocks, 1), padded)
	if err != nil || blocks == 0 {
		return out, err
	}
	s := poolSlice{Columns: uint32(columns), Padded: uint32(padded), Span: uint32(span), Stride: uint32(stride), Whole: b2u(whole),
		InBatch: uint32(t.sb), InHead: uint32(t.sh), InRow: uint32(t.ss), OutBatch: uint32(out.sb), OutHead: uint32(out.sh), OutRow: uint32(out.ss)}
	longest := 0
	for i := range c.seqs {
		longest = max(longest, c.seqs[i].Sk)
	}
	j := &selectJob{r: c.r, name: selectPool, key: selectKeyOf(&c.r.be.caps, selectPool, t.typ), list: c.list, tensors: []selectTensor{
		{t, name, bindQ, [selectAxes]int{t.sb, t.sh, 0, stride * t.ss, 0}, (min(span, longest)-1)*t.ss + columns},
		{out, "means", bindOut, [selectAxes]int{out.sb, out.sh, 0, out.ss, 0}, padded}},
		groups: func(a *selectArea) [3]int {
			return [3]int{ceilDiv(padded, selectLanes), a.n(selectBlock), a.n(selectBatch) * a.n(selectHead)}
		},
		axes: [3][]int{nil, {selectBlock}, {selectBatch, selectHead}},
		cost: func(a *selectArea) float64 {
			return selectCost(&c.r.be.caps) * float64(a.n(selectBatch)) * float64(a.n(selectHead)) * float64(a.n(selectBlock)) * float64(min(span, longest)) * float64(columns)
		},
		push: func(a *selectArea, base []uint32) []byte {
			s.Heads, s.BlockFirst, s.BatchFirst = uint32(a.n(selectHead)), uint32(a.lo[selectBlock]), uint32(a.lo[selectBatch])
			s.InBase, s.OutBase = base[0], base[1]
			return bytesOf(&s)
		}}
	return out, j.run(selectArea{hi: [selectAxes]int{len(c.seqs), heads, 1, blocks, 1}})
}

// groupStrides are those of a tensor with query heads, from group to group and from member to member.
func (c *chooser) groupStrides(head int) (group, member int) {
	if c.op.HeadMap == vkattn.HeadCyclic {
		return head, c.op.HeadsK * head
	}
	return c.op.HeadsQ / c.op.HeadsK * head, head
}

// scores multiplies rows [r0, r0+rows) of q with pooled keys, into out, whose rows count from r0 as well. With lse, whose rows do too, it weighs
// and sums over the heads of a group, and out has heads of keys, else of queries.
func (c *chooser) scores(q, means, out view, lse *view, r0, rows, blocks, span, stride int) error {
	op := c.op
	members := op.HeadsQ / op.HeadsK
	s := scoresSlice{Dim: uint32(op.HeadDim), QBatch: uint32(q.sb), QRow: uint32(q.ss), KBatch: uint32(means.sb), KGroup: uint32(means.sh), KRow: uint32(means.ss),
		OutBatch: uint32(out.sb), OutRow: uint32(out.ss), Span: uint32(span), Stride: uint32(stride), Scale: float32(op.Scale.Value)}
	qGroup, qMember := c.groupStrides(q.sh)
	outGroup, outMember := c.groupStrides(out.sh)
	flags := uint32(0)
	if lse != nil {
		outGroup, outMember, flags = out.sh, 0, scoresWeigh
	}
	s.QGroup, s.QMember, s.OutGroup, s.OutMember = uint32(qGroup), uint32(qMember), uint32(outGroup), uint32(outMember)
	j := &selectJob{r: c.r, name: selectScores, key: selectKeyOf(&c.r.be.caps, selectScores, q.typ), list: c.list, tensors: []selectTensor{
		{q.row(r0), "q", bindQ, [selectAxes]int{q.sb, qGroup, q.ss, 0, qMember}, op.HeadDim},
		{means, "means", bindK, [selectAxes]int{means.sb, means.sh, 0, means.ss, 0}, means.n},
		{out, "scores", bindOut, [selectAxes]int{out.sb, outGroup, out.ss, 1, outMember}, 1}},
		groups: func(a *selectArea) [3]int {
			return [3]int{ceilDiv(a.n(selectBlock), selectLanes), ceilDiv(a.n(selectRow), scoreRows), a.n(selectBatch) * a.n(selectHead)}
		},
		axes: [3][]int{{selectBlock}, {selectRow}, {selectBatch, selectHead}},
		cost: func(a *selectArea) float64 {
			n := selectCost(&c.r.be.caps) * float64(op.HeadDim)
			for x := range a.hi {
				n *= float64(a.n(x))
			}
			return n
		},
		push: func(a *selectArea, base []uint32) []byte {
			s.Rows, s.Columns, s.Groups, s.Members = uint32(a.n(selectRow)), uint32(a.n(selectBlock)), uint32(a.n(selectHead)), uint32(a.n(selectMember))
			s.RowFirst, s.ColumnFirst, s.BatchFirst = uint32(r0+a.lo[selectRow]), uint32(a.lo[selectBlock]), uint32(a.lo[selectBatch])
			s.QBase, s.KBase, s.OutBase = base[0], base[1], base[2]
			if s.Flags = flags; lse != nil {
				s.LseBase = base[3]
				if a.lo[selectMember] > 0 {
					s.Flags |= scoresResume
				}
			}
			return bytesOf(&s)
		}}
	if lse != nil {
		lseGroup, lseMember := c.groupStrides(lse.sh)
		s.LseBatch, s.LseGroup, s.LseMember = uint32(lse.sb), uint32(lseGroup), uint32(lseMember)
		j.tensors = append(j.tensors, selectTensor{*lse, "lse", bindLSE, [selectAxes]int{lse.sb, lseGroup, 1, 0, lseMember}, 1})
	}
	return j.run(selectArea{hi: [selectAxes]int{len(c.seqs), op.HeadsK, rows, blocks, members}})
}

// top writes the mask of rows [r0, r0+rows) of so many heads, from in, [B, heads, rows, inputs]. pieces and overlap are 0 for MoBA.
func (c *chooser) top(in, mask view, heads, r0, rows, blocks, block, top, pieces, overlap int) error {
	keys, err := c.scratch(len(c.seqs), heads, rows, max(blocks, 1))
	if err != nil {
		return err
	}
	s := topSlice{Blocks: uint32(blocks), Inputs: uint32(in.n), Top: uint32(top), Block: uint32(block), Pieces: uint32(pieces), Overlap: uint32(overlap),
		InBatch: uint32(in.sb), InHead: uint32(in.sh), InRow: uint32(in.ss), KeysBatch: uint32(keys.sb), KeysHead: uint32(keys.sh), KeysRow: uint32(keys.ss),
		MaskBatch: uint32(mask.sb), MaskHead: uint32(mask.sh), MaskRow: uint32(mask.ss)}
	tensor := func(v view, name string, binding int) selectTensor {
		return selectTensor{v, name, binding, [selectAxes]int{v.sb, v.sh, v.ss, 0, 0}, v.n}
	}
	j := &selectJob{r: c.r, name: selectTop, list: c.list,
		tensors: []selectTensor{tensor(in, "scores", bindQ), tensor(keys, "keys", bindOut), tensor(mask, "mask", bindLSE)},
		groups:  func(a *selectArea) [3]int { return [3]int{a.n(selectRow), a.n(selectHead), a.n(selectBatch)} },
		axes:    [3][]int{{selectRow}, {selectHead}, {selectBatch}},
		cost: func(a *selectArea) float64 {
			return 50 * selectCost(&c.r.be.caps) * float64(a.n(selectBatch)) * float64(a.n(selectHead)) * float64(a.n(selectRow)) * float64(max(blocks, selectLanes))
		},
		push: func(a *selectArea, base []uint32) []byte {
			s.Rows, s.RowFirst, s.BatchFirst = uint32(a.n(selectRow)), uint32(r0+a.lo[selectRow]), uint32(a.lo[selectBatch])
			s.InBase, s.KeysBase, s.MaskBase = base[0], base[1], base[2]
			return bytesOf(&s)
		}}
	return j.run(selectArea{hi: [selectAxes]int{len(c.seqs), heads, rows, 1, 1}})
}

// gate sums the branches of rows, [B, heads, rows, columns], into out, which may be the last.
func (c *chooser) gate(compressed, selected, window, gates, out view, rows, columns int) error {
	s := gateSlice{Columns: uint32(columns), CBatch: uint32(compressed.sb), CHead: uint32(compressed.sh), CRow: uint32(compressed.ss),
		SBatch: uint32(selected.sb), SHead: uint32(selected.sh), SRow: uint32(selected.ss),
		WBatch: uint32(window.sb), WHead: uint32(window.sh), WRow: uint32(window.ss),
		GateBatch: uint32(gates.sb), GateHead: uint32(gates.sh), GateRow: uint32(gates.ss), GateStep: uint32(gates.sj),
		OutBatch: uint32(out.sb), OutHead: uint32(out.sh), OutRow: uint32(out.ss)}
	tensor := func(v view, name string, binding, words int) selectTensor {
		return selectTensor{v, name, binding, [selectAxes]int{v.sb, v.sh, v.ss, 0, 0}, words}
	}
	j := &selectJob{r: c.r, name: selectGate, key: selectKeyOf(&c.r.be.caps, selectGate, out.typ), tensors: []selectTensor{tensor(compressed, "branches", bindQ, columns), tensor(selected, "branches", bindK, columns),
		tensor(window, "branches", bindLSE, columns), tensor(gates, "gates", bindV, 2*gates.sj+1), tensor(out, "out", bindOut, columns)},
		groups: func(a *selectArea) [3]int {
			return [3]int{ceilDiv(a.n(selectRow)*columns, selectLanes), a.n(selectHead), a.n(selectBatch)}
		},
		axes: [3][]int{{selectRow}, {selectHead}, {selectBatch}},
		cost: func(a *selectArea) float64 {
			return 10 * selectCost(&c.r.be.caps) * float64(a.n(selectBatch)) * float64(a.n(selectHead)) * float64(a.n(selectRow)) * float64(columns)
		},
		push: func(a *selectArea, base []uint32) []byte {
			s.Count = uint32(a.n(selectRow) * columns)
			s.CBase, s.SBase, s.WBase, s.GateBase, s.OutBase = base[0], base[1], base[2], base[3], base[4]
			return bytesOf(&s)
		}}
	return j.run(selectArea{hi: [selectAxes]int{len(c.seqs), c.op.HeadsQ, rows, 1, 1}})
}
