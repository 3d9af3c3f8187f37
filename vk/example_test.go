package vk_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/vkattn/vkattn/vk"
)

// List what there is to run on.
func ExampleOpen() {
	instance, err := vk.Open(vk.Config{})
	if errors.Is(err, vk.ErrUnavailable) {
		fmt.Println("nothing to run on:", err)
		return
	}
	if err != nil {
		fmt.Println(err)
		return
	}
	defer instance.Close()
	found, err := instance.Devices()
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, physical := range found {
		c := physical.Caps()
		fmt.Println(c.Name, c.APIVersion, c.Subgroup.Size, c.Limits.MaxComputeSharedMemorySize)
	}
}

// Run a kernel that takes one buffer and a count.
func ExampleDevice_Submit() {
	var device *vk.Device // from PhysicalDevice.Open
	var code []uint32     // SPIR-V
	run := func(ctx context.Context) error {
		buffer, err := device.NewBuffer(1<<20, vk.HeapDevice, "example")
		if err != nil {
			return err
		}
		defer buffer.Close()
		kernel, err := device.NewPipeline(vk.PipelineSpec{Name: "example", Code: code, Bindings: 1, PushBytes: 4})
		if err != nil {
			return err
		}
		defer kernel.Close()
		c, err := device.NewCommands()
		if err != nil {
			return err
		}
		defer c.Close() // waits for the device, so it must run before the others: it is deferred last
		if err := c.Begin(); err != nil {
			return err
		}
		// The errors of these also come back from End.
		c.Fill(buffer, 0, 0, 0)
		c.Barrier(vk.TransferToCompute)
		c.Bind(kernel, []vk.Binding{{Buffer: buffer}})
		c.Push([]byte{1, 0, 0, 0})
		c.Dispatch(1<<12, 1, 1)
		if err := c.End(); err != nil {
			return err
		}
		ticket, err := device.Submit(c)
		if err != nil {
			return err
		}
		return device.Wait(ctx, ticket)
	}
	_ = run
}
