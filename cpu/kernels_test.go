package cpu

import "testing"

// kernels are those that this machine can run. The tests of Backend run on each.
var kernels = func() (list []struct {
	name string
	new  func() kernel
}) {
	for _, k := range []func() kernel{newGonumKernel, bestKernel} {
		name := k().name()
		if len(list) == 0 || list[0].name != name {
			list = append(list, struct {
				name string
				new  func() kernel
			}{name, k})
		}
	}
	return list
}()

// onKernels runs f on every kernel; start starts a backend with it.
func onKernels(t *testing.T, f func(t *testing.T, start func(Config) *Backend)) {
	for _, k := range kernels {
		t.Run(k.name, func(t *testing.T) {
			f(t, func(c Config) *Backend { return start(c, k.new) })
		})
	}
}
