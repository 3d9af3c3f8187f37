//go:build race || asan || msan

package vk

// instrumented builds allocate more and run slower.
const instrumented = true

// growthLimit is what the memory of this process may grow by, in bytes, in thousands of rounds that should leave
// nothing.
const growthLimit = 24 << 20
