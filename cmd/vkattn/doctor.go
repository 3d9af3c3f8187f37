package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/vkattn/vkattn/cpu"
	"github.com/vkattn/vkattn/dispatch"
	"github.com/vkattn/vkattn/internal/bench"
	"github.com/vkattn/vkattn/vk"
)

// doctorFlags is the command line of doctor.
type doctorFlags struct {
	device  string
	timeout time.Duration
	json    bool
	child   string // what a child process is to do; see ward
}

func newDoctor(a *app) *cobra.Command {
	var d doctorFlags
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Say what this machine has for vkattn, what each device can do, and what is wrong",
		Long: `doctor looks at the loader, the drivers and every device: what a driver says that it can do, what is known against it, and
which kernels serve there, from the best to the CPU, each with the reason if it does not. Kernels that were not tested on
this device and driver are tested now. Whatever might crash or hang in a driver happens in processes of its own, with a time limit; what
they found is kept in the cache directory, and other commands and programs go by it.

Exit codes: 0 all is well, 1 failed, 2 wrong command line, 3 no Vulkan device (with advice), 4 something is
wrong: a kernel failed its self-test, a driver crashed, VKATTN_DISABLE names what is not there.`,
		Example: `  vkattn doctor
  vkattn doctor --device llvmpipe --json`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if d.child != "" {
				return a.ward(cmd.Context(), d.child)
			}
			return a.doctor(cmd.Context(), &d)
		},
	}
	f := cmd.Flags()
	f.StringVar(&d.device, "device", "all", "`WHICH` devices to test: all, an index, a part of a name")
	f.DurationVar(&d.timeout, "timeout", 5*time.Minute, "longest `TIME` for the tests of one device")
	f.BoolVar(&d.json, "json", false, "print everything, as JSON")
	f.StringVar(&d.child, "child", "", "")
	_ = f.MarkHidden("child")
	return cmd
}

// diagnosis is all that doctor finds.
type diagnosis struct {
	Schema      int               `json:"schema"`
	Build       bench.Build       `json:"build"`
	Vulkan      bool              `json:"vulkan"` // compiled in
	Loader      string            `json:"loader,omitempty"`
	Drivers     []driverFile      `json:"drivers"`
	Cards       []card            `json:"cards"`
	Environment map[string]string `json:"environment"`
	Cache       cacheContents     `json:"cache"`
	Devices     []patient         `json:"devices"`
	CPU         cpuEntry          `json:"cpu"`
	Problems    []string          `json:"problems"`
	Advice      []string          `json:"advice"`
}

// patient is one Vulkan device.
type patient struct {
	dispatch.Device
	Quirks  []vk.Quirk        `json:"quirks"`
	Queries []query           `json:"queries,omitempty"`
	Ladders []dispatch.Ladder `json:"ladders,omitempty"`
	Error   string            `json:"error,omitempty"`
}

// query is a call in which drivers have crashed, and how it went.
type query struct {
	Call    string `json:"call"`
	Failure string `json:"failure,omitempty"`
	File    string `json:"file,omitempty"`
}

// cacheContents is what lies in the cache directory.
type cacheContents struct {
	Dir       string `json:"dir"`
	Verdicts  int    `json:"verdicts"` // of self-tests and queries
	Tiles     int    `json:"tiles"`    // that tune has found
	Pipelines int    `json:"pipelines"`
}

func (a *app) doctor(ctx context.Context, f *doctorFlags) error {
	cfg := dispatch.Config{}
	d := diagnosis{Schema: 1, Build: build(), Vulkan: vulkanCompiled, Drivers: driverFiles(os.Getenv), Cards: cards("/sys"), Environment: switches(os.Getenv),
		Devices: []patient{}, Problems: []string{}, Advice: []string{}}
	b := cpu.New(cpu.Config{})
	d.CPU = cpuEntry{"cpu", b.Info().Device, b.Info().Driver, runtime.GOMAXPROCS(0)}
	b.Close()
	if err := dispatch.CheckEnvironment(); err != nil {
		d.problem("%s", plainMessage(err))
	}
	missing, err := a.list(ctx, f, &d)
	if err != nil {
		return err
	}
	bar := a.progress()
	for i := range d.Devices {
		a.examine(ctx, f, cfg, &d, &d.Devices[i], bar)
	}
	bar.clear()
	if err := ctx.Err(); err != nil {
		return err
	}
	d.Cache = contents(dispatch.CacheDir(cfg))
	d.advise()
	if f.json {
		e := json.NewEncoder(a.out)
		e.SetIndent("", "  ")
		err = e.Encode(d)
	} else {
		err = a.printDiagnosis(&d)
	}
	switch {
	case err != nil:
		return err
	case len(d.Problems) > 0:
		return &mismatchError{errors.New(count(len(d.Problems), "problem"))}
	case len(d.Devices) == 0:
		return &nothingError{errors.New(cmp.Or(missing, "no vulkan device"))}
	}
	return nil
}

