package dispatch

import (
	"fmt"
	"unsafe"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/vk"
)

const (
	ropeVariant = "rope"
	ropeLanes   = 64 // its workgroup
)

// ropeKey is everything that a rope pipeline is specialised on: layout, direction, sizes and strides are data.
type ropeKey struct {
	Invocations uint32
	Vector      bool // rows are read and written four elements at a time
	InPlace     bool // through the binding of the output
	Q, Out      vkattn.Type
}

// spec is the table of specialization ids of rope.comp; a test compares it with the SPIR-V.
func (k ropeKey) spec() []vk.SpecConstant {
	return []vk.SpecConstant{{ID: 0, Value: k.Invocations}, {ID: 1, Value: b2u(k.Vector)}, {ID: 2, Value: b2u(k.InPlace)}, {ID: 3, Value: uint32(k.Q)}, {ID: 4, Value: uint32(k.Out)}}
}

func (k ropeKey) pipelineSpec() vk.PipelineSpec {
	return vk.PipelineSpec{Name: ropeVariant, Spec: k.spec(), PushBytes: int(unsafe.Sizeof(ropeSlice{}))}
}

// ropeSlice is the push constant block of rope.comp; a test compares the two by name and offset.
type ropeSlice struct {
	Count, Units, Turned               uint32
	Pairs, Columns                     uint32
	PairStep, PairBeside               uint32
	Flip                               uint32
	RowCount, RowFirst                 uint32
	QBatch, QHead, QRow                uint32
	OutBatch, OutHead, OutRow          uint32
	CosBatch, CosRow, SinBatch, SinRow uint32
	PositionBatch                      uint32
	QBase, OutBase, CosBase, SinBase   uint32
	PositionBase                       uint32
}

// The bindings of rope.comp where they differ from attention's.
const (
	bindPositions = bindWork
	bindCos       = bindK
	bindSin       = bindV
)

// ropeChoice is the planner's decision for one rope op on one device.
type ropeChoice struct{ op vkattn.Rope } // canonical

// chooseRope is choose for Rope. There is one kernel, which needs nothing that a device may lack but what all kernels
// need.
func (p *planner) chooseRope(caps *vk.Caps, op vkattn.Rope, disabled map[string]string) (*ropeChoice, error) {
	op = op.Canonical()
	no := func(format string, args ...any) error {
		return &vkattn.UnsupportedError{Op: op.String(), Backend: "vulkan on " + caps.Name,
			Reasons: []vkattn.Refusal{{Kernel: ropeVariant, Reason: fmt.Sprintf(format, args...)}}}
	}
	if why, off := disabled[ropeVariant]; off {
		return nil, no("%s", why)
	}
	for _, t := range []struct {
		name string
		t    vkattn.Type
	}{{"q", op.TypeQ}, {"out", op.TypeOut}} {
		if t.t > vkattn.BFloat16 {
			return nil, no("%s is %s, the kernel reads and writes f32, f16 and bf16", t.name, t.t)
		}
	}
	l := &caps.Limits
	if n := l.MaxPerStageStorageBuffers; n > 0 && n < numStorage { // 0: a record does not say
		return nil, no("needs %d storage buffers in a stage, the device has %d", numStorage, n)
	}
	if n, need := l.MaxPushConstantsSize, (ropeKey{}).pipelineSpec().PushBytes; int(n) < need {
		return nil, no("needs %d bytes of push constants, the device has %d", need, n)
	}
	if n := min(l.MaxComputeWorkGroupInvocations, l.MaxComputeWorkGroupSize[0]); n < ropeLanes {
		return nil, no("needs %d invocations in a workgroup, the device has %d", ropeLanes, n)
	}
	return &ropeChoice{op}, nil
}

// Op is what is computed, in canonical form.
func (ch *ropeChoice) Op() vkattn.Op { return ch.op }

func (ch *ropeChoice) summary() summary {
	return summary{op: ch.op.String(), path: "plain", kernel: ropeVariant, tile: ch.tile()}
}

func (ch *ropeChoice) tile() string {
	pairs := "a pair"
	if ch.vector() {
		pairs = "4 pairs"
	}
	return fmt.Sprintf("%s of columns per invocation, %d invocations", pairs, ropeLanes)
}

