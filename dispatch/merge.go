package dispatch

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"unsafe"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/cpu"
	"github.com/vkattn/vkattn/vk"
)

const (
	mergeVariant    = "merge_parts"
	mergePartsLanes = 64
)

// mergePartsKey is everything that its pipeline is specialised on.
type mergePartsKey struct{ Invocations uint32 }

func (k mergePartsKey) pipelineSpec() vk.PipelineSpec {
	return vk.PipelineSpec{Name: mergeVariant, Spec: []vk.SpecConstant{{ID: 0, Value: k.Invocations}}, PushBytes: int(unsafe.Sizeof(mergeSlice{}))}
}

// mergeSlice is the push constant block of merge_parts.comp; a test compares the two by name and offset.
type mergeSlice struct {
	Count, Columns, Single                   uint32
	ABatch, AHead, ARow, BBatch, BHead, BRow uint32
	OutBatch, OutHead, OutRow                uint32
	LaBatch, LaHead, LaRow, LbBatch, LbHead  uint32
	LbRow, LseBatch, LseHead, LseRow         uint32
	ABase, BBase, OutBase, LaBase, LbBase    uint32
	LseBase                                  uint32
}

// The bindings of merge_parts.comp.
const (
	bindA  = bindQ
	bindB  = bindK
	bindLa = bindV
	bindLb = bindBias
)

// mergeChoice is the planner's decision for a Merge on one device.
type mergeChoice struct{ op vkattn.Merge }

func (p *planner) chooseMerge(caps *vk.Caps, op vkattn.Merge, disabled map[string]string) (*mergeChoice, error) {
	no := func(format string, args ...any) error {
		return &vkattn.UnsupportedError{Op: op.String(), Backend: "vulkan on " + caps.Name,
			Reasons: []vkattn.Refusal{{Kernel: mergeVariant, Reason: fmt.Sprintf(format, args...)}}}
	}
	if why, off := disabled[mergeVariant]; off {
		return nil, no("%s", why)
	}
	l := &caps.Limits
	if n := l.MaxPerStageStorageBuffers; n > 0 && n < numStorage { // 0: a record does not say
		return nil, no("needs %d storage buffers in a stage, the device has %d", numStorage, n)
	}
	if n, need := l.MaxPushConstantsSize, (mergePartsKey{}).pipelineSpec().PushBytes; int(n) < need {
		return nil, no("needs %d bytes of push constants, the device has %d", need, n)
	}
	if n := min(l.MaxComputeWorkGroupInvocations, l.MaxComputeWorkGroupSize[0]); n < mergePartsLanes {
		return nil, no("needs %d invocations in a workgroup, the device has %d", mergePartsLanes, n)
	}
	return &mergeChoice{op}, nil
}

// Op is what is computed.
func (ch *mergeChoice) Op() vkattn.Op { return ch.op }

func (ch *mergeChoice) summary() summary {
	return summary{op: ch.op.String(), path: "plain", kernel: mergeVariant, tile: fmt.Sprintf("a column per invocation, %d invocations", mergePartsLanes)}
}

func (ch *mergeChoice) explain(caps *vk.Caps, _ *Config) vkattn.Explanation {
	s := ch.summary()
	return vkattn.Explanation{Op: s.op, Backend: "vulkan on " + caps.Name, Path: s.path, Kernel: s.kernel, Tile: s.tile, Splits: 1,
		ScratchBytes: 8 * int64(ch.op.Batch) * int64(ch.op.Heads) * int64(ch.op.Seq)}
}

func (ch *mergeChoice) pipelineKeys() []pipelineKey {
	return []pipelineKey{mergePartsKey{mergePartsLanes}}
}

func (ch *mergeChoice) check(args *vkattn.Args) ([]vkattn.Sequence, error) {
	return nil, ch.op.Check(args)
}

func (ch *mergeChoice) work(c *call) vkattn.Work { return ch.op.Work(&c.args) }

