package cpu

import (
	"context"
	"fmt"
	"math"

	"github.com/vkattn/vkattn"
)

// mergeName is what reports call the kernel of Merge.
const mergeName = "merge-cpu"

// merging is the operation of vkattn.Merge.
type merging struct{ op vkattn.Merge }

func (merging) kernel() string            { return mergeName }
func (merging) tile(kernel) string        { return "a row, go" }
func (merging) scratchBytes(kernel) int64 { return 0 }
func (merging) note(workers int) string   { return fmt.Sprintf("%d workers", workers) }

func (m merging) bind(args vkattn.Args) (job, error) {
	if err := m.op.Check(&args); err != nil {
		return nil, err
	}
	j := &mergeJob{op: m.op, args: args, outs: make([][]float32, len(args.Parts)), lses: make([][]float32, len(args.Parts))}
	all := []argument{{"Out", args.Out, &j.out, nil}, {"LSE", args.LSE, &j.lse, nil}}
	for i, p := range args.Parts {
		all = append(all, argument{fmt.Sprintf("Parts[%d].Out", i), p.Out, &j.outs[i], nil}, argument{fmt.Sprintf("Parts[%d].LSE", i), p.LSE, &j.lses[i], nil})
	}
	return j, resolve(all)
}

// mergeJob is one recorded call of Merge.
type mergeJob struct {
	op         vkattn.Merge
	args       vkattn.Args
	out, lse   []float32
	outs, lses [][]float32
}

func (j *mergeJob) work() vkattn.Work { return j.op.Work(&j.args) }

func (j *mergeJob) run(ctx context.Context, b *Backend) (splits int, err error) {
	batch, seq := j.args.Out.Shape[0], j.args.Out.Shape[2]
	return 1, b.spread(batch*j.op.Heads, func(_ *worker, unit int) error {
		sum := make([]float64, j.op.ValueDim)
		for s := range seq {
			j.row(sum, unit/j.op.Heads, unit%j.op.Heads, s)
		}
		return ctx.Err()
	})
}

// row joins the parts of a row.
func (j *mergeJob) row(sum []float64, b, h, s int) {
	top := math.Inf(-1)
	for i, p := range j.args.Parts {
		if l := float64(j.lses[i][p.LSE.Index(b, h, s, 0)]); l > top {
			top = l
		}
	}
	clear(sum)
	weights := 0.0
	for i, p := range j.args.Parts {
		l := float64(j.lses[i][p.LSE.Index(b, h, s, 0)])
		if math.IsInf(l, -1) {
			continue
		}
		w := math.Exp(l - top)
		weights += w
		for d, x := range j.outs[i][p.Out.Index(b, h, s, 0):][:len(sum)] {
			sum[d] += w * float64(x)
		}
	}
	if weights == 0 {
		weights = 1 // nothing was seen
	}
	out := j.out[j.args.Out.Index(b, h, s, 0):][:len(sum)]
	for d, x := range sum {
		out[d] = float32(x / weights)
	}
	if j.op.LSE {
		j.lse[j.args.LSE.Index(b, h, s, 0)] = float32(top + math.Log(weights))
	}
}
