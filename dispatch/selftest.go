package dispatch

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/cpu"
)

// verdict is the outcome of a rung's self-test on one device and driver, kept on disk.
type verdict struct {
	Path   string `json:"path"`
	Passed bool   `json:"passed"`
	Reason string `json:"reason,omitempty"`
}

// selfTest admits the rungs of the ladder: the best one that is not disabled must give the known answer
// on this very device and driver before it serves, otherwise it is disabled and the next is tried.
func (b *Backend) selfTest(ctx context.Context) error {
	for _, rung := range rungs {
		if _, off := b.disabled[rung.path]; off {
			continue
		}
		v, known := b.loadVerdict(rung.path, rung.variant)
		if !known {
			reason, err := b.testRung(ctx, rung.path)
			if err != nil {
				return err
			}
			v = verdict{rung.path, reason == "", reason}
			b.saveVerdict(rung.path, rung.variant, v)
		}
		if v.Passed {
			return nil
		}
		b.disabled[rung.path] = "self-test: " + v.Reason
		b.fallback = fmt.Sprintf("%s failed its self-test on this device: %s", rung.variant, v.Reason)
		if b.config.Logger != nil {
			b.config.Logger.Warn("kernel disabled", "kernel", rung.variant, "reason", v.Reason)
		}
		if b.config.Strict {
			return &vkattn.UnsupportedError{Op: "self-test", Backend: "vulkan on " + b.caps.Name, Reasons: []vkattn.Refusal{{Kernel: rung.variant, Reason: v.Reason}}}
		}
	}
	return nil
}

// testRung computes a small problem with a known answer. It returns why the rung may not serve, or "".
func (b *Backend) testRung(ctx context.Context, path string) (reason string, err error) {
	op := vkattn.Attention{Batch: 1, HeadsQ: 2, HeadsK: 1, SeqQ: 37, SeqK: 101, HeadDim: 36, ValueDim: 52, Causal: true, With: vkattn.WithLSE}.Canonical()
	only := map[string]string{}
	for _, r := range rungs {
		if r.path != path {
			only[r.path] = "not under test"
		}
	}
	c, err := b.planner.choose(&b.caps, op, "flash", only)
	if err != nil {
		return err.Error(), nil
	}
	rng := rand.New(rand.NewPCG(1, 2))
	data := func(n int) []float32 {
		x := make([]float32, n)
		for i := range x {
			x[i] = float32(rng.NormFloat64())
		}
		return x
	}
	out, lse := data(2*37*52), data(2*37)
	args := vkattn.Args{
		Q: vkattn.BHSD(vkattn.Float32s(data(2*37*36)), 1, 2, 37, 36), K: vkattn.BHSD(vkattn.Float32s(data(101*36)), 1, 1, 101, 36),
		V:   vkattn.BHSD(vkattn.Float32s(data(101*52)), 1, 1, 101, 52),
		Out: vkattn.BHSD(vkattn.Float32s(out), 1, 2, 37, 52), LSE: vkattn.BHSD(vkattn.Float32s(lse), 1, 2, 37, 1),
	}
	want, err := cpu.Oracle(op, &args)
	if err != nil {
		return "", err
	}
	p := &Plan{be: b, choice: c}
	if _, err := p.Run(ctx, args); err != nil {
		if ctx.Err() != nil || b.dev.Lost() {
			return "", err
		}
		return err.Error(), nil
	}
	var worst float64
	for i, w := range want.Out {
		worst = math.Max(worst, math.Abs(float64(out[i])-w))
		if math.IsNaN(float64(out[i])) {
			worst = math.Inf(1)
		}
	}
	for i, w := range want.LSE {
		worst = math.Max(worst, math.Abs(float64(lse[i])-w))
		if math.IsNaN(float64(lse[i])) {
			worst = math.Inf(1)
		}
	}
	if worst > 2e-5 {
		return fmt.Sprintf("known answer missed by %.2g", worst), nil
	}
	return "", nil
}

// verdictFile is keyed by the device, its driver and the kernel's code and tile.
func (b *Backend) verdictFile(path, variant string) string {
	if b.cacheDir == "" || b.config.VK.Override != nil || b.config.VK.Inject != nil {
		return ""
	}
	h := sha256.New()
	fmt.Fprintln(h, b.caps.Name, b.caps.UUID, b.caps.DriverName, b.caps.DriverInfo, b.caps.DriverVersion, b.caps.Subgroup.Size, b.caps.PipelineCacheUUID, path)
	for _, w := range b.planner.modules[variant].Code {
		h.Write([]byte{byte(w), byte(w >> 8), byte(w >> 16), byte(w >> 24)})
	}
	return filepath.Join(b.cacheDir, fmt.Sprintf("selftest-%x.json", h.Sum(nil)[:12]))
}

func (b *Backend) loadVerdict(path, variant string) (v verdict, known bool) {
	name := b.verdictFile(path, variant)
	if name == "" {
		return v, false
	}
	data, err := os.ReadFile(name)
	if err != nil || json.Unmarshal(data, &v) != nil || v.Path != path || !v.Passed {
		return v, false // a failure is tested again: drivers and machines recover
	}
	return v, true
}

// saveVerdict keeps a verdict; a cache that cannot be written is no error.
func (b *Backend) saveVerdict(path, variant string, v verdict) {
	name := b.verdictFile(path, variant)
	if name == "" {
		return
	}
	data, err := json.Marshal(v)
	if err != nil || os.MkdirAll(b.cacheDir, 0o755) != nil {
		return
	}
	tmp, err := os.CreateTemp(b.cacheDir, "selftest-*.tmp")
	if err != nil {
		return
	}
	_, err = tmp.Write(data)
	if cerr := tmp.Close(); err != nil || cerr != nil || os.Rename(tmp.Name(), name) != nil {
		os.Remove(tmp.Name())
	}
}
