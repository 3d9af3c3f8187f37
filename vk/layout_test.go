//go:build cgo && !novulkan && (linux || windows)

package vk

import (
	"reflect"
	"strings"
	"testing"

	goki "github.com/goki/vulkan"
)

// official are goki's structures, which were generated from the official header, by the names that the shim's
// layout table uses.
var official = map[string]any{
	"ApplicationInfo":                                     (&goki.ApplicationInfo{}).Ref(),
	"InstanceCreateInfo":                                  (&goki.InstanceCreateInfo{}).Ref(),
	"ExtensionProperties":                                 (&goki.ExtensionProperties{}).Ref(),
	"LayerProperties":                                     (&goki.LayerProperties{}).Ref(),
	"ValidationFeatures":                                  (&goki.ValidationFeatures{}).Ref(),
	"PhysicalDeviceFeatures":                              (&goki.PhysicalDeviceFeatures{}).Ref(),
	"PhysicalDeviceFeatures2":                             (&goki.PhysicalDeviceFeatures2{}).Ref(),
	"PhysicalDeviceVulkan11Features":                      (&goki.PhysicalDeviceVulkan11Features{}).Ref(),
	"PhysicalDeviceVulkan12Features":                      (&goki.PhysicalDeviceVulkan12Features{}).Ref(),
	"PhysicalDeviceVulkan13Features":                      (&goki.PhysicalDeviceVulkan13Features{}).Ref(),
	"PhysicalDeviceSubgroupSizeControlFeatures":           (&goki.PhysicalDeviceSubgroupSizeControlFeatures{}).Ref(),
	"PhysicalDeviceMaintenance4Features":                  (&goki.PhysicalDeviceMaintenance4Features{}).Ref(),
	"PhysicalDeviceShaderIntegerDotProductFeatures":       (&goki.PhysicalDeviceShaderIntegerDotProductFeatures{}).Ref(),
	"PhysicalDeviceSynchronization2Features":              (&goki.PhysicalDeviceSynchronization2Features{}).Ref(),
	"PhysicalDeviceWorkgroupMemoryExplicitLayoutFeatures": (&goki.PhysicalDeviceWorkgroupMemoryExplicitLayoutFeatures{}).Ref(),
	"PhysicalDeviceLimits":                                (&goki.PhysicalDeviceLimits{}).Ref(),
	"PhysicalDeviceProperties":                            (&goki.PhysicalDeviceProperties{}).Ref(),
	"PhysicalDeviceProperties2":                           (&goki.PhysicalDeviceProperties2{}).Ref(),
	"PhysicalDeviceVulkan11Properties":                    (&goki.PhysicalDeviceVulkan11Properties{}).Ref(),
	"PhysicalDeviceVulkan12Properties":                    (&goki.PhysicalDeviceVulkan12Properties{}).Ref(),
	"PhysicalDeviceVulkan13Properties":                    (&goki.PhysicalDeviceVulkan13Properties{}).Ref(),
	"PhysicalDeviceSubgroupSizeControlProperties":         (&goki.PhysicalDeviceSubgroupSizeControlProperties{}).Ref(),
	"PhysicalDeviceShaderIntegerDotProductProperties":     (&goki.PhysicalDeviceShaderIntegerDotProductProperties{}).Ref(),
	"PhysicalDeviceMaintenance4Properties":                (&goki.PhysicalDeviceMaintenance4Properties{}).Ref(),
	"MemoryType":                                          (&goki.MemoryType{}).Ref(),
	"MemoryHeap":                                          (&goki.MemoryHeap{}).Ref(),
	"PhysicalDeviceMemoryProperties":                      (&goki.PhysicalDeviceMemoryProperties{}).Ref(),
	"PhysicalDeviceMemoryProperties2":                     (&goki.PhysicalDeviceMemoryProperties2{}).Ref(),
	"PhysicalDeviceMemoryBudgetProperties":                (&goki.PhysicalDeviceMemoryBudgetProperties{}).Ref(),
	"QueueFamilyProperties":                               (&goki.QueueFamilyProperties{}).Ref(),
	"FormatProperties":                                    (&goki.FormatProperties{}).Ref(),
	"DeviceQueueCreateInfo":                               (&goki.DeviceQueueCreateInfo{}).Ref(),
	"DeviceCreateInfo":                                    (&goki.DeviceCreateInfo{}).Ref(),
	"BufferCreateInfo":                                    (&goki.BufferCreateInfo{}).Ref(),
	"BufferViewCreateInfo":                                (&goki.BufferViewCreateInfo{}).Ref(),
	"MemoryRequirements":                                  (&goki.MemoryRequirements{}).Ref(),
	"MemoryAllocateInfo":                                  (&goki.MemoryAllocateInfo{}).Ref(),
	"MemoryAllocateFlagsInfo":                             (&goki.MemoryAllocateFlagsInfo{}).Ref(),
	"MappedMemoryRange":                                   (&goki.MappedMemoryRange{}).Ref(),
	"BufferDeviceAddressInfo":                             (&goki.BufferDeviceAddressInfo{}).Ref(),
	"ShaderModuleCreateInfo":                              (&goki.ShaderModuleCreateInfo{}).Ref(),
	"DescriptorSetLayoutBinding":                          (&goki.DescriptorSetLayoutBinding{}).Ref(),
	"DescriptorSetLayoutCreateInfo":                       (&goki.DescriptorSetLayoutCreateInfo{}).Ref(),
	"PushConstantRange":                                   (&goki.PushConstantRange{}).Ref(),
	"PipelineLayoutCreateInfo":                            (&goki.PipelineLayoutCreateInfo{}).Ref(),
	"SpecializationMapEntry":                              (&goki.SpecializationMapEntry{}).Ref(),
	"SpecializationInfo":                                  (&goki.SpecializationInfo{}).Ref(),
	"PipelineShaderStageCreateInfo":                       (&goki.PipelineShaderStageCreateInfo{}).Ref(),
	"PipelineShaderStageRequiredSubgroupSizeCreateInfo":   (&goki.PipelineShaderStageRequiredSubgroupSizeCreateInfo{}).Ref(),
	"ComputePipelineCreateInfo":                           (&goki.ComputePipelineCreateInfo{}).Ref(),
	"PipelineCacheCreateInfo":                             (&goki.PipelineCacheCreateInfo{}).Ref(),
	"DescriptorPoolSize":                                  (&goki.DescriptorPoolSize{}).Ref(),
	"DescriptorPoolCreateInfo":                            (&goki.DescriptorPoolCreateInfo{}).Ref(),
	"DescriptorSetAllocateInfo":                           (&goki.DescriptorSetAllocateInfo{}).Ref(),
	"DescriptorBufferInfo":                                (&goki.DescriptorBufferInfo{}).Ref(),
	"WriteDescriptorSet":                                  (&goki.WriteDescriptorSet{}).Ref(),
	"CommandPoolCreateInfo":                               (&goki.CommandPoolCreateInfo{}).Ref(),
	"CommandBufferAllocateInfo":                           (&goki.CommandBufferAllocateInfo{}).Ref(),
	"CommandBufferBeginInfo":                              (&goki.CommandBufferBeginInfo{}).Ref(),
	"MemoryBarrier":                                       (&goki.MemoryBarrier{}).Ref(),
	"BufferCopy":                                          (&goki.BufferCopy{}).Ref(),
	"QueryPoolCreateInfo":                                 (&goki.QueryPoolCreateInfo{}).Ref(),
	"SemaphoreCreateInfo":                                 (&goki.SemaphoreCreateInfo{}).Ref(),
	"SemaphoreTypeCreateInfo":                             (&goki.SemaphoreTypeCreateInfo{}).Ref(),
	"SubmitInfo":                                          (&goki.SubmitInfo{}).Ref(),
	"TimelineSemaphoreSubmitInfo":                         (&goki.TimelineSemaphoreSubmitInfo{}).Ref(),
	"SemaphoreWaitInfo":                                   (&goki.SemaphoreWaitInfo{}).Ref(),
}

// TestShimLayout compares the shim's own declarations with the official header.
func TestShimLayout(t *testing.T) {
	names, values := shimLayout()
	for i, name := range names {
		structure, field, isField := strings.Cut(name, ".")
		value, ok := official[structure]
		if !ok {
			t.Errorf("%s is not in the table of this test", name)
			continue
		}
		of := reflect.TypeOf(value).Elem()
		if !isField {
			if uint64(of.Size()) != values[i] {
				t.Errorf("%s has %d bytes in the shim, %d in the header", name, values[i], of.Size())
			}
			continue
		}
		f, ok := of.FieldByName(field)
		if !ok || uint64(f.Offset) != values[i] {
			t.Errorf("%s is at %d in the shim, at %d in the header (there: %v)", name, values[i], f.Offset, ok)
		}
	}
	if len(names) < 100 {
		t.Errorf("only %d entries", len(names))
	}
}
