package main

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/cpu"
	"github.com/vkattn/vkattn/internal/bench"
	"github.com/vkattn/vkattn/internal/tensorio"
)

// tolerance is what a row's relative L2 error and a logsumexp's error may be in float32.
const tolerance = 1e-5

// oracleBudget is the arithmetic that --check may cost when it picks the rows itself, a few seconds.
const oracleBudget = 2e9

// reference is what the float64 oracle says about some rows of a problem.
type reference struct {
	seqs  []vkattn.Sequence
	rows  []cpu.Row
	out   []float64 // [rows, ValueDim]
	lse   []float64
	floor map[[2]int]float64 // per sequence and head: what smaller rows are measured by
	total int
	dv    int

	linear *linearReference // of linear attention, which has nothing of the above
}

// newReference computes the oracle's answer to want rows of pr: 0 picks as many as are quick, negative is all.
func newReference(ctx context.Context, pr *problem, want int, show func(done, total int)) (*reference, error) {
	if pr.linear != nil {
		linear, err := newLinearReference(ctx, pr, want)
		return &reference{linear: linear}, err
	}
	if pr.choosing != nil {
		return newChoosingReference(ctx, pr, want)
	}
	_, _, args := pr.outputs()
	seqs, err := pr.op.Check(&args)
	if err != nil {
		return nil, err
	}
	op := pr.op.Canonical()
	r := &reference{seqs: seqs, dv: op.ValueDim}
	r.rows, r.total = pickRows(op, seqs, want)
	r.out, r.lse = make([]float64, len(r.rows)*r.dv), make([]float64, len(r.rows))
	var done atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	// Each part reads the keys of its heads anew: no more parts than heads.
	for _, part := range partition(r.rows, min(4*runtime.GOMAXPROCS(0), max(1, len(seqs)*op.HeadsQ))) {
		g.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			got, err := cpu.OracleRows(pr.op, &args, r.rows[part[0]:part[1]])
			if err != nil {
				return err
			}
			copy(r.out[part[0]*r.dv:], got.Out)
			copy(r.lse[part[0]:], got.LSE)
			n := done.Add(int64(part[1] - part[0]))
			if show != nil {
				show(int(n), len(r.rows))
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	r.floor = floors(r.rows, r.out, r.dv)
	return r, nil
}

// pickRows chooses rows, those of one head together. A sample has the first and the last row of every head
// where it is large enough for that.
func pickRows(op vkattn.Attention, seqs []vkattn.Sequence, want int) (rows []cpu.Row, total int) {
	var cost float64
	for i := range seqs {
		total += seqs[i].Sq * op.HeadsQ
		cost += 2 * float64(seqs[i].Sq) * float64(op.HeadsQ) * float64(seqs[i].Sk) * float64(op.HeadDim+op.ValueDim)
	}
	if want == 0 {
		want = total
		if cost > oracleBudget {
			want = max(8, int(oracleBudget/cost*float64(total)))
		}
	}
	all := want < 0 || want >= total
	share := 1.0
	if !all {
		share = float64(want) / float64(total)
	}
	r := rand.New(rand.NewPCG(1, 2))
	due := 0.0 // rows that are owed to the heads so far
	for i := range seqs {
		sq := seqs[i].Sq
		for h := range op.HeadsQ {
			if all {
				for row := range sq {
					rows = append(rows, cpu.Row{Sequence: i, Head: h, I: row})
				}
				continue
			}
			due += share * float64(sq)
			n := min(sq, int(math.Floor(due+1e-9)))
			due -= float64(n)
			chosen := map[int]bool{}
			for _, edge := range []int{sq - 1, 0} {
				if len(chosen) < n {
					chosen[edge] = true
				}
			}
			for len(chosen) < n {
				chosen[r.IntN(sq)] = true
			}
			first := len(rows)
			for row := range chosen {
				rows = append(rows, cpu.Row{Sequence: i, Head: h, I: row})
			}
			slices.SortFunc(rows[first:], func(a, b cpu.Row) int { return a.I - b.I })
		}
	}
	return rows, total
}

// partition cuts rows into at most n parts, at changes of head where there are enough of them.
func partition(rows []cpu.Row, n int) (parts [][2]int) {
	size := (len(rows) + n - 1) / n
	for lo := 0; lo < len(rows); {
		hi := min(lo+size, len(rows))
		for hi < len(rows) && hi < lo+2*size && rows[hi].Head == rows[hi-1].Head && rows[hi].Sequence == rows[hi-1].Sequence {
			hi++
		}
		parts = append(parts, [2]int{lo, hi})
		lo = hi
	}
	return parts
}

// floors is a tenth of the root mean square of the norms of each head's rows.
func floors(rows []cpu.Row, out []float64, dv int) map[[2]int]float64 {
	sum, count := map[[2]int]float64{}, map[[2]int]int{}
	for n, row := range rows {
		if s := squares(out[n*dv : (n+1)*dv]); s > 0 && !math.IsNaN(s) && !math.IsInf(s, 0) {
			sum[[2]int{row.Sequence, row.Head}] += s
			count[[2]int{row.Sequence, row.Head}]++
		}
	}
	for k, s := range sum {
		sum[k] = 0.1 * math.Sqrt(s/float64(count[k]))
	}
	return sum
}

func squares(x []float64) (s float64) {
	for _, v := range x {
		s += v * v
	}
	return s
}

// rowTolerance widens the tolerance for rows whose scores are large: float32 holds a score s to s/2^24, and the
// weights inherit that as a relative error. The logsumexp tells how large the scores that count are.
func rowTolerance(lse float64) float64 {
	if math.IsInf(lse, 0) || math.IsNaN(lse) {
		return tolerance
	}
	return tolerance * min(max(math.Abs(lse)/32, 1), 32)
}

// compare holds the outputs in args, which are in host memory, against the reference. Kernels on matrix units round weights to
// the type of the queries.
func (r *reference) compare(args *vkattn.Args, path string) *bench.Check {
	if r.linear != nil {
		return r.linear.compare(args)
	}
	c := &bench.Check{Rows: len(r.rows), Of: r.total, Allowed: tolerance, OK: true}
	out, o := args.Out.Mem.(*vkattn.Host).Float32s(), args.Out
	if o.Type != vkattn.Float32 {
		var err error
		if o, err = o.To(vkattn.Float32); err != nil {
			return &bench.Check{Allowed: tolerance, Worst: math.MaxFloat64, Where: err.Error()}
		}
		out = o.Mem.(*vkattn.Host).Float32s()
	}
	var lse []float32
	if args.LSE.Given() {
		lse = args.LSE.Mem.(*vkattn.Host).Float32s()
		c.LSE = new(float64)
	}
	for n, row := range r.rows {
		s := r.seqs[row.Sequence]
		name := func() string { return fmt.Sprintf("sequence %d, head %d, row %d", row.Sequence, row.Head, row.I) }
		at := o.Index(s.Batch, row.Head, s.Q0+row.I, 0)
		want, floor := r.out[n*r.dv:(n+1)*r.dv], r.floor[[2]int{row.Sequence, row.Head}]
		allowed := rowTolerance(r.lse[n]) + rounding(args.Out.Type, r.dv, max(math.Sqrt(squares(want)), floor))
		if vkattn.MatrixUnits(path) {
			allowed += rounding(args.Q.Type, 0, 0)
		}
		judge(c, rowError(out[at:at+r.dv], want, floor), allowed, name)
		if lse != nil {
			e := lseError(float64(lse[args.LSE.Index(s.Batch, row.Head, s.Q0+row.I, 0)]), r.lse[n])
			*c.LSE = max(*c.LSE, e)
			c.OK = c.OK && e <= tolerance
		}
	}
	return c
}

// judge counts one row's error.
func judge(c *bench.Check, e, allowed float64, name func() string) {
	if c.Where == "" || e/allowed > c.Worst/c.Allowed {
		c.Worst, c.Allowed, c.Where = e, allowed, name()
	}
	c.OK = c.OK && e <= allowed
}

// rowError is the L2 distance over the norm of want, or over floor if that is larger. Where want is NaN got
// has to be, too. JSON has no infinity: what is beyond all measure is math.MaxFloat64.
func rowError(got []float32, want []float64, floor float64) float64 {
	var distance, norm float64
	for d, w := range want {
		g := float64(got[d])
		switch {
		case math.IsNaN(w) && math.IsNaN(g):
		case g == w: // infinities too
			norm += w * w
		default:
			distance += (g - w) * (g - w)
			norm += w * w
		}
	}
	if distance == 0 {
		return 0
	}
	return finite(math.Sqrt(distance) / max(math.Sqrt(norm), floor))
}

func lseError(got, want float64) float64 {
	if got == want || math.IsNaN(got) && math.IsNaN(want) {
		return 0
	}
	return finite(math.Abs(got-want) / max(1, math.Abs(want)))
}

func finite(x float64) float64 {
	if !(x <= math.MaxFloat64) {
		return math.MaxFloat64
	}
	return x
}

// compareFile holds results against those that came with the input, in the same layout.
func compareFile(pr *problem, out, lse []float32) (*bench.Check, error) {
	op := pr.op.Canonical()
	allowed := map[tensorio.DType]float64{tensorio.F16: 2e-3, tensorio.BF16: 2e-2}[pr.wantOut.DType]
	if allowed == 0 {
		if allowed = tolerance; pr.linear != nil {
			allowed = linearTolerance
		}
	}
	allowed += rounding(op.TypeOut, 0, 0)
	if pr.wantOut.Elements() != len(out) {
		return nil, usagef("%s of %s is %v, but the problem gives %d elements; --expect none leaves it out", pr.wantOut.Name, pr.wantFrom, pr.wantOut.Shape, len(out))
	}
	want, dv := pr.wantOut.Float64s(), op.ValueDim
	rows := len(out) / max(dv, 1)
	floor := 0.1 * math.Sqrt(squares(want)/float64(max(rows, 1)))
	c := &bench.Check{Rows: rows, Of: rows, Allowed: allowed, OK: true}
	for n := range rows {
		judge(c, rowError(out[n*dv:(n+1)*dv], want[n*dv:(n+1)*dv], floor), allowed, func() string { return fmt.Sprintf("row %d of the array", n) })
	}
	if lse != nil && pr.wantLSE != nil && pr.wantLSE.Elements() == len(lse) {
		c.LSE = new(float64)
		for n, w := range pr.wantLSE.Float64s() {
			*c.LSE = max(*c.LSE, lseError(float64(lse[n]), w))
		}
		c.OK = c.OK && *c.LSE <= allowed
	}
	return c, nil
}
