package dispatch

import (
	"fmt"
	"slices"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/vk"
)

// Op is what is computed, in canonical form.
func (ch *linearChoice) Op() vkattn.Op { return ch.op }

func (ch *linearChoice) summary() summary {
	return summary{op: ch.op.String(), path: ch.path, kernel: ch.key.Variant, tile: ch.tile(), refused: ch.refused, ladder: true}
}

func (ch *linearChoice) tile() string {
	if k := ch.chunk; k.Chunk > 0 {
		tile := fmt.Sprintf("%d columns of a state, chunks of %d tokens, %d invocations", k.span(), k.Chunk, k.Invocations)
		if k.matrix() {
			tile += fmt.Sprintf(", matrices of %dx%dx%d", k.M, k.N, k.N)
		}
		return tile
	}
	k := ch.key
	return fmt.Sprintf("%d columns of a state, %d per %d lanes, %d invocations", k.span(), k.Columns, k.Lanes, k.Invocations)
}

// span is the number of value columns of one workgroup.
func (ch *linearChoice) span() int {
	if ch.chunk.Chunk > 0 {
		return ch.chunk.span()
	}
	return ch.key.span()
}

func (ch *linearChoice) check(args *vkattn.Args) ([]vkattn.Sequence, error) { return ch.op.Check(args) }

func (ch *linearChoice) work(c *call) vkattn.Work { return ch.op.Work(&c.args, c.seqs) }

func (ch *linearChoice) explain(caps *vk.Caps, cfg *Config) vkattn.Explanation {
	op := &ch.op
	e := vkattn.Explanation{Op: op.String(), Backend: "vulkan on " + caps.Name, Path: ch.path, Kernel: ch.key.Variant, Tile: ch.tile(),
		Splits: 1, SharedBytes: ch.shared, Notes: ch.notes, NotTaken: slices.Concat(ch.refused, ch.notFor)}
	shape := op.StateShape(op.Batch)
	state := 4 * int64(shape[0]) * int64(shape[1]) * int64(shape[2]) * int64(shape[3])
	e.Splits = ch.parts(caps, cfg, op.Batch, op.SeqK)
	e.ScratchBytes = linearTableAt + int64(op.Batch)*linearSequenceWords*4
	if !op.Causal || !op.StateOut {
		e.ScratchBytes += state
	}
	if e.Splits > 1 {
		e.ScratchBytes += int64(e.Splits) * (state + 4*int64(shape[0])*int64(shape[1])*int64(shape[2]))
	}
	if ch.featured() {
		e.ScratchBytes += min(2*maxFeatureScratch, 4*int64(op.Batch)*int64(op.FeatureDim())*(int64(op.HeadsQ)*int64(op.SeqQ)+int64(op.HeadsK)*int64(op.SeqK)))
	}
	if op.Norm == vkattn.NormSRMS && op.TypeOut != vkattn.Float32 {
		e.ScratchBytes += 4 * int64(op.Batch) * int64(op.Heads()) * int64(op.SeqQ) * int64(op.ValueDim)
	}
	return e
}

func (ch *linearChoice) pipelineKeys() []pipelineKey {
	keys := []pipelineKey{ch.key}
	if ch.chunk.Chunk > 0 {
		keys[0] = ch.chunk
	}
	for _, s := range []struct {
		need bool
		name string
		typ  vkattn.Type
	}{{ch.featured(), linearFeatures, ch.op.TypeQ}, {ch.featured() && ch.op.TypeK != ch.op.TypeQ, linearFeatures, ch.op.TypeK}, {ch.op.Map == vkattn.MapFavor, "linear_favor", 0},
		{ch.op.Norm == vkattn.NormSRMS, linearSRMS, ch.op.TypeOut}, {ch.key.Norm != 0, "linear_entry", 0}} {
		if s.need {
			keys = append(keys, linearSimpleKey{s.name, linearLanes, s.typ})
		}
	}
	return keys
}

// Where the params blocks and the table of sequences lie in the work buffer. Uniform buffers start at multiples of
// at most 256 bytes.
const (
	linearParamBytes = (int64(linearParamSize) + 15) / 16 * 16
	linearMainAt     = 0
	linearQueriesAt  = 256
	linearKeysAt     = 512
	linearNormAt     = 768
	linearTableAt    = 1024
)