func (ch *mergeChoice) rung() (variant, path, name string) {
	return mergeVariant, "plain", mergeVariant
}

// selfTest joins three parts, of which some are absent in some rows.
func (ch *mergeChoice) selfTest(ctx context.Context, b *Backend) (reason string, err error) {
	const heads, tokens, d = 3, 21, 20
	op := vkattn.Merge{Batch: 1, Heads: heads, Seq: tokens, ValueDim: d, Parts: 3, LSE: true}
	rng := rand.New(rand.NewPCG(8, 9))
	var args vkattn.Args
	args.Out = vkattn.BHSD(vkattn.Float32s(make([]float32, heads*tokens*d)), 1, heads, tokens, d)
	args.LSE = vkattn.BHSD(vkattn.Float32s(make([]float32, heads*tokens)), 1, heads, tokens, 1)
	for part := range op.Parts {
		lse := numbers(heads*tokens, rng.NormFloat64)
		for i := part; i < len(lse) && part < 2; i += part + 2 {
			lse[i] = float32(math.Inf(-1))
		}
		args.Parts = append(args.Parts, vkattn.Partial{Out: vkattn.BHSD(vkattn.Float32s(numbers(heads*tokens*d, rng.NormFloat64)), 1, heads, tokens, d),
			LSE: vkattn.BHSD(vkattn.Float32s(lse), 1, heads, tokens, 1)})
	}
	want, wantLSE := cpu.OracleMerge(op, &args)
	return b.missed(ctx, &mergeChoice{op}, args, 2e-6, known{got: args.Out.Mem.(*vkattn.Host).Float32s(), want: want}, known{got: args.LSE.Mem.(*vkattn.Host).Float32s(), want: wantLSE})
}

// mergeCall is one call on the device.
type mergeCall struct {
	r            *run
	op           *vkattn.Merge
	pipeline     *vk.Pipeline
	limit, align int64
	cost         float64 // FLOPs of a column
}

// run folds the parts into the output, one after the other.
func (ch *mergeChoice) run(r *run, call *call) error {
	a := &call.args
	if a.Out.Len() == 0 {
		return nil
	}
	limits := &r.be.caps.Limits
	c := &mergeCall{r: r, op: &ch.op, limit: int64(min(limits.MaxStorageBufferRange, 1<<62)), align: max(16, int64(limits.MinStorageBufferOffsetAlignment)),
		cost: ropeCost(&r.be.caps)}
	var err error
	if c.pipeline, err = r.be.pipeline(mergePartsKey{mergePartsLanes}); err != nil {
		return err
	}
	out, home, err := r.stageOut(a.Out, 1)
	if err != nil {
		return err
	}
	lse, lseHome, err := r.stageOut(a.LSE, 1)
	if err != nil {
		return err
	}
	before := ropeTensor{}
	for i := range max(len(a.Parts)-1, 1) {
		var t [numStorage]ropeTensor
		t[bindOut] = axes("out", out)
		if i == 0 {
			if t[bindA], t[bindLa], err = c.stage(&a.Parts[0]); err != nil {
				return err
			}
		} else {
			t[bindA], t[bindLa] = t[bindOut], before
		}
		if len(a.Parts) > 1 {
			if t[bindB], t[bindLb], err = c.stage(&a.Parts[i+1]); err != nil {
				return err
			}
		}
		if lse.given() && i == len(a.Parts)-2 || len(a.Parts) == 1 && lse.given() {
			t[bindLSE] = axes("lse", lse)
		} else {
			s := vkattn.BHSD(nil, a.Out.Shape[0], a.Out.Shape[1], a.Out.Shape[2], 1)
			buf, err := r.hold(max(16, 4*int64(s.Len())), vk.HeapDevice, "scratch")
			if err != nil {
				return err
			}
			p := pack(s, 1)
			t[bindLSE] = axes("lse", packedView(buf, s, &p))
		}
		before = t[bindLSE]
		if err := c.cut(&t, ropeArea{hi: [4]int{a.Out.Shape[0], a.Out.Shape[1], a.Out.Shape[2], 1}}); err != nil {
			return err
		}
	}
	for _, h := range []func() error{home, lseHome} {
		if err == nil && h != nil {
			err = h()
		}
	}
	return err
}

