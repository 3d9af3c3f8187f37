package main

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vkattn/vkattn/dispatch"
	"github.com/vkattn/vkattn/internal/bench"
)

// printDiagnosis writes a diagnosis for people.
func (a *app) printDiagnosis(d *diagnosis) error {
	vulkan := "not compiled in"
	if d.Vulkan {
		vulkan = "compiled in, loader " + d.Loader
		if d.Loader == "" {
			vulkan = "compiled in"
		}
	}
	rows := [][]string{{"vkattn", d.Build.Version + ", " + d.Build.Go + " " + d.Build.OS + "/" + d.Build.Arch}, {"vulkan", vulkan}}
	for _, f := range d.Drivers {
		text := f.Path
		switch {
		case f.Problem != "":
			text += ": " + f.Problem
		case f.API != "":
			text += " -> " + f.Found + ", Vulkan " + f.API
		}
		rows = append(rows, []string{"driver", text})
	}
	for _, name := range slices.Sorted(maps.Keys(d.Environment)) {
		rows = append(rows, []string{"environment", name + "=" + d.Environment[name]})
	}
	cache := "none"
	if d.Cache.Dir != "" {
		cache = fmt.Sprintf("%s: %s, %s of kernels, %s", d.Cache.Dir, count(d.Cache.Verdicts, "verdict"), count(d.Cache.Pipelines, "file"), count(d.Cache.Tiles, "tuned device"))
	}
	rows = append(rows, []string{"cache", cache}, []string{"cpu", fmt.Sprintf("%s (%s), %d threads", d.CPU.Device, d.CPU.Driver, d.CPU.Threads)})
	if err := writeTable(a.out, rows); err != nil {
		return err
	}
	for i := range d.Devices {
		fmt.Fprintln(a.out)
		if err := a.printPatient(&d.Devices[i]); err != nil {
			return err
		}
	}
	st := a.style()
	if len(d.Problems)+len(d.Advice) > 0 {
		fmt.Fprintln(a.out)
	}
	for _, p := range d.Problems {
		fmt.Fprintf(a.out, "%s %s\n", st.bad("problem:"), p)
	}
	for _, p := range d.Advice {
		fmt.Fprintln(a.out, p)
	}
	return nil
}

// printPatient writes what is known of one device.
func (a *app) printPatient(p *patient) error {
	st, c := a.style(), &p.Caps
	kind := c.DeviceType
	if p.Software {
		kind = "software, runs when named"
	}
	fmt.Fprintf(a.out, "%s %s (%s)\n", st.bold(fmt.Sprintf("device %d:", p.Index)), c.Name, kind)
	l := &c.Limits
	matrix := "none"
	if n := len(c.CooperativeMatrix); n > 0 {
		s := c.CooperativeMatrix[0]
		matrix = fmt.Sprintf("%s, the first %dx%dx%d %s -> %s", count(n, "shape"), s.M, s.N, s.K, s.A, s.Result)
	} else if c.Features.CooperativeMatrix {
		matrix = "yes, shapes unknown"
	}
	if n := len(c.CooperativeMatrixFlexible); n > 0 {
		matrix += fmt.Sprintf("; cooperative matrix 2, shapes in %s of multiples", count(n, "set"))
	}
	row := deviceRow(p.Device)
	clock := "no timestamps: times are the host's"
	if l.TimestampValidBits > 0 {
		clock = fmt.Sprintf("timestamps of %g ns", l.TimestampPeriod)
	}
	rows := [][]string{
		{"  driver", fmt.Sprintf("%s %s, Vulkan %s, id %d", c.DriverName, c.DriverInfo, c.APIVersion, c.DriverID)},
		{"  memory", row[7] + ", " + bench.Bytes(int64(min(l.MaxStorageBufferRange, 1<<62))) + " in a binding, " + bench.Bytes(int64(min(l.MaxMemoryAllocationSize, 1<<62))) + " in a piece"},
		{"  workgroup", fmt.Sprintf("%d invocations, %s shared", l.MaxComputeWorkGroupInvocations, bench.Bytes(int64(l.MaxComputeSharedMemorySize)))},
		{"  subgroup", row[5] + ": " + strings.Join(c.Subgroup.Ops, ", ")},
		{"  types", row[8]},
		{"  matrix", matrix},
		{"  clock", clock},
	}
	for _, q := range p.Quirks {
		rows = append(rows, []string{"  known", q.What + ": " + q.Evidence[0]})
	}
	for _, q := range p.Queries {
		how := "made in a process of its own: safe"
		if q.Failure != "" {
			how = st.bad(q.Failure) + ", never made from now on (" + q.File + ")"
		}
		rows = append(rows, []string{"  query", q.Call + " " + how})
	}
	if p.Error != "" {
		rows = append(rows, []string{"  tests", st.bad(p.Error)})
	}
	if err := writeTable(a.out, rows); err != nil {
		return err
	}
	for _, ladder := range p.Ladders {
		if err := a.printLadder(ladder); err != nil {
			return err
		}
	}
	return nil
}

// printLadder writes the kernels for one kind of work, best first.
func (a *app) printLadder(l dispatch.Ladder) error {
	st := a.style()
	fmt.Fprintf(a.out, "  %s\n", st.bold(l.Name))
	var rows [][]string
	serves := false
	for _, s := range l.Steps {
		why := s.Reason
		state := string(s.State)
		switch {
		case s.Serves():
			why = "known answer given"
			if s.Reason != "" {
				why += ", " + s.Reason
			} else if s.Cached {
				why += " before"
			}
			if state = "ready"; !serves {
				state = "serves"
			}
			serves = true
			if s.File != "" {
				why += " (" + filepath.Base(s.File) + ")"
			}
		case s.State == dispatch.StepFailed, s.State == dispatch.StepCrashed:
			state = strings.ToUpper(state)
		}
		rows = append(rows, []string{"    " + s.Kernel, s.Rung, state, why})
	}
	state := "ready"
	if !serves {
		state = "serves"
	}
	rows = append(rows, []string{"    cpu", "", state, "always there: --device cpu"})
	return writeTable(a.out, rows)
}
