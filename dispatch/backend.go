package dispatch

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/cpu"
	"github.com/vkattn/vkattn/vk"
)

const defaultBudget = 50 * time.Millisecond

// ErrNoDevice: Vulkan is not there, or has no device that fits Config.Device. The error's text says
// which of the two and what to do.
var ErrNoDevice = errors.New("dispatch: no vulkan device")

// Devices lists the Vulkan devices of this machine, software drivers included, in the loader's order.
// It returns ErrNoDevice, wrapped, when there is no Vulkan at all.
func Devices(ctx context.Context, cfg Config) ([]Device, error) {
	in, err := vk.Open(cfg.instance())
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoDevice, err)
	}
	defer in.Close()
	return list(in)
}

func list(in *vk.Instance) ([]Device, error) {
	physical, err := in.Devices()
	if err != nil {
		return nil, err // a driver that is there and fails is not the same as none
	}
	devices := make([]Device, len(physical))
	for i, p := range physical {
		caps := p.Caps()
		devices[i] = Device{Index: i, Software: caps.DeviceType == "cpu", Caps: caps}
	}
	return devices, nil
}

// Select finds the device that Config.Device means, or says why there is none. It does not look at
// "auto" and "cpu", which need no Vulkan device.
func Select(devices []Device, want string) (int, error) {
	var names []string
	for _, d := range devices {
		names = append(names, fmt.Sprintf("%d: %s", d.Index, d.Caps.Name))
	}
	have := "this machine has " + strings.Join(names, ", ")
	if len(names) == 0 {
		have = "this machine has none; install your GPU's Vulkan driver, or mesa-vulkan-drivers for a software one"
	}
	switch want {
	case "", "gpu", "auto":
		for _, kind := range []string{"discrete", "integrated", "virtual", "other"} {
			for i, d := range devices {
				if d.Caps.DeviceType == kind {
					return i, nil
				}
			}
		}
		return 0, fmt.Errorf("%w: no real GPU; %s; a software driver runs only when it is named", ErrNoDevice, have)
	}
	if n, err := strconv.Atoi(want); err == nil {
		if n >= 0 && n < len(devices) {
			return n, nil
		}
		return 0, fmt.Errorf("%w with index %d; %s", ErrNoDevice, n, have)
	}
	for i, d := range devices {
		if strings.Contains(strings.ToLower(d.Caps.Name), strings.ToLower(want)) {
			return i, nil
		}
	}
	return 0, fmt.Errorf("%w called %q; %s", ErrNoDevice, want, have)
}

// Open opens the device that cfg names. With Device "cpu" or "auto" the result may be the CPU backend;
// the Report of every run then says why. Errors are ErrNoDevice, or the device's own.
func Open(ctx context.Context, cfg Config) (vkattn.Backend, error) {
	off, err := disabledBy(cfg.Disable, os.Getenv("VKATTN_DISABLE"))
	if err == nil {
		err = checkNames(cfg.Kernel)
	}
	if err != nil {
		return nil, err
	}
	if cfg.Device == "cpu" {
		return cpu.New(cpu.Config{}), nil
	}
	b, err := openVulkan(ctx, cfg, off)
	if err == nil {
		return b, nil
	}
	if cfg.Device == "auto" && !cfg.Strict && errors.Is(err, ErrNoDevice) {
		return cpu.New(cpu.Config{Fallback: strings.TrimPrefix(err.Error(), "dispatch: ")}), nil
	}
	return nil, err
}

// Backend runs attention on one Vulkan device. It is safe for concurrent use; see vkattn.Backend.
type Backend struct {
	config     Config
	instance   *vk.Instance
	dev        *vk.Device
	caps       vk.Caps
	info       vkattn.Info
	planner    *planner
	pool       *pool
	pipelines  *pipelines
	disabled   map[string]string // rungs that may not serve, with the reason
	late       admissions
	timestamps bool
	cacheDir   string

	mu      sync.Mutex
	closed  bool
	tail    chan struct{} // closed when the last submitted run has left its turn
	active  sync.WaitGroup
	rate    float64              // FLOP/s, predicted work over measured time
	tensors map[*memory]struct{} // open ones; they go with the backend
	dummy   *vk.Buffer
}

