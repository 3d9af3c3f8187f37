package dispatch

import (
	"errors"
	"fmt"
	"slices"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/vk"
)

// stagingBytes is the most that one staging buffer holds: larger tensors go in several rounds.
const stagingBytes = 64 << 20

// call is one recorded call.
type call struct {
	plan *Plan
	args vkattn.Args
	seqs []vkattn.Sequence
	// share is about what is left of the key tiles by a choice that lies on the device, at most 1; 0: all. It keeps what the
	// call costs, and what the backend learns from it, near the truth.
	share float64
	// cached says where the keys and values lie, if they are those of a cache: args.K and args.V are its pool then.
	cached *cached
	more   []*memory // that the call uses beside its tensors
	// leaves: LSE is [B, heads, Sq, 2] and gets the maximum and sum of the rows. joins and joinsOut are those of such a call
	// of the same rows and its Out, in float32, which these rows take in.
	leaves          bool
	joins, joinsOut vkattn.Tensor
}

type namedTensor struct {
	name string
	t    *vkattn.Tensor
}

func (c *call) tensors() []namedTensor {
	a := &c.args
	all := []namedTensor{{"Q", &a.Q}, {"K", &a.K}, {"V", &a.V}, {"Out", &a.Out}, {"LSE", &a.LSE}, {"Bias", &a.Bias},
		{"Mask", &a.Mask}, {"Tree", &a.Tree}, {"Slopes", &a.Slopes}, {"SinkLogits", &a.SinkLogits}, {"Relative", &a.Relative},
		{"Decay", &a.Decay}, {"Beta", &a.Beta}, {"Projection", &a.Projection}, {"StateIn", &a.StateIn}, {"StateOut", &a.StateOut},
		{"Cos", &a.Cos}, {"Sin", &a.Sin}, {"Gates", &a.Gates},
		{"DescaleQ", &a.DescaleQ}, {"DescaleK", &a.DescaleK}, {"DescaleV", &a.DescaleV}}
	for i := range a.Parts {
		all = append(all, namedTensor{fmt.Sprintf("Parts[%d].Out", i), &a.Parts[i].Out}, namedTensor{fmt.Sprintf("Parts[%d].LSE", i), &a.Parts[i].LSE})
	}
	return all
}

// written is the part of an output that the sequences cover: packed tensors may have tokens behind them.
func (c *call) written(t vkattn.Tensor) vkattn.Tensor {
	if n := len(c.seqs); t.Given() && c.args.CuSeqQ != nil && n > 0 {
		return t.Slice(2, 0, c.seqs[n-1].Q0+c.seqs[n-1].Sq)
	}
	return t
}

func isHost(t vkattn.Tensor) bool { _, ok := t.Mem.(*vkattn.Host); return ok }

// vectorRows decides whether rows of D and of Dv can be read four at a time: rows that we pack
// ourselves always can, those that lie on the device if sizes, strides and offset allow.
func (c *call) vectorRows() bool {
	for _, t := range []vkattn.Tensor{c.args.Q, c.args.K, c.args.V, c.args.Out} {
		if isHost(t) {
			continue
		}
		if t.Shape[3]%4 != 0 || t.Offset%4 != 0 || t.Stride[0]%4 != 0 || t.Stride[1]%4 != 0 || t.Stride[2]%4 != 0 {
			return false
		}
	}
	return true
}

func deviceView(t vkattn.Tensor) view {
	m := t.Mem.(*memory)
	v := view{buf: m.buf, room: m.buf.Size(), typ: t.Type, off: t.Offset, sb: t.Stride[0], sh: t.Stride[1], ss: t.Stride[2], sj: t.Stride[3], n: t.Shape[3]}
	for i, s := range []*int{&v.sb, &v.sh, &v.ss, &v.sj} {
		if t.Shape[i] == 1 {
			*s = 0
		}
	}
	return v
}

func packedView(buf *vk.Buffer, t vkattn.Tensor, p *packing) view {
	return view{buf: buf, room: buf.Size(), typ: t.Type, sb: p.stride[0], sh: p.stride[1], ss: p.stride[2], sj: p.stride[3], n: p.row}
}