// list fills in the devices, and says why there are none. A driver that crashes when it is asked for its devices is found by
// asking each alone.
func (a *app) list(ctx context.Context, f *doctorFlags, d *diagnosis) (missing string, err error) {
	if !d.Vulkan {
		return "this build has no Vulkan in it", nil
	}
	out := runChild(ctx, listTimeout, nil, "list", nil)
	if err := ctx.Err(); err != nil {
		return "", err
	}
	if out.failure != "" {
		d.problem("listing the devices %s", out.failure)
		for i := range d.Drivers {
			path := d.Drivers[i].Path
			if alone := runChild(ctx, listTimeout, []string{"VK_DRIVER_FILES=" + path, "VK_ICD_FILENAMES=" + path}, "list", nil); alone.failure != "" {
				d.problem("the driver of %s %s", path, alone.failure)
				d.Advice = append(d.Advice, fmt.Sprintf("Update that driver, remove it, or leave it out: VK_LOADER_DRIVERS_DISABLE=%s", filepath.Base(path)))
			}
		}
		return out.failure, nil
	}
	d.Loader = out.last.Loader
	for _, one := range out.last.Devices {
		d.Devices = append(d.Devices, patient{Device: one, Quirks: vk.Quirks(&one.Caps)})
	}
	if f.device != "all" {
		i, err := dispatch.Select(out.last.Devices, f.device)
		if err != nil {
			return "", err
		}
		d.Devices = d.Devices[i : i+1]
	}
	return out.last.Missing, nil
}

// examine makes the calls that may crash, and tests the kernels of one device.
func (a *app) examine(ctx context.Context, f *doctorFlags, cfg dispatch.Config, d *diagnosis, p *patient, bar *progress) {
	index := fmt.Sprint(p.Index)
	// The list was made without risky calls: those that would have been made are Unasked.
	if calls := p.Caps.Unasked; len(calls) > 0 {
		bar.show("%s: asking for matrices", p.Caps.Name)
		out := runChild(ctx, listTimeout, nil, "query:"+index, nil)
		if ctx.Err() != nil {
			return
		}
		for _, call := range calls {
			q := query{Call: call}
			if out.failure != "" && (out.at.Call == call || out.at.Call == "") {
				q.Failure = out.failure
			} else if out.failure != "" && !slices.Contains(out.survived, call) {
				continue // the process did not come so far
			}
			q.File, _ = dispatch.KeepQuery(cfg, p.Caps, call, q.Failure)
			p.Queries = append(p.Queries, q)
			if q.Failure != "" {
				d.problem("%s: %s %s", p.Caps.Name, call, q.Failure)
			}
		}
	}
	var crashed []string
	for {
		out := runChild(ctx, f.timeout, nil, "test:"+index+":"+strings.Join(crashed, ","), func(e event) { bar.show("%s: testing %s", p.Caps.Name, e.Step.Kernel) })
		if ctx.Err() != nil {
			return
		}
		if out.failure == "" {
			if out.last.Caps != nil {
				p.Caps = *out.last.Caps
			}
			p.Ladders, p.Error = out.last.Ladders, out.last.Error
			break
		}
		kernel := out.at.Step.Kernel
		if kernel == "" || !out.crashed || slices.Contains(crashed, kernel) {
			p.Error = out.failure
			break
		}
		crashed = append(crashed, kernel)
		kept := "nothing is kept of it: 'vkattn run' may crash too"
		if err := dispatch.KeepCrash(out.at.Step, out.failure); err == nil && out.at.Step.File != "" {
			kept = "it is off from now on, by " + out.at.Step.File
		}
		d.problem("%s: the process that tested %s %s; %s", p.Caps.Name, kernel, out.failure, kept)
	}
	if p.Error != "" && !slices.Contains(d.Problems, p.Error) {
		d.problem("%s: %s", p.Caps.Name, p.Error)
	}
	for _, l := range p.Ladders {
		for _, s := range l.Steps {
			if text := fmt.Sprintf("%s: %s failed its self-test: %s", p.Caps.Name, s.Kernel, s.Reason); s.State == dispatch.StepFailed && !slices.Contains(d.Problems, text) {
				d.problem("%s", text)
			}
		}
	}
}

func (d *diagnosis) problem(format string, args ...any) {
	d.Problems = append(d.Problems, fmt.Sprintf(format, args...))
}

// contents counts the files of the cache.
func contents(dir string) cacheContents {
	c := cacheContents{Dir: dir}
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		switch name := e.Name(); {
		case strings.HasPrefix(name, "selftest-"), strings.HasPrefix(name, "query-"):
			c.Verdicts++
		case strings.HasPrefix(name, "tiles-"):
			c.Tiles++
		case strings.HasSuffix(name, ".pipelines"):
			c.Pipelines++
		}
	}
	return c
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
