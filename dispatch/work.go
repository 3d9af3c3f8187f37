package dispatch

import (
	"fmt"
	"math"
	"sync"
	"weak"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/vk"
)

// section is the content of one work buffer: the params, and behind them the lists for flat row tiles [tile, end).
type section struct {
	tile, end int
	params    params
	words     []uint32
	masked    *filled // nil: no block mask
}

// sections makes the work buffers of a call, one after the other: usually one is all, more are needed where
// the lists (sequences, block lists) exceed what a binding shows.
type sections struct {
	*layout
	params        params // but for the lists
	slopes, sinks perHead
	relative      perHead
	descale       [3]perHead // of q, k and v
	mask          *cutMask   // nil: no block mask
}

// perHead is [B or 1, Hq] numbers, or rows of numbers.
type perHead struct {
	values      []float32
	batchStride int // of the numbers of a sequence, or 0 when the batch shares it
}

// next makes the section that starts at flat row tile a: as many row tiles as find room in a binding
// beside so many further bytes.
func (s *sections) next(a int, further int64) (section, error) {
	sec := section{tile: a, end: a, params: s.params}
	p := &sec.params
	sec.words = make([]uint32, paramWords, paramWords+sequenceWords) // all that a call of one sequence takes
	p.GlobalList = uint32(len(sec.words))
	room := int((s.limit - further - 256) / 4)
	if s.op.With.Has(vkattn.WithGlobal) {
		for _, g := range s.seqs[0].Global {
			// Positions far outside cannot be met by a key, but may be by a row.
			if local := int(g) - s.seqs[0].KBase; local > -reach && local < 2*reach-1 {
				sec.words = append(sec.words, uint32(int32(local)))
				p.GlobalCount++
			}
		}
	}
	vectors := []struct {
		perHead
		list, batch *uint32
		words       []uint32
	}{{s.slopes, &p.SlopeList, &p.SlopeBatch, nil}, {s.sinks, &p.SinkList, &p.SinkBatch, nil},
		{s.relative, &p.RelativeList, &p.RelativeBatch, nil},
		{s.descale[0], &p.DescaleQList, &p.DescaleQBatch, nil}, {s.descale[1], &p.DescaleKList, &p.DescaleKBatch, nil},
		{s.descale[2], &p.DescaleVList, &p.DescaleVBatch, nil}}
	used := len(sec.words)
	perSequence := sequenceWords + s.cached.words()
	for i := range vectors {
		v := &vectors[i]
		if *v.batch = uint32(v.batchStride); v.batchStride == 0 {
			v.words = appendFloats(v.words, v.values)
			used += len(v.words)
		}
		perSequence += v.batchStride
	}
	used += s.cached.commonWords()
	f := s.fill(a, room-used, perSequence)
	sec.end = f.end
	var one [sequenceWords]uint32
	table := one[:0] // of sequences
	seq0, _, _ := s.locate(a)
	for i := seq0; i < seq0+f.sequences; i++ {
		table = appendSequence(table, &s.seqs[i], s.first[i]/s.heads)
		for k := range vectors {
			v := &vectors[k]
			n := v.batchStride
			v.words = appendFloats(v.words, v.values[i*n:(i+1)*n])
		}
		p.Sequences++
		p.RowTiles = uint32(s.first[i+1] / s.heads)
	}
	if sec.end == a {
		return sec, fmt.Errorf("dispatch: the lists of a single row tile (sequence, global tokens, block mask) exceed the %d bytes that the device binds at once: %w", s.limit, vkattn.ErrUnsupported)
	}
	add := func(words []uint32) uint32 {
		at := uint32(len(sec.words))
		sec.words = append(sec.words, words...)
		return at
	}
	p.SequenceList = add(table)
	for i := range vectors {
		v := &vectors[i]
		*v.list = add(v.words) - uint32(seq0*v.batchStride)
	}
	s.cached.append(&sec, seq0, f.sequences)
	if s.mask != nil {
		p.BlockList = uint32(len(sec.words)) - 2*uint32(a)
		sec.words = f.blocks.appendTo(sec.words)
		sec.masked = f
	}
	copy(wordBytes(sec.words), bytesOf(p))
	return sec, nil
}

// addItems appends the lists of an even call, if there is room.
func (s *section) addItems(p *evenPlan, limit int64) bool {
	if 4*int64(len(s.words)+len(p.words))+256 > limit {
		return false
	}
	s.params.ItemList = uint32(len(s.words))
	s.params.JoinedList = s.params.ItemList + uint32(itemWords*len(p.costs))
	s.words = append(s.words, p.words...)
	copy(wordBytes(s.words), bytesOf(&s.params))
	return true
}