// stageIn brings a tensor to the device, if it is not there already.
func (r *run) stageIn(t vkattn.Tensor, pad int) (view, error) {
	if !t.Given() {
		return view{}, nil
	}
	if !isHost(t) {
		return deviceView(t), nil
	}
	p := pack(t, pad)
	buf, err := r.hold(max(16, int64(t.Type.Bytes(p.len))), vk.HeapDevice, "input")
	if err != nil {
		return view{}, err
	}
	r.report.CopyBytes += int64(t.Type.Bytes(p.len))
	return packedView(buf, t, &p), r.upload(buf, t, &p)
}

// upload packs a host tensor into a device buffer.
func (r *run) upload(buf *vk.Buffer, t vkattn.Tensor, p *packing) error {
	size := int64(t.Type.Bytes(p.len))
	if size == 0 {
		return nil
	}
	if dst := buf.Bytes(); dst != nil {
		packHost(dst[:size], t, p)
		return buf.Flush(0, size)
	}
	if size <= stagingBytes {
		staging, err := r.hold(size, vk.HeapUpload, "staging")
		if err != nil {
			return err
		}
		packHost(staging.Bytes()[:size], t, p)
		return r.copyBuffer(staging, buf, 0, size)
	}
	// Rounds of whole rows through one staging buffer.
	bytes, row := t.Type.Bytes, int64(t.Type.Bytes(p.row))
	room := max(stagingBytes, row)
	staging, err := r.hold(room, vk.HeapUpload, "staging")
	if err != nil {
		return err
	}
	src, dst, n := t.Mem.(*vkattn.Host).Bytes(), staging.Bytes(), p.rowElements(t)
	var start, fill int64 // of the round, in bytes of the packed form
	send := func() error {
		if fill == 0 {
			return nil
		}
		if err := r.copyBuffer(staging, buf, start, fill); err != nil {
			return err
		}
		start, fill = start+fill, 0
		return r.drain() // the staging buffer is used again
	}
	err = p.eachRow(t, func(at, packed int) error {
		if fill+row > room {
			if err := send(); err != nil {
				return err
			}
		}
		if fill == 0 {
			start = int64(bytes(packed))
		}
		k := copy(dst[fill:fill+row], src[bytes(at):bytes(at+n)])
		clear(dst[fill+int64(k) : fill+row])
		fill += row
		return nil
	})
	if err != nil {
		return err
	}
	return send()
}

// copyBuffer records a copy of size bytes from the start of src to off in dst.
func (r *run) copyBuffer(src, dst *vk.Buffer, off, size int64) error {
	if err := src.Flush(0, size); err != nil {
		return err
	}
	c, err := r.open()
	if err != nil {
		return err
	}
	if err := c.Copy(src, dst, []vk.Region{{Src: 0, Dst: off, Size: size}}); err != nil {
		return err
	}
	c.Barrier(vk.BarrierAll)
	return nil
}

// copyRegions records copies between two buffers, and what follows sees them.
func (r *run) copyRegions(src, dst *vk.Buffer, regions []vk.Region) error {
	if len(regions) == 0 {
		return nil
	}
	c, err := r.open()
	if err != nil {
		return err
	}
	for some := range slices.Chunk(regions, 4096) {
		if err := c.Copy(src, dst, some); err != nil {
			return err
		}
	}
	c.Barrier(vk.BarrierAll)
	return nil
}

// stageOut gives a place on the device for an output, and what brings it home afterwards (nil when it
// is there already).
func (r *run) stageOut(t vkattn.Tensor, pad int) (view, func() error, error) {
	if !t.Given() {
		return view{}, nil, nil
	}
	if !isHost(t) {
		return deviceView(t), nil, nil
	}
	p := pack(t, pad)
	size := int64(t.Type.Bytes(p.len))
	buf, err := r.hold(max(16, size), vk.HeapDevice, "output")
	if err != nil {
		return view{}, nil, err
	}
	r.report.CopyBytes += size
	return packedView(buf, t, &p), func() error { return r.download(t, &p, buf) }, nil
}