// vector reports whether the pairs and the columns behind them come in fours and eights, so that aligned rows can be read
// four elements at a time.
func (ch *ropeChoice) vector() bool { return ch.op.RotaryDim%8 == 0 && ch.op.HeadDim%8 == 0 }

func (ch *ropeChoice) explain(caps *vk.Caps, _ *Config) vkattn.Explanation {
	op := &ch.op
	e := vkattn.Explanation{Op: op.String(), Backend: "vulkan on " + caps.Name, Path: "plain", Kernel: ropeVariant, Tile: ch.tile(), Splits: 1}
	if n, limit := uint64(op.TypeQ.Size())*uint64(op.Batch)*uint64(op.Heads)*uint64(op.Seq)*uint64(op.HeadDim), caps.Limits.MaxStorageBufferRange; n > limit {
		e.Notes = append(e.Notes, fmt.Sprintf("q takes %d bytes and the device binds %d at once: it is seen through windows", n, limit))
	}
	return e
}

// pipelineKeys are the pipelines for tensors whose rows are aligned as far as the sizes allow. Others are built when a call
// has such.
func (ch *ropeChoice) pipelineKeys() []pipelineKey {
	keys := []pipelineKey{ropeKey{ropeLanes, ch.vector(), false, ch.op.TypeQ, ch.op.TypeOut}}
	if ch.op.TypeQ == ch.op.TypeOut {
		keys = append(keys, ropeKey{ropeLanes, ch.vector(), true, ch.op.TypeQ, ch.op.TypeOut})
	}
	return keys
}

func (ch *ropeChoice) check(args *vkattn.Args) ([]vkattn.Sequence, error) {
	return nil, ch.op.Check(args)
}

func (ch *ropeChoice) work(c *call) vkattn.Work { return ch.op.Work(&c.args) }

// run brings the tensors to the device, runs the kernel, and brings the output home.
func (ch *ropeChoice) run(r *run, call *call) error {
	a := &call.args
	if a.Q.Len() == 0 {
		return nil
	}
	limits := &r.be.caps.Limits
	c := &ropeCall{r: r, op: &ch.op, positions: a.Positions, tokens: a.Q.Shape[2], limit: int64(min(limits.MaxStorageBufferRange, 1<<62)),
		align: max(16, int64(limits.MinStorageBufferOffsetAlignment)), budget: r.be.budgetFLOPs(), pairCost: ropeCost(&r.be.caps)}
	whole := ropeArea{hi: [4]int{a.Q.Shape[0], a.Q.Shape[1], a.Q.Shape[2], 1}}
	if ch.op.Positions { // of the tables only what is read
		whole.lo[axisRow], whole.hi[axisRow] = extremes(a.Positions)
	}
	c.rows = whole.n(axisRow)
	home, err := c.stage(a, whole.lo[axisRow], whole.hi[axisRow])
	if err != nil {
		return err
	}
	key := ropeKey{ropeLanes, ch.vector() && c.aligned(), c.inPlace, ch.op.TypeQ, ch.op.TypeOut}
	if c.pipeline, err = r.be.pipeline(key); err != nil {
		return err
	}
	c.units(key.Vector)
	if err := c.cut(whole); err != nil || home == nil {
		return err
	}
	return home()
}

// extremes is the half-open range of rows that positions name.
func extremes(positions []int32) (lo, hi int) {
	lo = int(positions[0])
	for _, p := range positions {
		lo, hi = min(lo, int(p)), max(hi, int(p)+1)
	}
	return lo, hi
}

// inPlace reports whether the output of a checked call is its input: else they do not overlap.
func inPlace(a *vkattn.Args) bool {
	if a.Q.Offset != a.Out.Offset {
		return false
	}
	q, qHost := a.Q.Mem.(*vkattn.Host)
	out, outHost := a.Out.Mem.(*vkattn.Host)
	if qHost && outHost {
		return unsafe.SliceData(q.Bytes()) == unsafe.SliceData(out.Bytes())
	}
	return a.Q.Mem == a.Out.Mem
}