func openVulkan(ctx context.Context, cfg Config, off map[string]string) (*Backend, error) {
	for class, t := range cfg.Tiles {
		if !t.valid() {
			return nil, &vkattn.ArgError{Arg: "Config", Reason: fmt.Sprintf("Tiles[%q]: no kernel has %d lanes, %d rows and %d invocations", class, t.Lanes, t.Rows, t.Invocations)}
		}
	}
	if cfg.Budget < 0 || cfg.Splits < 0 || cfg.SplitKeys < 0 || cfg.Splits > 0 && cfg.SplitKeys > 0 {
		return nil, &vkattn.ArgError{Arg: "Config", Reason: "Budget, Splits and SplitKeys may not be negative, and only one of the last two given"}
	}
	in, err := vk.Open(cfg.instance())
	if err != nil {
		if errors.Is(err, vk.ErrUnavailable) {
			err = fmt.Errorf("%w: %w", ErrNoDevice, err)
		}
		return nil, err
	}
	b := &Backend{config: cfg, instance: in, disabled: off, tail: make(chan struct{}), tensors: map[*memory]struct{}{},
		late: admissions{passed: map[string]bool{}, failed: map[string]string{}}}
	close(b.tail)
	if err := b.open(ctx); err != nil {
		b.Close()
		return nil, wrap(err)
	}
	return b, nil
}

func (b *Backend) open(ctx context.Context) error {
	devices, err := list(b.instance)
	if err != nil {
		return err
	}
	n, err := Select(devices, b.config.Device)
	if err != nil {
		return err
	}
	physical, err := b.instance.Devices()
	if err != nil {
		return err
	}
	b.cacheDir = cacheDir(b.config.CacheDir)
	dc := b.config.VK
	if dc.CacheDir == "" {
		dc.CacheDir = b.cacheDir
	}
	if b.dev, err = physical[n].Open(dc); err != nil {
		return err
	}
	b.caps = b.dev.Caps()
	b.info = infoOf(&b.caps)
	b.timestamps = b.caps.Limits.TimestampValidBits > 0
	b.rate = map[string]float64{"cpu": 2e9, "integrated": 5e10, "virtual": 5e10}[b.caps.DeviceType]
	if b.rate == 0 {
		b.rate = 5e11
	}
	if b.planner, err = newPlanner(); err != nil {
		return err
	}
	b.planner.fixedTile, b.planner.tiles = b.config.SplitKeys > 0, b.config.Tiles
	b.planner.manyRegisters = manyRegisters()
	b.pool = &pool{dev: b.dev}
	b.pipelines = &pipelines{dev: b.dev, planner: b.planner, entries: map[pipelineKey]*pipelineEntry{}}
	if b.dummy, err = b.dev.NewBuffer(bufferSize(4096), vk.HeapDevice, "scratch"); err != nil {
		return err
	}
	distrust(b.disabled, &b.caps)
	if b.planner.tiles == nil {
		b.planner.tiles = b.loadTiles()
	}
	if b.config.SkipSelfTest {
		return nil
	}
	return b.selfTest(ctx)
}

// cacheDir is where caches lie, or "" for none.
func cacheDir(want string) string {
	switch want {
	case "off":
		return ""
	case "":
		dir, err := os.UserCacheDir()
		if err != nil {
			return ""
		}
		return filepath.Join(dir, "vkattn")
	}
	return want
}

// Info names the device.
func (b *Backend) Info() vkattn.Info { return b.info }

func infoOf(caps *vk.Caps) vkattn.Info {
	return vkattn.Info{Backend: "vulkan", Device: caps.Name, Driver: strings.TrimSpace(caps.DriverName + " " + caps.DriverInfo), UUID: caps.UUID}
}

// Caps is what the device can do, with the limits in force.
func (b *Backend) Caps() vk.Caps { return b.caps.Clone() }

// Memory counts the device memory in use, by purpose.
func (b *Backend) Memory() vk.MemoryStats { return b.dev.Memory() }

// Trim gives back the memory that the backend keeps for later runs, 256 MiB at most, and what the C library keeps of what a driver has
// freed: what Memory counts then is in use.
func (b *Backend) Trim() {
	b.pool.drop()
	vk.TrimHeap()
}

// PipelinesCreated counts the pipelines built since Open.
func (b *Backend) PipelinesCreated() int { return b.dev.PipelinesCreated() }