// download waits for the work so far and writes a packed device buffer to host memory.
func (r *run) download(t vkattn.Tensor, p *packing, buf *vk.Buffer) error {
	size := int64(t.Type.Bytes(p.len))
	if size == 0 {
		return nil
	}
	if err := r.drain(); err != nil {
		return err
	}
	if src := buf.Bytes(); src != nil {
		if err := buf.Invalidate(0, size); err != nil {
			return err
		}
		unpackHost(t, src[:size], p)
		return nil
	}
	bytes, row := t.Type.Bytes, int64(t.Type.Bytes(p.row))
	chunk := max(min(size, stagingBytes/row*row), row)
	staging, err := r.hold(chunk, vk.HeapReadback, "staging")
	if err != nil {
		return err
	}
	var have int64 // bytes of the packed form in the staging buffer, from start
	start := int64(-1)
	n := p.rowElements(t)
	dst := t.Mem.(*vkattn.Host).Bytes()
	return p.eachRow(t, func(at, packed int) error {
		from := int64(bytes(packed))
		if start < 0 || from < start || from+row > start+have {
			start, have = from, min(chunk, size-from)
			c, err := r.open()
			if err != nil {
				return err
			}
			if err := c.Copy(buf, staging, []vk.Region{{Src: start, Dst: 0, Size: have}}); err != nil {
				return err
			}
			c.Barrier(vk.TransferToHost)
			if err := r.drain(); err != nil {
				return err
			}
			if err := staging.Invalidate(0, have); err != nil {
				return err
			}
		}
		copy(dst[bytes(at):bytes(at+n)], staging.Bytes()[from-start:])
		return nil
	})
}

// hostCopy is a tensor's content in host memory, read back if need be.
func (r *run) hostCopy(t vkattn.Tensor) (vkattn.Tensor, error) {
	if isHost(t) {
		return t, nil
	}
	lo, hi, ok := t.Extent()
	if !ok || lo >= hi {
		return t, nil
	}
	size := t.Type.Size()
	flat := vkattn.Tensor{Type: t.Type, Shape: [4]int{1, 1, 1, hi}, Stride: [4]int{hi, hi, hi, 1}, Mem: vkattn.Bytes(alignedBytes(hi * size))}
	m := t.Mem.(*memory)
	p := pack(flat, 1)
	if err := r.download(flat, &p, m.buf); err != nil {
		return t, err
	}
	t.Mem = flat.Mem
	return t, nil
}

// alignedBytes is n bytes that float32 values fit in.
func alignedBytes(n int) []byte {
	return vkattn.Float32s(make([]float32, ceilDiv(max(n, 1), 4))).Bytes()[:n]
}

// perHead reads slopes, sink logits or biases by distance.
func (r *run) perHead(t vkattn.Tensor) (perHead, error) {
	if !t.Given() {
		return perHead{}, nil
	}
	t, err := r.hostCopy(t)
	if err != nil {
		return perHead{}, err
	}
	v := perHead{}
	batch := t.Shape[0]
	if t.Stride[0] == 0 || batch == 1 {
		batch = 1
	} else {
		v.batchStride = t.Shape[1] * t.Shape[3]
	}
	data := t.Mem.(*vkattn.Host).Float32s()
	for b := range batch {
		for h := range t.Shape[1] {
			v.values = append(v.values, data[t.HeadIndex(b, h):][:t.Shape[3]]...)
		}
	}
	return v, nil
}

// boolMask is the boolean mask of a call: the mask, the tree, or both of them ANDed on the host. A byte of it is for
// that many keys, of the mask alone for block of them.
func (r *run) boolMask(a *vkattn.Args, block int) (t vkattn.Tensor, keys int, err error) {
	switch {
	case !a.Tree.Given():
		return a.Mask, block, nil
	case !a.Mask.Given():
		return a.Tree.Broadcast(a.Tree.Shape[0], a.Q.Shape[1], a.Tree.Shape[2], a.Tree.Shape[3]), 1, nil
	}
	mask, err := r.hostCopy(a.Mask)
	if err != nil {
		return mask, 1, err
	}
	tree, err := r.hostCopy(a.Tree)
	if err != nil {
		return tree, 1, err
	}
	block = max(block, 1)
	shape := mask.Shape
	shape[3] = tree.Shape[3]
	for i := range shape { // keep what both broadcast
		if mask.Stride[i] == 0 && (tree.Stride[i] == 0 || tree.Shape[i] == 1) {
			shape[i] = min(shape[i], 1)
		}
	}
	both := vkattn.BHSD(nil, shape[0], shape[1], shape[2], shape[3]).As(vkattn.Bool)
	out := alignedBytes(both.Len())
	m, tr := mask.Mem.(*vkattn.Host).Bytes(), tree.Mem.(*vkattn.Host).Bytes()
	n := 0
	for b := range shape[0] {
		for h := range shape[1] {
			for i := range shape[2] {
				for j := range shape[3] {
					if m[mask.Index(b, h, i, j/block)] != 0 && tr[tree.Index(b, min(h, tree.Shape[1]-1), i, j)] != 0 {
						out[n] = 1
					}
					n++
				}
			}
		}
	}
	both.Mem = vkattn.Bytes(out)
	return both.Broadcast(mask.Shape[0], mask.Shape[1], mask.Shape[2], tree.Shape[3]), 1, nil
}

