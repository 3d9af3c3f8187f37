package dispatch

import (
	"slices"
	"testing"
	"time"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/vk"
)

// BenchmarkOwnTime is what a call of one row over one key, on tensors that lie on the device, costs beyond
// recording, submitting and waiting for one dispatch of a kernel that returns at once. They take turns; own-ns is
// the difference of the medians, the device's time taken off both.
func BenchmarkOwnTime(b *testing.B) {
	opened, err := Open(b.Context(), Config{Device: "0", CacheDir: "off", SkipSelfTest: true})
	if err != nil {
		b.Skipf("no Vulkan device: %v", err)
	}
	be := opened.(*Backend)
	defer be.Close()
	must := func(errs ...error) {
		b.Helper()
		for _, err := range errs {
			if err != nil {
				b.Fatal(err)
			}
		}
	}
	plan, err := be.Plan(b.Context(), vkattn.Attention{Batch: 1, HeadsQ: 1, SeqQ: 1, SeqK: 1, HeadDim: 64})
	must(err)
	var args vkattn.Args
	for _, t := range []*vkattn.Tensor{&args.Q, &args.K, &args.V, &args.Out} {
		*t, err = be.NewTensor(vkattn.Float32, [4]int{1, 1, 1, 64})
		must(err)
		defer t.Mem.Close()
	}

	empty, err := be.pipeline(simpleKey{Variant: "peak_fma", Invocations: 32})
	must(err)
	buffer, err := be.dev.NewBuffer(paramBytes, vk.HeapDevice, "test")
	must(err)
	defer buffer.Close()
	commands, err := be.dev.NewCommands()
	must(err)
	defer commands.Close()
	bind := make([]vk.Binding, numBindings)
	for i := range bind {
		bind[i] = vk.Binding{Buffer: buffer}
	}
	var none sliceParams

	var call, bare []float64
	for b.Loop() {
		start := time.Now()
		report, err := plan.Run(b.Context(), args)
		took := time.Since(start)
		must(err)
		call = append(call, float64((took - report.DeviceTime).Nanoseconds()))

		start = time.Now()
		must(commands.Begin(), commands.Timestamp(0), commands.Bind(empty, bind), commands.Push(bytesOf(&none)),
			commands.Dispatch(1, 1, 1), commands.Timestamp(1), commands.End())
		ticket, err := be.dev.Submit(commands)
		must(err, be.dev.Wait(b.Context(), ticket))
		took = time.Since(start)
		ns, err := commands.TimestampsNS()
		must(err)
		bare = append(bare, float64(took.Nanoseconds())-(ns[1]-ns[0]))
	}
	median := func(x []float64) float64 {
		slices.Sort(x)
		return x[len(x)/2]
	}
	b.ReportMetric(median(call), "call-ns")
	b.ReportMetric(median(bare), "bare-ns")
	b.ReportMetric(median(call)-median(bare), "own-ns")
}