// filled is how far the lists of a section reach: so many sequences, from that of its first row tile on, and row tiles
// up to end, whose block lists are blocks.
type filled struct {
	sequences, end int
	blocks         tiledBlocks

	evenOnce sync.Once
	even     *evenPlan // if these are all row tiles
}

// fill finds room for as many row tiles from a on as take at most room words: perSequence for each sequence, and the
// block lists, which an earlier call with the same mask may have left. What it returns is not to be changed.
func (s *sections) fill(a, room, perSequence int) *filled {
	if s.mask == nil {
		return s.cutLists(a, room, perSequence)
	}
	key := blockKey{weak.Make(s.mask.BlockMask), s.mask.sq, s.mask.sk, s.geometry, a, room, perSequence}
	f := s.mask.cache.find(key)
	if f == nil {
		f = s.cutLists(a, room, perSequence)
		s.mask.cache.keep(key, f)
	}
	return f
}

// cutLists is fill without a memory.
func (s *sections) cutLists(a, room, perSequence int) *filled {
	f := &filled{end: a}
	var c *blockCutter
	if s.mask != nil {
		c = newBlockCutter(s.mask.BlockMask, s.mask.sq, s.mask.sk, s.tileRows)
	}
	seq0, _, _ := s.locate(a)
	for i := seq0; i < len(s.seqs); i++ {
		if room -= perSequence; f.blocks.words() > room {
			break
		}
		from, end := max(a, s.first[i]), s.first[i+1]
		if c != nil {
			end = s.addBlocks(c, &f.blocks, from, end, room)
		}
		if end == from && from < s.first[i+1] {
			break
		}
		f.sequences++
		if f.end = end; end < s.first[i+1] {
			break
		}
	}
	f.blocks.lists, f.blocks.places = nil, nil // of use only while lists are added
	return f
}

// addBlocks adds the block lists of flat row tiles [from, end) as long as all of them take at most room
// words, and returns the end of those that it has added.
func (s *sections) addBlocks(c *blockCutter, t *tiledBlocks, from, end, room int) int {
	for flat := from; flat < end; flat++ {
		seq, head, tile := s.locate(flat)
		before := *t
		if c.add(t, s.seqs[seq].Index, head, tile); t.words() > room {
			*t = before
			return flat
		}
	}
	return end
}

func appendFloats(w []uint32, values []float32) []uint32 {
	for _, x := range values {
		w = append(w, math.Float32bits(x))
	}
	return w
}

// appendSequence adds the entry of a sequence that shaders/lib/sequence.glsl reads; tiles counts the row tiles
// of one head before it.
func appendSequence(w []uint32, s *vkattn.Sequence, tiles int) []uint32 {
	phase := 0
	if s.Chunk > 0 {
		phase = ((s.KBase % s.Chunk) + s.Chunk) % s.Chunk
	}
	return append(w, uint32(s.Index), uint32(s.Batch), uint32(s.Q0), uint32(s.K0), uint32(s.Sq), uint32(s.Sk),
		uint32(int32(clamp(s.Rel, -reach, reach))), uint32(int32(clamp(s.Prefix-s.KBase, -1, reach))), uint32(phase), uint32(tiles))
}

// mostUpload is the largest scratch buffer that is taken from memory for uploads, where that lies in the device: to write there at once
// saves a copy, and what waits for it, which is most of what a short call takes.
const mostUpload = 16 << 20

// work writes a section to the start of a new scratch buffer of that many further bytes, and returns it with
// the offset of those bytes.
func (r *run) work(s *section, further int64) (*vk.Buffer, int64, error) {
	content := wordBytes(s.words)
	used := (int64(len(content)) + 255) / 256 * 256
	heap := vk.HeapDevice
	if used+further <= mostUpload && r.be.dev.UploadInDevice() {
		heap = vk.HeapUpload
	}
	buf, err := r.hold(used+further, heap, "scratch")
	if err != nil {
		return nil, 0, err
	}
	if dst := buf.Bytes(); dst != nil {
		copy(dst, content)
		r.keep.wrote(s, buf)
		return buf, used, buf.Flush(0, used)
	}
	staging, err := r.hold(used, vk.HeapUpload, "staging")
	if err != nil {
		return nil, 0, err
	}
	copy(staging.Bytes(), content)
	r.keep.wrote(s, staging)
	return buf, used, r.copyBuffer(staging, buf, 0, int64(len(content)))
}
