package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/cpu"
	"github.com/vkattn/vkattn/dispatch"
	"github.com/vkattn/vkattn/internal/caps"
)

// planFlags is the command line of plan.
type planFlags struct {
	problemFlags
	deviceFlags
	caps string
	json bool
}

func newPlan(a *app) *cobra.Command {
	var p planFlags
	cmd := &cobra.Command{
		Use:     "plan",
		Aliases: []string{"explain"},
		Short:   "Say what would run and why, for this device or any recorded one",
		Long: `plan says which kernel would run, with which tile, memory and splits, and why the others would not. Nothing runs.
With --caps it plans for a device that is not here: a recorded one (--caps list lists them), or any machine's
'vkattn devices --json'.`,
		Example: `  vkattn plan --preset llama3.1-8b --seqlen 8k --device cpu
  vkattn plan --caps list
  vkattn plan --preset deepseek-v3-mla --caps v3d-raspberry-pi-5
  vkattn plan --headdim 576-512 --heads 16 --heads-kv 1 --caps h100 --json`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case p.preset == "list":
				return listPresets(a)
			case p.caps == "list":
				return listCaps(a)
			}
			return a.plan(cmd.Context(), &p)
		},
	}
	p.problemFlags.register(cmd, true, false)
	p.deviceFlags.register(cmd, "auto", false)
	group(cmd, "Results", func(f *pflag.FlagSet) {
		f.StringVar(&p.caps, "caps", "", "plan for this `DEVICE`: a recorded name, a file, or list")
		f.BoolVar(&p.json, "json", false, "print JSON")
	})
	return cmd
}

// planned is one device's plan.
type planned struct {
	Device string              `json:"device"`
	Source string              `json:"source,omitempty"` // of recorded capabilities
	Plan   *vkattn.Explanation `json:"plan,omitempty"`
	Error  string              `json:"error,omitempty"`

	err error
}

func (a *app) plan(ctx context.Context, p *planFlags) error {
	op, canonical, err := p.op()
	if err != nil {
		return err
	}
	_, linear := op.(vkattn.Linear)
	if err := p.fits(linear); err != nil {
		return err
	}
	var plans []planned
	if p.caps != "" {
		if p.given("device") {
			return usagef("--caps plans for a device that is not here: leave out --device, or --caps")
		}
		plans, err = p.recorded(op)
	} else {
		plans, err = a.local(ctx, p, op)
	}
	if err != nil {
		return err
	}
	var first error
	for i := range plans {
		if e := plans[i].err; e != nil {
			plans[i].Error = plainMessage(e)
			if first == nil {
				first = e
			}
		}
	}
	if p.json {
		e := json.NewEncoder(a.out)
		e.SetIndent("", "  ")
		if err := e.Encode(struct {
			Schema  int       `json:"schema"`
			Problem string    `json:"problem"`
			Op      any       `json:"op"`
			Plans   []planned `json:"plans"`
		}{1, op.String(), canonical, plans}); err != nil {
			return err
		}
		return first
	}
	for i, one := range plans {
		if i > 0 {
			fmt.Fprintln(a.out)
		}
		if one.Plan == nil {
			continue
		}
		if err := a.explain(*one.Plan, one.Device, one.Source); err != nil {
			return err
		}
	}
	return first
}

// op is the problem's op. Files are read for their shapes.
func (p *planFlags) op() (op vkattn.Op, canonical any, err error) {
	if p.in != "" || p.q != "" {
		pr, err := p.build()
		if err != nil {
			return nil, nil, err
		}
		return pr.problemOp(), pr.canonical(), nil
	}
	specs, err := p.specs(false)
	if err != nil {
		return nil, nil, err
	}
	pr := problem{op: specs[0].op, choosing: specs[0].choosing}
	if specs[0].linear != nil {
		l := specs[0].linearOp()
		pr.linear = &l
	}
	return pr.problemOp(), pr.canonical(), pr.problemOp().Validate()
}

// assumedStorageBuffers is what a stage may bind where a record does not say: every desktop and mobile GPU on
// record has more than the kernels need.
const assumedStorageBuffers = 64

// recorded plans for the devices of --caps.
func (p *planFlags) recorded(op vkattn.Op) ([]planned, error) {
	records, err := caps.Read(p.caps)
	if errors.Is(err, fs.ErrNotExist) {
		var r caps.Record
		if r, err = caps.Load(p.caps); err == nil {
			records = []caps.Record{r}
		}
	}
	if err != nil {
		return nil, usagef("--caps: %w", err)
	}
	config, err := p.config("")
	if err != nil {
		return nil, err
	}
	var plans []planned
	for _, r := range records {
		one := planned{Device: r.Caps.Name + ", " + r.Caps.DriverName + " " + r.Caps.DriverInfo, Source: r.Source}
		// Published reports lack this one; a zero would refuse every kernel.
		unknown := r.Caps.Limits.MaxPerStageStorageBuffers == 0
		if unknown {
			r.Caps.Limits.MaxPerStageStorageBuffers = assumedStorageBuffers
		}
		if e, err := dispatch.PlanFor(r.Caps, op, config); err != nil {
			one.err = err
		} else {
			if unknown {
				e.Notes = append(e.Notes, "the record does not say how many storage buffers a shader may bind: taken as enough")
			}
			one.Plan = &e
		}
		plans = append(plans, one)
	}
	return plans, nil
}

// local plans for devices of this machine.
func (a *app) local(ctx context.Context, p *planFlags, op vkattn.Op) ([]planned, error) {
	names, err := a.targets(ctx, p.device)
	if err != nil {
		return nil, err
	}
	found, err := vulkanDevices(ctx)
	if err != nil {
		return nil, err
	}
	var plans []planned
	for _, name := range names {
		d, onCPU, err := match(found, name)
		if err != nil {
			return nil, err
		}
		config, err := p.config(name)
		if err != nil {
			return nil, err
		}
		one := planned{Device: "the CPU"}
		if onCPU {
			if name == "auto" {
				one.Device = "the CPU, as there is no real GPU"
			}
			one.Plan, one.err = planCPU(ctx, op)
		} else {
			one.Device = d.Caps.Name + ", " + d.Caps.DriverName + " " + d.Caps.DriverInfo
			e, err := dispatch.PlanFor(d.Caps, op, config)
			if one.err = err; err == nil {
				one.Plan = &e
			}
		}
		plans = append(plans, one)
	}
	return plans, nil
}

func planCPU(ctx context.Context, op vkattn.Op) (*vkattn.Explanation, error) {
	b := cpu.New(cpu.Config{})
	defer b.Close()
	plan, err := b.Plan(ctx, op)
	if err != nil {
		return nil, err
	}
	defer plan.Close()
	e := plan.Explain()
	return &e, nil
}

// match finds the device that a spelling means, as opening it would.
func match(found []dispatch.Device, name string) (d dispatch.Device, onCPU bool, err error) {
	if strings.EqualFold(name, "cpu") {
		return d, true, nil
	}
	i, err := dispatch.Select(found, name)
	switch {
	case err == nil:
		return found[i], false, nil
	case name == "auto":
		return d, true, nil
	}
	return d, false, err
}

// listCaps prints the embedded records.
func listCaps(a *app) error {
	all, err := caps.All()
	if err != nil {
		return err
	}
	rows := [][]string{{"RECORD", "DEVICE", "DRIVER", "SYSTEM", "SOURCE"}}
	for _, r := range all {
		rows = append(rows, []string{r.Name, r.Caps.Name, r.Caps.DriverName + " " + r.Caps.DriverInfo, r.System, r.Source})
	}
	return writeTable(a.out, rows)
}
