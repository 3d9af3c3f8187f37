package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/internal/bench"
)

// class is a kind of problem whose time goes with its arithmetic on one device.
type class struct {
	dim, value, sharing int
	few                 bool   // rows: the cache is read for a handful of them
	kind                string // what makes linear attention and sparse patterns apart from the rest
}

func classOf(s *spec) class {
	op := s.op.Canonical()
	c := class{op.HeadDim, op.ValueDim, op.HeadsQ / max(op.HeadsK, 1), op.SeqQ < 16, s.pattern()}
	if s.linear != nil {
		l := s.linearOp()
		l.Batch, l.SeqQ, l.SeqK, l.TotalQ, l.TotalK = 1, 0, 0, 0, 0
		c.kind = l.String()
	}
	if s.choosing != nil {
		c.kind = s.choosing.over(vkattn.Attention{HeadsQ: 1, HeadDim: 1}).String()
	}
	return c
}

// rate is what a device reached on some problem of a class.
type rate struct{ flops, seconds float64 }

// steady is how long a run has to take to say something about longer ones.
const steady = 50 * time.Millisecond

// tooLong says why the job breaks --max-case on c, or is empty. The prediction takes the rate of what was measured
// before in this class, or of the same problem with fewer tokens, long enough to be steady; a problem of
// more of them is taken to run at that rate.
func (b *benchFlags) tooLong(ctx context.Context, j *job, c *contestant) string {
	if b.maxCase <= 0 || !shrinks(&j.spec) {
		return ""
	}
	kind := classOf(&j.spec)
	r, ok := c.rates[kind]
	if !ok {
		if r, ok = b.probe(ctx, j.spec, c); !ok {
			return ""
		}
		c.rates[kind] = r
	}
	one := flopsOf(&j.spec) / r.flops * r.seconds
	samples := min(float64(b.rep), max(3, b.maxTime.Seconds()/max(one, 1e-9)))
	all := one * (samples + float64(b.warmup) + 1) // and the one that is verified
	if all <= b.maxCase.Seconds() {
		return ""
	}
	return fmt.Sprintf("predicted to take %s, %s a run at the measured %s GFLOP/s; --max-case is %s", seconds(all), seconds(one),
		bench.Figure(r.flops/r.seconds/1e9), shortTime(b.maxCase))
}

// seconds writes long times in minutes and hours.
func seconds(x float64) string {
	d := time.Duration(min(x, 1e9) * 1e9)
	if d < 10*time.Minute {
		return bench.Duration(d)
	}
	return d.Round(time.Second).String()
}

// shortTime writes whole minutes and hours without their zeros.
func shortTime(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	return strings.Replace(s, "h0m", "h", 1)
}

// shrinks says whether the problem stays the same kind with fewer tokens: no list or array is as long as them.
func shrinks(s *spec) bool {
	independent := vkattn.WithGlobal | vkattn.WithSinkLogits | vkattn.WithALiBi | vkattn.WithLSE
	if p, _, _ := strings.Cut(s.blockMask, ":"); isPattern(p) && p != "documents" && p != "dense" {
		independent |= vkattn.WithBlocks
	}
	return !s.op.Packed && s.offset == nil && s.prefix == nil && s.keyLengths == nil && s.op.With&^independent == 0
}

// probe runs ever longer versions of a problem until one takes steady time.
func (b *benchFlags) probe(ctx context.Context, s spec, c *contestant) (best rate, ok bool) {
	sizes := []spec{s}
	for smaller, ok := s, true; flopsOf(&smaller) > 5e7; sizes = append(sizes, smaller) {
		if smaller, ok = smaller.halved(); !ok {
			break
		}
	}
	for i := len(sizes) - 1; i >= 0 && ctx.Err() == nil; i-- {
		took, err := b.probeOne(ctx, sizes[i], c)
		if err != nil {
			return best, false // the problem itself will say why
		}
		best, ok = rate{flopsOf(&sizes[i]), took.Seconds()}, true
		if took >= steady {
			break
		}
	}
	return best, ok && best.seconds > 0
}

