//go:build cgo && !novulkan && (linux || windows)

package vk

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
)

func validated(t *testing.T, level ValidationLevel) *Instance {
	t.Helper()
	i, err := Open(Config{Validation: level})
	if errors.Is(err, ErrUnsupported) {
		t.Skip(err)
	}
	if err != nil {
		skip(t, "%v", err)
	}
	t.Cleanup(func() { i.Close() })
	return i
}

// dated reports whether a layer complains of something newer than itself.
func dated(m Message) bool {
	return strings.Contains(m.Text, "unknown VkStructureType") || strings.Contains(m.Text, "is not supported by this layer")
}

// serious returns the warnings and errors since the last call.
func serious(i *Instance) (found []Message) {
	for _, m := range i.Messages() {
		if m.Severity >= SeverityWarning && m.ID != "Loader Message" && !dated(m) {
			found = append(found, m)
		}
	}
	return found
}

// TestValidationSilent runs the package's whole repertoire under the layer: no message.
func TestValidationSilent(t *testing.T) {
	i := validated(t, ValidationCore|ValidationSync)
	t.Run("workload", func(t *testing.T) {
		d := testDeviceOn(t, i, DeviceConfig{CacheDir: t.TempDir()})
		workload(t, d)
		must(t, everything(t, d))
	})
	t.Run("features off", func(t *testing.T) {
		d := testDeviceOn(t, i, DeviceConfig{Robust: true, Override: func(c *Caps) {
			c.Features = Features{}
			c.Subgroup.SizeControl = false
			c.Subgroup.FullSubgroups = false
		}})
		workload(t, d)
	})
	for _, m := range serious(i) {
		t.Error(m)
	}
}

// TestValidationSpeaks proves that the silence above means something.
func TestValidationSpeaks(t *testing.T) {
	i := validated(t, ValidationCore|ValidationSync)
	t.Run("core", func(t *testing.T) {
		d := testDeviceOn(t, i, DeviceConfig{Override: func(c *Caps) { c.Limits.MaxPushConstantsSize = 1 << 20 }})
		b, c := newBuffer(t, d, 64, HeapDevice), newCommands(t, d)
		p := newPipeline(t, d, PipelineSpec{Name: "too much pushed", Code: spirv(t, "count"), Bindings: 1, PushBytes: 4096})
		must(t, c.Begin(), c.Bind(p, []Binding{{Buffer: b}}))
		found := serious(i)
		if len(found) == 0 || !strings.Contains(found[0].ID, "VUID-") {
			t.Error(found)
		}
	})
	t.Run("sync", func(t *testing.T) {
		d := testDeviceOn(t, i, DeviceConfig{})
		b, other, c := newBuffer(t, d, 64, HeapDevice), newBuffer(t, d, 64, HeapDevice), newCommands(t, d)
		run(t, d, c, func() {
			must(t, c.Fill(b, 0, 0, 1), c.Copy(b, other, []Region{{0, 0, 64}})) // no barrier between them
		})
		found := serious(i)
		if len(found) == 0 || !strings.Contains(found[0].ID+found[0].Text, "SYNC-HAZARD") {
			t.Error(found)
		}
	})
	i.Messages()
}

// newLayer reports whether the layers have to be able to do all that is tested here; make validate-sid sets it.
func newLayer() bool { return os.Getenv("VKATTN_VALIDATE_SID") == "1" }

// TestValidationGPU: the instrumenting layer is silent about good work and, on layers that can, finds an access
// outside a buffer. Newer layers look at those of devices without robust access alone.
func TestValidationGPU(t *testing.T) {
	i := validated(t, ValidationCore|ValidationGPU)
	d := testDeviceOn(t, i, DeviceConfig{Robust: !newLayer()})
	workload(t, d)
	for _, m := range serious(i) {
		if m.Severity >= SeverityError || strings.Contains(m.Text, "out of bounds") {
			t.Error(m) // other warnings say what the layer cannot check here
		}
	}
	p := newPipeline(t, d, PipelineSpec{Name: "axpy", Code: spirv(t, "axpy"), Bindings: 3, PushBytes: 8, Spec: []SpecConstant{{0, 64}}})
	b, c := newBuffer(t, d, 64, HeapDevice), newCommands(t, d)
	run(t, d, c, func() {
		must(t, c.Fill(b, 0, 0, 0))
		c.Barrier(TransferToCompute)
		must(t, c.Bind(p, []Binding{{Buffer: b}, {Buffer: b}, {Buffer: b}}), c.Push(words(64, 0)), c.Dispatch(1, 1, 1))
	})
	if found := serious(i); len(found) == 0 && !newLayer() {
		t.Skip("this layer does not report accesses outside a buffer")
	} else if len(found) == 0 || !strings.Contains(found[0].Text, "out of bounds") {
		t.Error(found)
	}
}

// TestValidationRace: layers from 2026 on find invocations that use the same word of shared memory with no barrier between,
// and are silent where there is one.
func TestValidationRace(t *testing.T) {
	for _, level := range []ValidationLevel{ValidationCore | ValidationSync | ValidationRaces, ValidationGPU | ValidationRaces} {
		i := validated(t, level)
		d := testDeviceOn(t, i, DeviceConfig{})
		b, c := newBuffer(t, d, 256, HeapDevice), newCommands(t, d)
		race := func(safe uint32) []Message {
			p := newPipeline(t, d, PipelineSpec{Name: "race", Code: spirv(t, "race"), Bindings: 1, Spec: []SpecConstant{{0, safe}}})
			run(t, d, c, func() { must(t, c.Bind(p, []Binding{{Buffer: b}}), c.Dispatch(1, 1, 1)) })
			return serious(i)
		}
		for _, m := range race(1) {
			if m.Severity >= SeverityError {
				t.Error(m)
			}
		}
		found := race(0)
		if !slices.ContainsFunc(found, func(m Message) bool { return strings.Contains(m.ID+m.Text, "SharedMemoryDataRace") }) {
			if !newLayer() {
				t.Skip("this layer does not look for races in shared memory")
			}
			t.Error(found)
		}
	}
}
