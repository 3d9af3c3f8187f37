package dispatch

import (
	"context"
	"fmt"
	"math/bits"
	"slices"
	"sync"

	"github.com/vkattn/vkattn"
)

// KVDecoder runs steps that differ in their lengths and page tables alone, through many layers in one submission, without recording them
// again: lengths and tables lie in buffers that the host writes before it submits the same commands once more. The commands
// are recorded for sequences an eighth longer than they are, and anew when one has grown beyond that.
//
// Who makes one closes it before its cache and its backend. It is safe for concurrent use; steps run one after the other.
type KVDecoder struct {
	cache  *KVCache
	layers []vkattn.CacheArgs
	note   string // for reports

	mu        sync.Mutex
	recording *recording
	capacity  int   // tokens that it is recorded for
	counts    []int // new tokens of each sequence
	places    []int // first rows of the sequences, without pages
	runs      [][]bankRun
	banks     []int // of the new tokens
	recorded  int   // times
	memories  []*memory
	closed    bool
}

// NewDecoder makes a decoder of steps through the layers from 0 on, one for each of args, whose tensors are in device memory (Slopes and
// SinkLogits may be in the host's). Cascades are not taken, and the reports say so. Each step has as many tokens as the tensors have.
func (c *KVCache) NewDecoder(args []vkattn.CacheArgs) (*KVDecoder, error) {
	if len(args) == 0 || len(args) > c.spec.Layers {
		return nil, &vkattn.ShapeError{Arg: "args", Axis: "length", Got: len(args), Want: fmt.Sprintf("1 to %d, the layers of the cache", c.spec.Layers)}
	}
	d := &KVDecoder{cache: c, layers: slices.Clone(args)}
	for i := range d.layers {
		a := &d.layers[i]
		if a.Cascade {
			a.Cascade, d.note = false, "cascade not taken: what is shared is not known when a step is recorded"
		}
		for _, t := range []namedTensor{{"Q", &a.Q}, {"K", &a.K}, {"V", &a.V}, {"Out", &a.Out}, {"LSE", &a.LSE}} {
			if !t.t.Given() {
				continue
			}
			m, ok := t.t.Mem.(*memory)
			if !ok || m.be != c.be {
				return nil, &vkattn.ArgError{Arg: fmt.Sprintf("args[%d].%s", i, t.name), Reason: "is not in memory of this device: what is recorded once finds its data where it was"}
			}
			d.memories = append(d.memories, m)
		}
	}
	d.memories = append(d.memories, c.memories...)
	for i, m := range d.memories {
		if err := m.acquire(); err != nil {
			for _, held := range d.memories[:i] {
				held.release()
			}
			return nil, err
		}
	}
	return d, nil
}

// Recorded is how many times the commands were recorded.
func (d *KVDecoder) Recorded() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.recorded
}

// Run runs a step of the decoder's cache through all of its layers and waits for it. Trees of drafts are refused: their masks
// differ from step to step.
func (d *KVDecoder) Run(ctx context.Context, step vkattn.CacheStep) (vkattn.Report, error) {
	s, ok := step.(*kvStep)
	if !ok || s.cache != d.cache {
		return vkattn.Report{}, &vkattn.ArgError{Arg: "Step", Reason: "is of another cache"}
	}
	if s.Tree {
		return vkattn.Report{}, &vkattn.ArgError{Arg: "Step", Reason: "has a tree of drafts"}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return vkattn.Report{}, vkattn.ErrClosed
	}
	if _, err := locked(d.cache, func() (int, error) { return 0, d.cache.book.Current(s.Step) }); err != nil {
		return vkattn.Report{}, err
	}
	if !d.serves(s) {
		if err := d.record(ctx, s); err != nil {
			return vkattn.Report{}, err
		}
	}
	r, err := d.recording.run(ctx, func() error { return d.patch(s) })
	r.Work = vkattn.Work{Exact: true}
	for i := range d.layers {
		if d.layers[i].Q.Given() {
			r.Work = addWork(r.Work, d.cache.spec.Op.Work(&vkattn.Args{}, s.seqs, false), false)
		}
	}
	return r, err
}

