package dispatch

import (
	"slices"
	"testing"
	"time"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/vk"
)

// BenchmarkOwnTime is what a call of one row over one key, on tensors that lie on the device, costs beyond recording
// one dispatch, submitting it and waiting for it. For that the call's own recording is submitted again, so that the
// device does the same both times. They take turns; own-ns is the difference of the medians.
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

	// The call's own kernel returns at once when it is given no row tiles.
	key := plan.(*Plan).decision.pipelineKeys()[0].(kernelKey)
	empty, err := be.pipeline(key)
	must(err)
	commands, err := be.dev.NewCommands()
	must(err)
	defer commands.Close()
	bind := make([]vk.Binding, numBindings)
	for i := range bind {
		bind[i] = vk.Binding{Buffer: be.dummy, Range: be.dummy.Size()}
		if key.texels() && (i == bindK || i == bindV) {
			bind[i].Format = vk.TexelRGBA32F
		}
	}
	var none sliceParams

	var call, bare []float64
	for b.Loop() {
		start := time.Now()
		_, err := plan.Run(b.Context(), args)
		call = append(call, float64(time.Since(start).Nanoseconds()))
		must(err)
		again := be.pool.commands[len(be.pool.commands)-1]

		start = time.Now()
		errs := [...]error{commands.Begin(), commands.Timestamp(0), commands.Bind(empty, bind), commands.Push(bytesOf(&none)),
			commands.Dispatch(1, 1, 1), commands.Timestamp(1), commands.End()}
		ticket, err := be.dev.Submit(again)
		late := be.dev.Wait(b.Context(), ticket)
		bare = append(bare, float64(time.Since(start).Nanoseconds()))
		must(err, late)
		must(errs[:]...)
	}
	median := func(x []float64) float64 {
		slices.Sort(x)
		return x[len(x)/2]
	}
	b.ReportMetric(median(call), "call-ns")
	b.ReportMetric(median(bare), "bare-ns")
	b.ReportMetric(median(call)-median(bare), "own-ns")
}