func (b *Backend) alive() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return vkattn.ErrClosed
	}
	if b.dev.Lost() {
		return wrap(vk.ErrDeviceLost)
	}
	return nil
}

// begin is alive for work that Close has to wait for, until active.Done.
func (b *Backend) begin() error {
	if err := b.alive(); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return vkattn.ErrClosed
	}
	b.active.Add(1)
	return nil
}

// turn is a place in the order of runs.
type turn struct {
	be           *Backend      // nil if the backend was closed
	before, mine chan struct{} // closed when the run before, and this one, has left
}

// turn takes the next place in the order of runs, at once. Runs leave their turn when they have submitted all their
// work, so that the next one's follows without a gap.
func (b *Backend) turn() turn {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return turn{}
	}
	t := turn{b, b.tail, make(chan struct{})}
	b.tail = t.mine
	b.active.Add(1)
	return t
}

// enter waits until the run before has left. After an error there is nothing to leave.
func (t turn) enter(ctx context.Context) error {
	if t.be == nil {
		return vkattn.ErrClosed
	}
	select {
	case <-t.before:
		return nil
	case <-ctx.Done():
		go func() {
			<-t.before
			t.leave()
			t.be.active.Done()
		}()
		return ctx.Err()
	}
}

// leave lets the next run in, once.
func (t turn) leave() { close(t.mine) }

// budgetFLOPs is the work that one submit may hold.
func (b *Backend) budgetFLOPs() float64 {
	budget := b.config.Budget
	if budget == 0 {
		budget = defaultBudget
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return budget.Seconds() * b.rate
}

// learn takes one measurement of the device's rate. Small submits say little, and one odd measurement
// may not move the rate far.
func (b *Backend) learn(flops float64, took time.Duration) {
	if flops <= 0 || took < 200*time.Microsecond {
		return
	}
	rate := flops / took.Seconds()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.rate *= max(0.25, min(4, 0.5+0.5*rate/b.rate))
}

// pipeline builds or finds a pipeline and warms it up: some drivers compile at the first dispatch.
func (b *Backend) pipeline(key pipelineKey) (*vk.Pipeline, error) {
	return b.pipelines.get(key, func(p *vk.Pipeline, spec *vk.PipelineSpec) error {
		c, err := b.pool.getCommands()
		if err != nil {
			return err
		}
		bind := make([]vk.Binding, numBindings)
		for i := range bind {
			bind[i] = vk.Binding{Buffer: b.dummy, Range: b.dummy.Size()}
			if spec.Texels>>i&1 != 0 {
				bind[i].Format = texelFormat(spec.Name, vkattn.Float32)
			}
		}
		steps := []func() error{
			c.Begin,
			func() error { return c.Bind(p, bind) },
			func() error { return c.Push(make([]byte, spec.PushBytes)) }, // no tiles: nothing is read
			func() error { return c.Dispatch(1, 1, 1) },
			c.End,
		}
		for _, step := range steps {
			if err := step(); err != nil {
				c.Close()
				return err
			}
		}
		t, err := b.dev.Submit(c)
		if err == nil {
			err = b.dev.Wait(context.Background(), t)
		}
		if err != nil {
			c.Close()
			return err
		}
		b.pool.putCommands(c)
		return nil
	})
}

// Close waits for running work and releases everything; see vkattn.Backend.
func (b *Backend) Close() error {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return nil
	}
	b.closed = true
	b.mu.Unlock()
	b.active.Wait()
	if b.pool != nil {
		b.pool.close()
		b.pipelines.close()
	}
	b.mu.Lock()
	tensors := maps.Clone(b.tensors)
	b.mu.Unlock()
	for m := range tensors {
		m.Close()
	}
	if b.dummy != nil {
		b.dummy.Close()
	}
	var err error
	if b.dev != nil {
		err = b.dev.Close()
	}
	return errors.Join(err, b.instance.Close())
}

// CacheDir is where backends opened with cfg keep what they find out, or "" where they keep nothing.
func CacheDir(cfg Config) string { return cacheDir(cfg.CacheDir) }

// CheckEnvironment says what is wrong with the environment variables that Open reads, or nil.
func CheckEnvironment() error {
	_, err := disabledBy(nil, os.Getenv("VKATTN_DISABLE"))
	return err
}
