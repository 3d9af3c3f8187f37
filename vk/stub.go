//go:build !cgo || novulkan || !(linux || windows)

package vk

import "context"

// Instance is a connection to the Vulkan loader. In this build there is none.
type Instance struct{}

// PhysicalDevice is a device the loader found. In this build there is none.
type PhysicalDevice struct{}

// Device is an open device. In this build there is none.
type Device struct{}

// Buffer is device memory. In this build there is none.
type Buffer struct{}

// Pipeline is a compiled kernel. In this build there is none.
type Pipeline struct{}

// Commands records work. In this build there is none.
type Commands struct{}

// Open returns ErrUnavailable: this build has no Vulkan in it.
func Open(Config) (*Instance, error) { return nil, errStub }

// The methods below exist so that callers compile; no value of these types can be had from Open.

func (*Instance) Devices() ([]*PhysicalDevice, error) { return nil, errStub }
func (*Instance) Messages() []Message                 { return nil }
func (*Instance) Close() error                        { return nil }

func (*PhysicalDevice) Caps() Caps                         { return Caps{} }
func (*PhysicalDevice) Open(DeviceConfig) (*Device, error) { return nil, errStub }

func (*Device) Caps() Caps                                     { return Caps{} }
func (*Device) Lost() bool                                     { return false }
func (*Device) Memory() MemoryStats                            { return MemoryStats{} }
func (*Device) Heaps() ([]MemoryHeap, error)                   { return nil, errStub }
func (*Device) MappedDevice() bool                             { return false }
func (*Device) UploadInDevice() bool                           { return false }
func (*Device) NewBuffer(int64, Heap, string) (*Buffer, error) { return nil, errStub }
func (*Device) NewPipeline(PipelineSpec) (*Pipeline, error)    { return nil, errStub }
func (*Device) PipelinesCreated() int                          { return 0 }
func (*Device) SaveCache()                                     {}
func (*Device) NewCommands() (*Commands, error)                { return nil, errStub }
func (*Device) Submit(*Commands) (Ticket, error)               { return 0, errStub }
func (*Device) Wait(context.Context, Ticket) error             { return errStub }
func (*Device) Done(Ticket) bool                               { return false }
func (*Device) WaitIdle() error                                { return errStub }
func (*Device) Close() error                                   { return nil }

func (*Buffer) Bytes() []byte                 { return nil }
func (*Buffer) Size() int64                   { return 0 }
func (*Buffer) Heap() Heap                    { return HeapDevice }
func (*Buffer) Address() uint64               { return 0 }
func (*Buffer) Flush(off, n int64) error      { return errStub }
func (*Buffer) Invalidate(off, n int64) error { return errStub }
func (*Buffer) Close() error                  { return nil }

func (*Pipeline) Name() string { return "" }
func (*Pipeline) Close() error { return nil }

func (*Commands) Begin() error                                         { return errStub }
func (*Commands) Bind(*Pipeline, []Binding) error                      { return errStub }
func (*Commands) Push([]byte) error                                    { return errStub }
func (*Commands) Dispatch(x, y, z uint32) error                        { return errStub }
func (*Commands) Barrier(BarrierKind)                                  {}
func (*Commands) Copy(src, dst *Buffer, regions []Region) error        { return errStub }
func (*Commands) Fill(dst *Buffer, off, size int64, word uint32) error { return errStub }
func (*Commands) Update(dst *Buffer, off int64, data []byte) error     { return errStub }
func (*Commands) Timestamp(slot int) error                             { return errStub }
func (*Commands) End() error                                           { return errStub }
func (*Commands) TimestampsNS() ([]float64, error)                     { return nil, errStub }
func (*Commands) Close() error                                         { return nil }

// TrimHeap does nothing.
func TrimHeap() {}
