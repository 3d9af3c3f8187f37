package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/cpu"
	"github.com/vkattn/vkattn/dispatch"
	"github.com/vkattn/vkattn/internal/bench"
)

func newDevices(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "devices",
		Short: "List what there is to run on, and what each device can do",
		Long: `List what there is to run on, and what each device can do. TYPES are those that a device does arithmetic in: tensors may be of
every type on all of them. MATRIX says whether Vulkan shows matrix units of it.`,
		Aliases: []string{"list-devices"},
		Example: `  vkattn devices
  vkattn devices --json > here.json     # 'vkattn plan --caps here.json' reads it, on any machine`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.devices(cmd.Context(), asJSON) },
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print everything, as JSON")
	return cmd
}

// cpuEntry is the CPU in the list of devices.
type cpuEntry struct {
	Index   string `json:"index"` // "cpu"
	Device  string `json:"device"`
	Driver  string `json:"driver"`
	Threads int    `json:"threads"`
}

func (a *app) devices(ctx context.Context, asJSON bool) error {
	found, err := dispatch.Devices(ctx, dispatch.Config{})
	missing := ""
	if errors.Is(err, dispatch.ErrNoDevice) {
		missing, err = plainMessage(err), nil
	}
	if err != nil {
		return err
	}
	b := cpu.New(cpu.Config{})
	info := b.Info()
	b.Close()
	self := cpuEntry{"cpu", info.Device, info.Driver, runtime.GOMAXPROCS(0)}
	auto := "cpu"
	for _, d := range found {
		if !d.Software {
			auto = "gpu"
		}
	}
	if asJSON {
		list := []any{}
		for _, d := range found {
			list = append(list, d)
		}
		e := json.NewEncoder(a.out)
		e.SetIndent("", "  ")
		return e.Encode(struct {
			Schema  int    `json:"schema"`
			Devices []any  `json:"devices"`
			Auto    string `json:"auto"`
			Missing string `json:"missing,omitempty"`
		}{1, append(list, self), auto, missing})
	}
	rows := [][]string{{"INDEX", "DEVICE", "TYPE", "DRIVER", "API", "SUBGROUP", "SHARED", "MEMORY", "TYPES", "MATRIX"}}
	for _, d := range found {
		rows = append(rows, deviceRow(d))
	}
	rows = append(rows, []string{"cpu", info.Device, "cpu", fmt.Sprintf("%s, %d threads", info.Driver, self.Threads), "", "", "", "", "f32", ""})
	if err := writeTable(a.out, rows); err != nil {
		return err
	}
	switch {
	case auto == "gpu":
		fmt.Fprintln(a.out, "\n--device auto takes the GPU.")
	case len(found) > 0:
		fmt.Fprintln(a.out, "\n--device auto takes the CPU: there is no real GPU, and a software driver runs only when it is named.")
	default:
		fmt.Fprintln(a.out, "\n--device auto takes the CPU.")
		if missing != "" {
			a.note("%s", missing)
		}
		a.note("%s", noDriverHint())
	}
	return nil
}

func deviceRow(d dispatch.Device) []string {
	c := d.Caps
	kind := c.DeviceType
	if d.Software {
		kind = "software"
	}
	group := strconv.Itoa(int(c.Subgroup.Size))
	if c.Subgroup.Min != c.Subgroup.Max {
		group += fmt.Sprintf(" (%d-%d)", c.Subgroup.Min, c.Subgroup.Max)
	}
	var memory uint64
	for _, h := range c.Heaps {
		if h.DeviceLocal {
			memory = max(memory, h.Size)
		}
	}
	types := "f32"
	for _, t := range []struct {
		name string
		has  bool
	}{{"f16", c.Features.Float16}, {"bf16", c.Features.BFloat16}, {"fp8", c.Features.Float8}, {"int8", c.Features.Int8}} {
		if t.has {
			types += " " + t.name
		}
	}
	matrix := "no"
	if n := len(c.CooperativeMatrix); n > 0 {
		s := c.CooperativeMatrix[0]
		matrix = fmt.Sprintf("%d shapes, %dx%dx%d first", n, s.M, s.N, s.K)
	} else if c.Features.CooperativeMatrix {
		matrix = "yes"
	}
	return []string{strconv.Itoa(d.Index), c.Name, kind, c.DriverName + " " + c.DriverInfo, c.APIVersion.String(), group,
		bench.Bytes(int64(c.Limits.MaxComputeSharedMemorySize)), bench.Bytes(int64(memory)), types, matrix}
}

// describe is one line about a backend.
func describe(i vkattn.Info) string {
	if i.Driver == "" {
		return i.Device
	}
	return i.Device + " (" + i.Driver + ")"
}