// copy moves a tensor between host and device or inside the device.
func (r *run) copy(dst, src vkattn.Tensor) error {
	d, dstDevice := dst.Mem.(*memory)
	s, srcDevice := src.Mem.(*memory)
	for _, m := range []*memory{d, s} {
		if m == nil {
			continue
		}
		if err := m.acquire(); err != nil {
			return err
		}
		r.memories = append(r.memories, m)
	}
	if dstDevice && srcDevice {
		return r.copyRows(s.buf, src, d.buf, dst)
	}
	if dstDevice {
		p := pack(src, 1)
		from, err := r.hold(max(16, int64(src.Type.Bytes(p.len))), vk.HeapUpload, "staging")
		if err != nil {
			return err
		}
		packHost(from.Bytes()[:src.Type.Bytes(p.len)], src, &p)
		if err := from.Flush(0, from.Size()); err != nil {
			return err
		}
		src.Offset, src.Stride = 0, p.stride
		return r.copyRows(from, src, d.buf, dst)
	}
	p := pack(dst, 1)
	size := int64(dst.Type.Bytes(p.len))
	to, err := r.hold(max(16, size), vk.HeapReadback, "staging")
	if err != nil {
		return err
	}
	packed := dst
	packed.Offset, packed.Stride = 0, p.stride
	if err := r.copyRows(s.buf, src, to, packed); err != nil {
		return err
	}
	if err := r.drain(); err != nil {
		return err
	}
	if err := to.Invalidate(0, size); err != nil {
		return err
	}
	unpackHost(dst, to.Bytes()[:size], &p)
	return nil
}

// copyRows copies every row between two buffers, joining rows that follow each other on both sides.
func (r *run) copyRows(from *vk.Buffer, src vkattn.Tensor, to *vk.Buffer, dst vkattn.Tensor) error {
	if src.Stride[3] == 0 && src.Shape[3] > 1 {
		return &vkattn.ArgError{Arg: "src", Reason: "broadcasts its last axis, which a device copy cannot"}
	}
	c, err := r.open()
	if err != nil {
		return err
	}
	bytes := func(n int) int64 { return int64(src.Type.Bytes(n)) }
	var regions []vk.Region
	flush := func() error {
		if len(regions) == 0 {
			return nil
		}
		err := c.Copy(from, to, regions)
		regions = regions[:0]
		if errors.Is(err, vk.ErrInvalid) {
			return &vkattn.ArgError{Arg: "dst", Reason: "overlaps src"}
		}
		return err
	}
	for b := range src.Shape[0] {
		for h := range src.Shape[1] {
			for i := range src.Shape[2] {
				n := src.Shape[3]
				g := vk.Region{Src: bytes(src.Index(b, h, i, 0)), Dst: bytes(dst.Index(b, h, i, 0)), Size: bytes(n)}
				if k := len(regions) - 1; k >= 0 && regions[k].Src+regions[k].Size == g.Src && regions[k].Dst+regions[k].Size == g.Dst {
					regions[k].Size += g.Size
					continue
				}
				if regions = append(regions, g); len(regions) == 4096 {
					if err := flush(); err != nil {
						return err
					}
				}
			}
		}
	}
	if err := flush(); err != nil {
		return err
	}
	c.Barrier(vk.BarrierAll)
	return nil
}