// serves reports whether what is recorded does for a step.
func (d *KVDecoder) serves(s *kvStep) bool {
	if d.recording == nil || len(s.Parts) != len(d.counts) {
		return false
	}
	for i := range s.Parts {
		if s.Parts[i].N != d.counts[i] || s.Parts[i].Len > d.capacity || s.seqs[i].K0 != d.places[i] {
			return false
		}
	}
	return sameRuns(d.runs, s.cached.runs) && slices.Equal(d.banks, s.tokenBanks())
}

// tokenBanks are those that the new tokens lie in, if there are several.
func (s *kvStep) tokenBanks() (at []int) {
	if c := s.cache; c.page > 0 && c.count() > 1 {
		for i := 1; i < len(s.entries); i += 2 {
			at = append(at, c.bankOf(int(s.entries[i])))
		}
	}
	return at
}

// roomFor is how long sequences may become that are n tokens long now.
func roomFor(n, most int) int {
	grain := max(256, 1<<bits.Len(uint(n))/16)
	return min(ceilDiv(n+1, grain)*grain, most)
}

// record records a step for sequences that grow.
func (d *KVDecoder) record(ctx context.Context, s *kvStep) error {
	if d.recording != nil {
		d.recording.close()
		d.recording = nil
	}
	c := d.cache
	longest := 0
	d.counts, d.places = nil, nil
	for i := range s.Parts {
		longest = max(longest, s.Parts[i].Len)
		d.counts, d.places = append(d.counts, s.Parts[i].N), append(d.places, s.seqs[i].K0)
	}
	d.runs, d.banks = s.cached.runs, s.tokenBanks()
	d.capacity = roomFor(longest, c.spec.Op.SeqK)
	wide := *s
	wide.recorded, wide.cached, wide.seqs = true, c.newCached(), slices.Clone(s.seqs)
	wide.cached.capacity = d.capacity
	if c.page > 0 {
		wide.cached.stride = ceilDiv(d.capacity, c.page)
	}
	for i := range wide.seqs {
		q := &wide.seqs[i]
		q.Sk = d.capacity
		q.Off, q.Rel = q.Sk-q.Sq, q.Sk-q.Sq
		wide.cached.add(s.Parts[i].Pages, nil)
	}
	k, err := c.be.record(ctx, func(r *run) error {
		r.note(d.note)
		for layer := range d.layers {
			call, err := locked(c, func() (*call, error) {
				if err := c.spec.CheckStep(layer, s.Step.Tokens, &d.layers[layer]); err != nil {
					return nil, err
				}
				return wide.newCall(layer, d.layers[layer])
			})
			if err != nil {
				return err
			}
			if err := r.call(call); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	d.recording, d.recorded = k, d.recorded+1
	return nil
}

// patch writes the lengths and tables of a step to where the commands read them.
func (d *KVDecoder) patch(s *kvStep) error {
	for i := range d.recording.works {
		w := &d.recording.works[i]
		words := w.section.words
		if p := &w.section.params; p.Sequences == 0 { // an append
			copy(words, s.entries)
		} else {
			for n := range int(p.Sequences) {
				at := words[int(p.SequenceList)+n*sequenceWords:][:sequenceWords]
				i := at[0] // in the step: a section may begin with a later one
				copy(at, appendSequence(nil, &s.seqs[i], int(at[sequenceWords-1])))
				if d.cache.page > 0 {
					table := words[p.PageList+i*p.PageStride:][:p.PageStride]
					d.cache.appendTable(table[:0], s.Parts[i].Pages)
				}
			}
		}
		content := wordBytes(words)
		copy(w.buf.Bytes(), content)
		if err := w.buf.Flush(0, int64(len(content))); err != nil {
			return err
		}
	}
	return nil
}

// Close gives back what the decoder keeps. It is idempotent.
func (d *KVDecoder) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil
	}
	d.closed = true
	if d.recording != nil {
		d.recording.close()
	}
	for _, m := range d.memories {
		m.release()
	}
	return nil
}
