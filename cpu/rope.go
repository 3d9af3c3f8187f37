package cpu

import (
	"context"
	"fmt"

	"github.com/vkattn/vkattn"
)

// ropeName is what reports call the kernel of Rope.
const ropeName = "rope-cpu"

// ropeElements is about how many elements a worker rotates before it looks for the next piece.
const ropeElements = 1 << 16

// rope is the operation of vkattn.Rope.
type rope struct{ op vkattn.Rope } // canonical

func (r rope) rows() int { return max(1, ropeElements/r.op.HeadDim) }

func (rope) kernel() string            { return ropeName }
func (r rope) tile(kernel) string      { return fmt.Sprintf("%d rows, go", r.rows()) }
func (rope) scratchBytes(kernel) int64 { return 0 }
func (rope) note(workers int) string   { return fmt.Sprintf("%d workers", workers) }

func (r rope) bind(args vkattn.Args) (job, error) {
	if err := r.op.Check(&args); err != nil {
		return nil, err
	}
	t := &rotation{rope: r, args: args, sign: 1}
	if r.op.Inverse {
		t.sign = -1
	}
	return t, resolve([]argument{{"Q", args.Q, &t.q, nil}, {"Out", args.Out, &t.out, nil}, {"Cos", args.Cos, &t.cos, nil}, {"Sin", args.Sin, &t.sin, nil}})
}

// rotation is one recorded call of Rope.
type rotation struct {
	rope
	args             vkattn.Args
	q, out, cos, sin []float32
	sign             float64 // of the angle
}

func (t *rotation) work() vkattn.Work { return t.op.Work(&t.args) }

func (t *rotation) run(ctx context.Context, b *Backend) (splits int, err error) {
	heads, tokens := t.op.Heads, t.args.Q.Shape[2]
	total, step := t.args.Q.Shape[0]*heads*tokens, t.rows()
	return 1, b.spread((total+step-1)/step, func(_ *worker, unit int) error {
		for n := unit * step; n < min((unit+1)*step, total); n++ {
			t.row(n/tokens/heads, n/tokens%heads, n%tokens)
		}
		return ctx.Err()
	})
}

// row rotates one row. A product of two float32 numbers is exact in float64, so each result is rounded
// correctly but for a tie, whether or not the compiler fuses the sum.
func (t *rotation) row(b, h, s int) {
	pairs := t.op.RotaryDim / 2
	q, out := t.q[t.args.Q.Index(b, h, s, 0):], t.out[t.args.Out.Index(b, h, s, 0):]
	copy(out[2*pairs:t.op.HeadDim], q[2*pairs:t.op.HeadDim])
	at := t.tableRow(b, s)
	c := t.cos[t.args.Cos.Index(min(b, t.args.Cos.Shape[0]-1), 0, at, 0):][:pairs]
	z := t.sin[t.args.Sin.Index(min(b, t.args.Sin.Shape[0]-1), 0, at, 0):][:pairs]
	step, beside := 1, pairs // RopeHalf
	if t.op.Layout == vkattn.RopeInterleaved {
		step, beside = 2, 1
	}
	for i := range pairs {
		cos, sin := float64(c[i]), t.sign*float64(z[i])
		x, y := float64(q[i*step]), float64(q[i*step+beside])
		out[i*step], out[i*step+beside] = float32(x*cos-y*sin), float32(y*cos+x*sin)
	}
}

// tableRow is the row of the tables that token s of sequence b reads.
func (t *rotation) tableRow(b, s int) int {
	positions, tokens := t.args.Positions, t.args.Q.Shape[2]
	switch {
	case !t.op.Positions:
		return s
	case len(positions) == tokens:
		return int(positions[s])
	}
	return int(positions[b*tokens+s])
}
