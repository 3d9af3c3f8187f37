package main

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/dispatch"
)

// deviceFlags choose where a problem runs and how.
type deviceFlags struct {
	device  string
	strict  bool
	budget  time.Duration
	kernel  string
	splits  int
	part    int
	disable []string
}

func (d *deviceFlags) register(cmd *cobra.Command, byDefault string, lists bool) {
	group(cmd, "Device", func(f *pflag.FlagSet) {
		f.StringVar(&d.device, "device", byDefault, "`WHICH`: auto (a real GPU, else the CPU), gpu, cpu, an index, a part of a name; all; demo (a real GPU or else a software driver, and the CPU); several with commas")
		f.BoolVar(&d.strict, "strict", false, "fail rather than fall back to something slower")
		f.DurationVar(&d.budget, "budget", 0, "longest `TIME` of one submission to the GPU (default 50ms)")
		if lists {
			f.StringVar(&d.kernel, "kernel", "", "`KERNEL`: flash, flash_dot (keys in blocks by integer dot products), standard (the unfused baseline), linear_recurrent or linear_chunk; several with commas (default: the planner's choice)")
		} else {
			f.StringVar(&d.kernel, "kernel", "", "`KERNEL`: flash, flash_dot (keys in blocks by integer dot products) or standard (the unfused baseline); with --linear linear_recurrent or linear_chunk (default: the planner's choice)")
		}
		f.IntVar(&d.splits, "splits", 0, "`N` parts that the keys are split into; 0 lets the planner choose")
		f.IntVar(&d.part, "split-keys", 0, "`N` keys of a part, fixed, so that a row's bits do not depend on the other rows; 0 lets the planner choose")
		d.registerDisable(f)
	})
}

func (d *deviceFlags) registerDisable(f *pflag.FlagSet) {
	f.StringSliceVar(&d.disable, "disable", nil, "kernel `RUNGS` that may not serve: "+strings.Join(dispatch.Rungs(), ", "))
}

// config is the library's form of the flags, for one device.
func (d *deviceFlags) config(device string) (dispatch.Config, error) {
	if d.kernel != "" && !slices.Contains(dispatch.Kernels(), d.kernel) {
		return dispatch.Config{}, usagef("--kernel %s: want one of %s", d.kernel, strings.Join(dispatch.Kernels(), ", "))
	}
	for _, name := range d.disable {
		if !slices.Contains(dispatch.Rungs(), strings.TrimSpace(name)) {
			return dispatch.Config{}, usagef("--disable %s: want some of %s", name, strings.Join(dispatch.Rungs(), ", "))
		}
	}
	if d.splits < 0 || d.part < 0 || d.budget < 0 {
		return dispatch.Config{}, usagef("--splits, --split-keys and --budget cannot be negative")
	}
	if d.splits > 0 && d.part > 0 {
		return dispatch.Config{}, usagef("--splits fixes the number of parts and --split-keys their size: give one of them")
	}
	return dispatch.Config{Device: device, Strict: d.strict, Budget: d.budget, Kernel: d.kernel, Splits: d.splits, SplitKeys: d.part, Disable: d.disable}, nil
}

// fits refuses a kernel of the other kind of attention, which the library would ignore.
func (d deviceFlags) fits(linear bool) error {
	if d.kernel == "" || linear == strings.HasPrefix(d.kernel, "linear") {
		return nil
	}
	if linear {
		return usagef("--kernel %s is about softmax attention: want linear_recurrent or linear_chunk, or leave it out", d.kernel)
	}
	return usagef("--kernel %s is about linear attention, give --linear too", d.kernel)
}

// targets expands --device into names for open, each one device.
func (a *app) targets(ctx context.Context, text string) ([]string, error) {
	var out []string
	for name := range strings.SplitSeq(text, ",") {
		switch name = strings.TrimSpace(name); strings.ToLower(name) {
		case "":
			return nil, usagef("--device %q: an empty name", text)
		case "demo":
			names, err := a.demo(ctx)
			if err != nil {
				return nil, err
			}
			out = append(out, names...)
		case "all":
			found, err := vulkanDevices(ctx)
			if err != nil {
				return nil, err
			}
			for _, d := range found {
				out = append(out, strconv.Itoa(d.Index))
			}
			out = append(out, "cpu")
		default:
			out = append(out, name)
		}
	}
	return out, nil
}

// demo is a real GPU or else the first software driver, and the CPU beside it.
func (a *app) demo(ctx context.Context) ([]string, error) {
	found, err := vulkanDevices(ctx)
	if err != nil {
		return nil, err
	}
	for _, d := range found {
		if !d.Software {
			return []string{"gpu", "cpu"}, nil
		}
	}
	if len(found) == 0 {
		a.note("no Vulkan device here: the CPU alone runs ('vkattn devices' says more)")
		return []string{"cpu"}, nil
	}
	a.note("no GPU here: the software driver %s stands in", found[0].Caps.Name)
	return []string{strconv.Itoa(found[0].Index), "cpu"}, nil
}

// vulkanDevices lists the Vulkan devices; none at all is no error.
func vulkanDevices(ctx context.Context) ([]dispatch.Device, error) {
	found, err := dispatch.Devices(ctx, dispatch.Config{})
	if errors.Is(err, dispatch.ErrNoDevice) {
		return nil, nil
	}
	return found, err
}

// open opens one device.
func (d *deviceFlags) open(ctx context.Context, name string) (vkattn.Backend, error) {
	config, err := d.config(name)
	if err != nil {
		return nil, err
	}
	if strings.EqualFold(name, "cpu") {
		config.Device = "cpu"
	}
	return dispatch.Open(ctx, config)
}
