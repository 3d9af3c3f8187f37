package dispatch

import (
	"fmt"
	"unsafe"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/internal/sparse"
	"github.com/vkattn/vkattn/vk"
)

// choiceBytes is about the memory that a call takes for what its rows choose: more rows go one part after the other.
const choiceBytes = 64 << 20

// choiceRows is how many rows go at once, of each of which so many bytes are kept. Parts begin at multiples of 256 rows, so
// that the tiles of a large call are those of a small one.
func choiceRows(rows int, rowBytes float64) int {
	n := max(1, int(min(choiceBytes/max(rowBytes, 1), 1<<30)))
	if n > 256 {
		n = n / 256 * 256
	}
	return min(rows, n)
}

// needsChooser says why a device cannot run the kernels of select_*.comp, or "".
func needsChooser(caps *vk.Caps) string {
	l := &caps.Limits
	if n, need := int(l.MaxPushConstantsSize), int(unsafe.Sizeof(scoresSlice{})); n < need {
		return fmt.Sprintf("needs %d bytes of push constants, the device has %d", need, n)
	}
	if n := min(l.MaxComputeWorkGroupInvocations, l.MaxComputeWorkGroupSize[0]); n < selectLanes {
		return fmt.Sprintf("needs %d invocations in a workgroup, the device has %d", selectLanes, n)
	}
	return ""
}

// chosenTypes says why the kernels of select_*.comp cannot run op, or "".
func chosenTypes(op vkattn.Attention) string {
	for i, t := range typesOf(op).all() {
		if t > vkattn.BFloat16 {
			return fmt.Sprintf("%s is %s, the kernels that choose read f32, f16 and bf16", typeNames[i], t)
		}
	}
	return ""
}

// mobaChoice is the planner's decision for one MoBA on one device.
type mobaChoice struct {
	op    vkattn.MoBA // canonical
	inner *choice     // attention over what the rows chose, or over all
	own   []pipelineKey
}

// chooseMoBA is choose for MoBA.
func (p *planner) chooseMoBA(caps *vk.Caps, op vkattn.MoBA, kernel string, disabled map[string]string) (*mobaChoice, error) {
	op = op.Canonical()
	inner := op.Attention
	if !op.All() {
		inner = sparse.Chosen(op)
		if why := needsChooser(caps); why != "" {
			return nil, &vkattn.UnsupportedError{Op: op.String(), Backend: "vulkan on " + caps.Name, Reasons: []vkattn.Refusal{{Kernel: selectScores, Reason: why}}}
		}
	}
	if why := chosenTypes(inner); why != "" {
		return nil, &vkattn.UnsupportedError{Op: op.String(), Backend: "vulkan on " + caps.Name, Reasons: []vkattn.Refusal{{Kernel: selectPool, Reason: why}}}
	}
	c, err := p.choose(caps, inner, kernel, disabled)
	if err != nil {
		return nil, err
	}
	return &mobaChoice{op, c, []pipelineKey{selectKeyOf(caps, selectPool, inner.TypeK), selectKeyOf(caps, selectScores, inner.TypeQ), selectKeyOf(caps, selectTop, 0)}}, nil
}

// Op is what is computed, in canonical form.
func (ch *mobaChoice) Op() vkattn.Op { return ch.op }

func (ch *mobaChoice) summary() summary {
	s := ch.inner.summary()
	s.op = ch.op.String()
	return s
}

func (ch *mobaChoice) explain(caps *vk.Caps, cfg *Config) vkattn.Explanation {
	e := ch.inner.explain(caps, cfg)
	e.Op = ch.op.String()
	if ch.op.All() {
		e.Notes = append(e.Notes, "rows see all blocks: causal attention")
		return e
	}
	a := &ch.op.Attention
	rows := choiceRows(a.SeqQ, ch.rowBytes(a.Batch, a.SeqK))
	e.ScratchBytes += int64(float64(rows)*ch.rowBytes(a.Batch, a.SeqK)) + 4*int64(a.Batch)*int64(a.HeadsK)*int64(ceilDiv(a.SeqK, ch.op.Block))*int64(a.HeadDim)
	e.Notes = append(e.Notes, fmt.Sprintf("rows choose %d of %d blocks by their mean keys; tiles of keys that no row of a tile chose are skipped", ch.op.TopK, ceilDiv(a.SeqK, ch.op.Block)))
	return e
}

// rowBytes is what a row of all heads and sequences keeps: scores, their order, and a mask.
func (ch *mobaChoice) rowBytes(batch, keys int) float64 {
	return 9 * float64(batch) * float64(ch.op.Attention.HeadsQ) * float64(ceilDiv(keys, ch.op.Block))
}

func (ch *mobaChoice) pipelineKeys() []pipelineKey {
	if ch.op.All() {
		return ch.inner.pipelineKeys()
	}
	return append(ch.inner.pipelineKeys(), ch.own...)
}

func (ch *mobaChoice) check(args *vkattn.Args) ([]vkattn.Sequence, error) {
	seqs, err := ch.op.Check(args)
	if err == nil && ch.op.Attention.With.Has(vkattn.WithALiBi) {
		err = nearEnough(seqs)
	}
	return seqs, err
}

