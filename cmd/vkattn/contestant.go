package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/internal/bench"
)

// contestant is one device with one kernel.
type contestant struct {
	name    string
	kernel  string         // asked for; "" is the planner's choice
	backend vkattn.Backend // nil when absent
	absent  string         // why this contestant cannot run anything
	roofs   *vkattn.Roofs  // of the device; nil when they were not measured
	rates   map[class]rate

	plan   vkattn.Plan
	args   vkattn.Args
	owned  []vkattn.Tensor // of the device
	check  *bench.Check
	report vkattn.Report
	err    error
	cut    string // why it does not run the problem at hand
}

// contestants opens every device with every kernel. The CPU has one kernel.
func (a *app) contestants(ctx context.Context, b *benchFlags) (field []*contestant, err error) {
	names, err := a.targets(ctx, b.device)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		for i, kernel := range b.kernels() {
			c := &contestant{name: name, kernel: kernel, rates: map[class]rate{}}
			if strings.EqualFold(name, "cpu") && i > 0 {
				if kernel == "standard" {
					c.name, c.absent = name+"/"+kernel, "the CPU backend has no unfused kernel"
					field = append(field, c)
				}
				continue
			}
			d := b.deviceFlags
			d.kernel = kernel
			if c.backend, err = d.open(ctx, name); err != nil {
				return field, err
			}
			if kernel != "" && c.backend.Info().Backend != "cpu" {
				c.name += "/" + kernel
			}
			field = append(field, c)
		}
	}
	return field, nil
}

// measureRoofs measures each device once.
func (a *app) measureRoofs(ctx context.Context, field []*contestant, bar *progress) error {
	for i, c := range field {
		if c.backend == nil {
			continue
		}
		same := slices.IndexFunc(field[:i], func(x *contestant) bool { return x.backend != nil && x.backend.Info() == c.backend.Info() })
		if same >= 0 {
			c.roofs = field[same].roofs
			continue
		}
		m, ok := c.backend.(vkattn.RoofMeasurer)
		if !ok {
			continue
		}
		bar.show("measuring the roofs of %s", c.name)
		roofs, err := m.Roofs(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			bar.clear()
			a.note("the roofs of %s: %s", c.name, plainMessage(err))
			continue
		}
		c.roofs = &roofs
	}
	return nil
}

// prepare plans, moves the tensors to the device and runs once, to be checked. c.err says what failed.
func (c *contestant) prepare(ctx context.Context, pr *problem, ref *reference, host bool) {
	c.reset()
	if c.plan, c.err = c.backend.Plan(ctx, pr.problemOp()); c.err != nil {
		return
	}
	_, _, args := pr.outputs()
	c.args = args
	if !host {
		if c.err = c.upload(ctx, &c.args); c.err != nil {
			return
		}
	}
	if c.report, c.err = c.plan.Run(ctx, c.args); c.err != nil || ref == nil {
		return
	}
	if !host {
		if c.err = c.backend.Copy(ctx, args.Out, c.args.Out); c.err != nil {
			return
		}
		for _, t := range [][2]vkattn.Tensor{{args.LSE, c.args.LSE}, {args.StateOut, c.args.StateOut}} {
			if t[0].Given() {
				if c.err = c.backend.Copy(ctx, t[0], t[1]); c.err != nil {
					return
				}
			}
		}
	}
	if c.check = ref.compare(&args, c.report.Path); !c.check.OK {
		c.err = &mismatchError{fmt.Errorf("wrong results, worst row %s (allowed %s) at %s", bench.Figure(c.check.Worst), bench.Figure(c.check.Allowed), c.check.Where)}
	}
}

// reset forgets the problem before.
func (c *contestant) reset() {
	c.plan, c.owned, c.check, c.report, c.err = nil, nil, nil, vkattn.Report{}, nil
}

// upload moves every tensor of args into the device's memory. Broadcast axes stay broadcast, and values that
// are part of the keys stay part of them.
func (c *contestant) upload(ctx context.Context, args *vkattn.Args) error {
	keys := args.K
	for _, t := range []*vkattn.Tensor{&args.Q, &args.K, &args.V, &args.Out, &args.LSE, &args.Bias, &args.Mask, &args.Tree, &args.Slopes, &args.SinkLogits, &args.Relative,
		&args.DescaleQ, &args.DescaleK, &args.DescaleV,
		&args.Decay, &args.Beta, &args.Projection, &args.StateIn, &args.StateOut, &args.Gates} {
		if !t.Given() {
			continue
		}
		if t == &args.V && t.Mem == keys.Mem {
			args.V = args.K.Slice(3, 0, t.Shape[3])
			continue
		}
		base := *t
		for axis := range 3 {
			if base.Stride[axis] == 0 && base.Shape[axis] > 1 {
				base.Shape[axis] = 1
			}
		}
		there, err := c.backend.NewTensor(t.Type, base.Shape)
		if err != nil {
			return err
		}
		c.owned = append(c.owned, there)
		if err := c.backend.Copy(ctx, there, base); err != nil {
			return err
		}
		*t = there.Broadcast(t.Shape[0], t.Shape[1], t.Shape[2], t.Shape[3])
	}
	return nil
}

func (c *contestant) run(ctx context.Context) (bench.Sample, error) {
	report, err := c.plan.Run(ctx, c.args)
	if err != nil {
		return bench.Sample{}, err
	}
	c.report = report
	return bench.Sample{Device: report.DeviceTime, Wall: report.WallTime}, nil
}

// release gives back what prepare took.
func (c *contestant) release() {
	for _, t := range c.owned {
		t.Mem.Close()
	}
	if c.plan != nil {
		c.plan.Close()
	}
	c.plan, c.owned = nil, nil
}