// axes is a view with its strides along the axes of an area.
func axes(name string, v view) ropeTensor { return ropeTensor{v, name, [4]int{v.sb, v.sh, v.ss, 0}} }

func (c *mergeCall) stage(p *vkattn.Partial) (out, lse ropeTensor, err error) {
	v, err := c.r.stageIn(p.Out, 1)
	if err != nil {
		return out, lse, err
	}
	l, err := c.r.stageIn(p.LSE, 1)
	return axes("a part", v), axes("a part's lse", l), err
}

// cut dispatches an area, or its halves where it is more than the device binds or a grid holds.
func (c *mergeCall) cut(t *[numStorage]ropeTensor, a ropeArea) error {
	most := &c.r.be.caps.Limits.MaxComputeWorkGroupCount
	groups := ceilDiv(a.n(axisToken)*c.op.ValueDim, mergePartsLanes)
	fits := groups <= int(min(most[0], 1<<20)) && a.n(axisHead) <= int(most[1]) && a.n(axisBatch) <= int(most[2])
	for i := range t {
		fits = fits && (!t[i].given() || t[i].window(&a, c.align).size <= c.limit)
	}
	if fits {
		return c.dispatch(t, &a, groups)
	}
	for _, axis := range []int{axisBatch, axisHead, axisToken} {
		if a.n(axis) > 1 {
			lo, hi := a, a
			middle := (a.lo[axis] + a.hi[axis]) / 2
			lo.hi[axis], hi.lo[axis] = middle, middle
			if err := c.cut(t, lo); err != nil {
				return err
			}
			return c.cut(t, hi)
		}
	}
	return fmt.Errorf("dispatch: one row of a part exceeds the %d bytes that the device binds at once: %w", c.limit, vkattn.ErrUnsupported)
}

func (c *mergeCall) dispatch(t *[numStorage]ropeTensor, a *ropeArea, groups int) error {
	s := mergeSlice{Count: uint32(a.n(axisToken) * c.op.ValueDim), Columns: uint32(c.op.ValueDim), Single: b2u(!t[bindB].given())}
	b := make([]vk.Binding, numBindings)
	for i := range b {
		b[i] = vk.Binding{Buffer: c.r.be.dummy, Range: c.r.be.dummy.Size()}
	}
	for _, x := range []struct {
		binding                int
		batch, head, row, base *uint32
	}{{bindA, &s.ABatch, &s.AHead, &s.ARow, &s.ABase}, {bindB, &s.BBatch, &s.BHead, &s.BRow, &s.BBase}, {bindOut, &s.OutBatch, &s.OutHead, &s.OutRow, &s.OutBase},
		{bindLa, &s.LaBatch, &s.LaHead, &s.LaRow, &s.LaBase}, {bindLb, &s.LbBatch, &s.LbHead, &s.LbRow, &s.LbBase},
		{bindLSE, &s.LseBatch, &s.LseHead, &s.LseRow, &s.LseBase}} {
		v := &t[x.binding]
		if !v.given() {
			continue
		}
		w := v.window(a, c.align)
		b[x.binding] = vk.Binding{Buffer: v.buf, Offset: w.off, Range: w.size}
		*x.batch, *x.head, *x.row, *x.base = uint32(v.sb), uint32(v.sh), uint32(v.ss), w.base
	}
	c.r.report.Slices++
	cost := c.cost * float64(s.Count) * float64(a.n(axisHead)) * float64(a.n(axisBatch))
	return c.r.dispatch(c.pipeline, b, bytesOf(&s), groups, a.n(axisHead), a.n(axisBatch), cost, c.r.be.budgetFLOPs())
}