// linearCall is one call on the device.
type linearCall struct {
	r    *run
	ch   *linearChoice
	op   *vkattn.Linear
	args *vkattn.Args
	seqs []vkattn.Sequence

	q, k, v, out, decay, beta, projection view
	state                                 view // where states are carried and left
	normed                                view // where outputs go from out, with NormSRMS
	queryHeads                            int  // of q
	stateRows, featureRow, keyHeads       int

	work              *vk.Buffer // params, the table of sequences, and z at the start of a dispatch
	limit, texelLimit int64
	align             int64
	key               linearKey
	pipeline, entry   *vk.Pipeline
	entryAt           int64 // where linear_entry leaves z in the work buffer
	parts             int
	budget            float64

	queryFeatures, keyFeatures, rescale, maxima *vk.Buffer
	keyPeaks                                    *vk.Buffer
}

// run brings the tensors to the device, runs the kernels, and brings the outputs home.
func (ch *linearChoice) run(r *run, call *call) error {
	op := &ch.op
	if len(call.seqs) == 0 {
		return nil
	}
	limits := &r.be.caps.Limits
	c := &linearCall{r: r, ch: ch, op: op, args: &call.args, seqs: call.seqs, key: ch.key,
		limit: int64(min(limits.MaxStorageBufferRange, 1<<62)), align: max(16, int64(limits.MinStorageBufferOffsetAlignment)),
		stateRows: op.StateShape(1)[2], featureRow: ceilDiv(op.FeatureDim(), 4) * 4, queryHeads: op.HeadsQ, keyHeads: op.HeadsK}
	if op.Map == vkattn.MapFavor {
		c.keyHeads = op.States() // each state has a maximum of its own
	}
	if ch.chunk.Chunk == 0 && call.rowsOf(4) < 4 {
		c.key = c.key.scalar(ch.types())
	}
	c.texelLimit = c.limit
	if c.key.texels() {
		t := ch.types()
		texel := min(texelFormat(linearTexels, t.Q).Bytes(), texelFormat(linearTexels, t.K).Bytes(), texelFormat(linearTexels, t.V).Bytes())
		c.texelLimit = min(c.limit, int64(texel)*int64(limits.MaxTexelBufferElements))
		c.align = max(c.align, int64(limits.MinTexelBufferOffsetAlignment))
	}
	homes, err := c.stage(call)
	if err != nil {
		return err
	}
	var key pipelineKey = c.key
	if ch.chunk.Chunk > 0 {
		key = ch.chunk.loaded(call.rowsOf(4))
	}
	if c.pipeline, err = r.be.pipeline(key); err != nil {
		return err
	}
	if ch.key.Norm != 0 {
		if c.entry, err = r.be.pipeline(linearSimpleKey{"linear_entry", linearLanes, 0}); err != nil {
			return err
		}
	}
	_, keys := c.longest()
	c.parts = ch.parts(&r.be.caps, &r.be.config, len(c.seqs), keys)
	// As many sequences as the work buffer has room for.
	perSequence := int64(linearSequenceWords) * 4
	if ch.key.Norm != 0 {
		perSequence += 4 * int64(op.States()) * int64(c.parts) * int64(op.FeatureDim())
	}
	most := int(max(1, (c.limit/2-linearTableAt)/perSequence))
	for at := 0; at < len(call.seqs) && err == nil; at += most {
		c.seqs = call.seqs[at:min(at+most, len(call.seqs))]
		err = c.group(perSequence * int64(len(c.seqs)))
	}
	for _, home := range homes {
		if err == nil && home != nil {
			err = home()
		}
	}
	return err
}

// group runs the call for some of its sequences, whose table and entries take so many bytes.
func (c *linearCall) group(bytes int64) error {
	if bytes+linearTableAt > c.limit {
		return fmt.Errorf("dispatch: the denominators of one sequence take %d bytes, the device binds %d at once: %w", bytes, c.limit, vkattn.ErrUnsupported)
	}
	if err := c.writeWork(bytes); err != nil {
		return err
	}
	c.budget = c.r.be.budgetFLOPs()
	var err error
	if c.op.Causal {
		err = c.causal()
	} else {
		err = c.full()
	}
	if err == nil && c.op.Norm == vkattn.NormSRMS {
		norm := *c
		norm.q, norm.queryHeads, norm.out = c.out, c.op.Heads(), c.normed
		err = norm.srms()
	}
	return err
}