func (ch *mobaChoice) work(c *call) vkattn.Work { return ch.op.Work(&c.args, c.seqs) }

func (ch *mobaChoice) run(r *run, c *call) error {
	a, op := &c.args, &ch.op.Attention
	sq, sk := a.Q.Shape[2], a.K.Shape[2]
	if ch.op.All() || a.Q.Len() == 0 || sk == 0 {
		if ch.op.All() || a.Q.Len() == 0 {
			return ch.inner.run(r, c)
		}
		// Without keys there is nothing to choose from: any mask does.
		none := *c
		none.args.Mask = vkattn.BHSD(vkattn.Bytes(nil), a.Q.Shape[0], op.HeadsQ, sq, 0).As(vkattn.Bool)
		return ch.inner.run(r, &none)
	}
	st, err := r.stageChooser(c, op)
	if err != nil {
		return err
	}
	blocks := ceilDiv(sk, ch.op.Block)
	means, err := st.pool("k", st.k, op.HeadsK, op.HeadDim, blocks, ch.op.Block, ch.op.Block, false)
	if err != nil {
		return err
	}
	batch := a.Q.Shape[0]
	step := choiceRows(sq, ch.rowBytes(batch, sk))
	scores, err := st.scratch(batch, op.HeadsQ, step, blocks)
	if err != nil {
		return err
	}
	words, err := st.scratch(batch, op.HeadsQ, step, ceilDiv(blocks, 4))
	if err != nil {
		return err
	}
	for lo := 0; lo < sq; lo += step {
		rows := min(step, sq-lo)
		if err := st.scores(st.q, means, scores, nil, lo, rows, blocks, ch.op.Block, ch.op.Block); err != nil {
			return err
		}
		if err := st.top(scores, words, op.HeadsQ, lo, rows, blocks, ch.op.Block, ch.op.TopK, 0, 0); err != nil {
			return err
		}
		part := &call{plan: c.plan, share: chosenShare(ch.inner, ch.op.TopK, ch.op.Block, sk)}
		part.args, part.seqs = sparse.Rows(st.args, c.seqs, lo, lo+rows)
		part.args.Mask = maskOf(st.asTensor(words, vkattn.Float32, batch, op.HeadsQ, rows), blocks)
		if err := ch.inner.run(r, part); err != nil {
			return err
		}
	}
	return st.home()
}

// chosenShare is about the share of causal attention's key tiles that a tile of rows visits when each of them chose top
// blocks for itself: at most all of theirs together.
func chosenShare(c *choice, top, block, keys int) float64 {
	if c.standard {
		return 1
	}
	return min(1, 2*float64(c.tileRows())*float64(top)*float64(block+keyTile)/float64(max(keys, 1)))
}

// maskOf is a tensor of words as bytes, one for each block.
func maskOf(t vkattn.Tensor, blocks int) vkattn.Tensor {
	t.Type, t.Shape[3], t.Offset = vkattn.Bool, blocks, 4*t.Offset
	for i := range 3 {
		t.Stride[i] *= 4
	}
	return t
}

// staged is a call whose rows choose, with its tensors on the device.
type staged struct {
	chooser
	resident
}

// stageChooser brings the tensors of a call to the device once, for all kernels that read them.
func (r *run) stageChooser(c *call, op *vkattn.Attention) (*staged, error) {
	res, err := r.reside(c)
	if err != nil {
		return nil, err
	}
	res.args.Gates = vkattn.Tensor{}
	s := &staged{chooser{r: r, op: op, seqs: c.seqs}, *res}
	return s, s.writeList()
}

// resident is the tensors of a call on the device.
type resident struct {
	q, k, v, out view
	args         vkattn.Args // of attention: the same tensors, rows padded if they were on the host
	homes        []func() error
}

// reside brings the tensors of a call to the device once, for all calls that it consists of.
func (r *run) reside(c *call) (*resident, error) {
	s := &resident{args: c.args}
	pad := c.rowsOf(4)
	var err error
	for _, t := range []struct {
		v  *view
		in *vkattn.Tensor
	}{{&s.q, &s.args.Q}, {&s.k, &s.args.K}, {&s.v, &s.args.V}} {
		if *t.v, err = r.stageIn(*t.in, pad); err != nil {
			return nil, err
		}
		*t.in = r.asTensor(*t.v, t.in.Type, t.in.Shape[0], t.in.Shape[1], t.in.Shape[2])
	}
	var lse view
	for _, t := range []struct {
		v   *view
		out *vkattn.Tensor
		pad int
	}{{&s.out, &s.args.Out, pad}, {&lse, &s.args.LSE, 1}} {
		if !t.out.Given() {
			continue
		}
		v, home, err := r.stageOut(*t.out, t.pad)
		if err != nil {
			return nil, err
		}
		if home != nil {
			s.homes = append(s.homes, home)
		}
		*t.v, *t.out = v, r.asTensor(v, t.out.Type, t.out.Shape[0], t.out.Shape[1], t.out.Shape[2])
	}
	return s, nil
}

// home brings the outputs home.
func (s *resident) home() error {
	for _, h := range s.homes {
		if err := h(); err != nil {
			return err
		}
	}
	return nil
}