// halved is the problem with half of its sequences or tokens, rows first; false where there is no half.
func (s spec) halved() (spec, bool) {
	op := &s.op
	switch {
	case op.Batch > 1:
		op.Batch = (op.Batch + 1) / 2
	case op.SeqQ >= 32:
		op.SeqQ, op.SeqK = op.SeqQ/2, op.SeqK/2
	case op.SeqK >= 2 && s.linear == nil:
		op.SeqK /= 2
	default:
		return s, false
	}
	return s, true
}

// probeOne is the shorter of two runs.
func (b *benchFlags) probeOne(ctx context.Context, s spec, c *contestant) (took time.Duration, err error) {
	pr, err := b.generate(s)
	if err != nil {
		return 0, err
	}
	defer c.release()
	if c.prepare(ctx, pr, nil, b.host); c.err != nil {
		return 0, c.err
	}
	took = c.report.WallTime
	if took > 40*steady { // else what was done once, such as compiling, is not to be taken for the rate
		return took, nil
	}
	sample, err := c.run(ctx)
	return min(took, sample.Wall), err
}

// learn keeps the rate that a measurement showed.
func (c *contestant) learn(s *spec, r *bench.Record) {
	if r.Measured() && r.Wall.Median >= steady {
		c.rates[classOf(s)] = rate{flopsOf(s), r.Wall.Median.Seconds()}
	}
}

// flopsOf is the work of a problem whose sequences are as long as its capacities. Of a sparse pattern it is that of
// all pairs in the blocks which a kernel visits.
func flopsOf(s *spec) float64 {
	op := s.op.Canonical()
	if s.linear != nil {
		l := s.linearOp()
		return l.Work(nil, slices.Repeat([]vkattn.Sequence{{Sq: op.SeqQ, Sk: op.SeqK}}, op.Batch)).FLOPs
	}
	pairs := float64(op.SeqQ) * float64(op.SeqK)
	if op.Causal {
		rows, keys := float64(op.SeqQ), float64(op.SeqK)
		pairs = rows * (keys - (rows-1)/2)
		if rows > keys {
			pairs = keys * (keys + 1) / 2
		}
	}
	if w := op.Window; w.Given() {
		wide := float64(op.SeqK)
		if w.Left.Set && (w.Right.Set || op.Causal) {
			wide = float64(max(0, w.Left.N+1+w.Right.N))
		}
		pairs = min(pairs, float64(op.SeqQ)*wide)
	}
	if isPattern(s.blockMask) {
		if m, err := s.patternMask(op.HeadsQ, op.SeqQ, op.SeqK); err == nil { // the problem itself will say what is wrong
			pairs = min(pairs, m.Density()*float64(op.SeqQ)*float64(op.SeqK))
		}
	}
	return 2 * float64(op.Batch) * float64(op.HeadsQ) * max(pairs, 1) * float64(op.HeadDim+op.ValueDim)
}

// tooLarge says why the unfused baseline cannot keep the whole score matrix of a job, or is empty.
func (a *app) tooLarge(ctx context.Context, j *job, c *contestant) string {
	if !j.Whole || c.kernel != "standard" || c.backend == nil {
		return ""
	}
	found, err := vulkanDevices(ctx)
	if err != nil {
		return ""
	}
	info := c.backend.Info()
	need := bench.ScoreMatrix(j.spec.op)
	for _, d := range found {
		if d.Caps.Name != info.Device {
			continue
		}
		var heap uint64
		for _, h := range d.Caps.Heaps {
			if h.DeviceLocal {
				heap = max(heap, h.Size)
			}
		}
		if heap > 0 && uint64(need) > heap {
			return fmt.Sprintf("needs %s for the score matrix, the device has %s", bench.Bytes(need), bench.Bytes(int64(heap)))
		}
		for _, most := range []uint64{d.Caps.Limits.MaxMemoryAllocationSize, d.Caps.Limits.MaxBufferSize} {
			if most > 0 && uint64(need) > most {
				return fmt.Sprintf("needs %s for the score matrix, the device allocates %s at once", bench.Bytes(need), bench.Bytes(int64(most)))
			}
		}
		return ""
	}
	return ""
}
