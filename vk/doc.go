// Package vk is Vulkan compute in Go terms: the loader, devices and what they can do, memory,
// buffers, pipelines, command recording, submission, timing and typed errors. It knows nothing of
// attention, and it is the only package of this module that uses cgo.
//
// The life of a program:
//
//	instance, err := vk.Open(vk.Config{})          // ErrUnavailable: nothing to run on here
//	found, err := instance.Devices()
//	device, err := found[0].Open(vk.DeviceConfig{})
//	buffer, err := device.NewBuffer(1<<20, vk.HeapDevice, "weights")
//	kernel, err := device.NewPipeline(vk.PipelineSpec{Code: words, Bindings: 1})
//	c, err := device.NewCommands()
//	c.Begin()
//	c.Bind(kernel, []vk.Binding{{Buffer: buffer}})
//	c.Dispatch(64, 1, 1)
//	c.End()
//	ticket, err := device.Submit(c)
//	err = device.Wait(ctx, ticket)
//	// ... then Close everything, in any order: whoever creates closes
//
// # How it stands on goki/vulkan
//
// The types and constants are those of github.com/goki/vulkan. Its functions are never called: those
// taking slices of structs free their C copy while the driver still reads it, those of Vulkan 1.1 and
// later are missing, and all of them go through one table per process which another user of goki in
// the same program would reset under our feet. The calls go through a small C shim instead: it has
// a table per instance and per device, builds every structure on the C stack from plain numbers, and
// never keeps a Go pointer.
//
// # Without a driver
//
// Built without cgo, with the tag novulkan, or for a platform other than Linux and Windows, the
// package has the same API and Open returns [ErrUnavailable] with the reason. [Caps] works there too.
//
// # Rules
//
// Whoever creates closes; every Close is idempotent; nothing is freed by a finalizer. An [Instance] and a
// [Device] are safe for concurrent use, a [Commands] belongs to one goroutine at a time. A lost device is
// latched: each later call returns [ErrDeviceLost] without touching the driver, except Close. Nothing reads the
// environment (the Vulkan loader itself does: VK_DRIVER_FILES, VK_INSTANCE_LAYERS and the like work as usual).
package vk
