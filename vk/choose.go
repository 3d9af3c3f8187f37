package vk

// computeFamily picks the queue family for compute: on a discrete device one without graphics, so that long
// kernels do not hold up a desktop; else the first that computes.
func computeFamily(families []QueueFamily, deviceType string) uint32 {
	if deviceType == "discrete" {
		for i, f := range families {
			if f.Compute && !f.Graphics && f.Count > 0 {
				return uint32(i)
			}
		}
	}
	for i, f := range families {
		if f.Compute && f.Count > 0 {
			return uint32(i)
		}
	}
	return uint32(len(families)) // none
}

// unified reports whether device memory is host memory, so that the host can map any buffer.
func unified(c Caps) bool {
	if c.DeviceType == "integrated" || c.DeviceType == "cpu" {
		for _, t := range c.MemoryTypes {
			if t.DeviceLocal && t.HostVisible {
				return true
			}
		}
	}
	return false
}

// smallBAR is the size up to which a device local, host visible heap is taken for the 256 MiB window of a device
// without resizable BAR, which is too small to put buffers into.
const smallBAR = 512 << 20

// exotic marks memory types that ordinary buffers must not use: lazily allocated, protected, device coherent or
// uncached (AMD), RDMA (NVIDIA).
const exotic = 0x10 | 0x20 | 0x40 | 0x80 | 0x100

// memoryOrder lists the memory types allowed by mask that serve heap, best first.
func memoryOrder(c *Caps, heap Heap, mask uint32) []uint32 {
	rankOf := map[uint32]int{}
	var order []uint32
	for i, t := range c.MemoryTypes {
		if mask>>uint(i)&1 == 0 || t.Flags&exotic != 0 {
			continue
		}
		rank := memoryRank(c, heap, t)
		if rank < 0 {
			continue
		}
		rankOf[uint32(i)] = rank
		at := len(order)
		for at > 0 && rankOf[order[at-1]] > rank {
			at--
		}
		order = append(order, 0)
		copy(order[at+1:], order[at:])
		order[at] = uint32(i)
	}
	return order
}

// memoryRank is 0 for the best kind of type for heap, more for worse, negative for one that does not serve it.
func memoryRank(c *Caps, heap Heap, t MemoryType) int {
	switch heap {
	case HeapDevice:
		switch {
		case !t.DeviceLocal:
			return -1
		case c.UnifiedMemory && t.HostVisible && t.HostCoherent: // mapped for free
			if t.HostCached {
				return 0
			}
			return 1
		case !t.HostVisible:
			return 2
		}
		return 3
	case HeapUpload:
		whole := t.DeviceLocal && int(t.Heap) < len(c.Heaps) && c.Heaps[t.Heap].Size > smallBAR
		switch {
		case !t.HostVisible || !t.HostCoherent:
			return -1
		case whole && !t.HostCached:
			return 0
		case whole:
			return 1
		case !t.DeviceLocal && !t.HostCached:
			return 2
		case !t.DeviceLocal:
			return 3
		}
		return 4
	default:
		switch {
		case !t.HostVisible:
			return -1
		case t.HostCached && t.HostCoherent && !t.DeviceLocal:
			return 0
		case t.HostCached && t.HostCoherent:
			return 1
		case t.HostCached:
			return 2
		case t.HostCoherent && !t.DeviceLocal:
			return 3
		case t.HostCoherent:
			return 4
		}
		return -1
	}
}

// settle switches off what depends on something that Override switched off.
func settle(c *Caps) {
	f := &c.Features
	f.VulkanMemoryModelDeviceScope = f.VulkanMemoryModelDeviceScope && f.VulkanMemoryModel
	f.SubgroupRotateClustered = f.SubgroupRotateClustered && f.SubgroupRotate
	f.WorkgroupExplicitLayout8 = f.WorkgroupExplicitLayout8 && f.WorkgroupExplicitLayout
	f.WorkgroupExplicitLayout16 = f.WorkgroupExplicitLayout16 && f.WorkgroupExplicitLayout
	f.BFloat16DotProduct = f.BFloat16DotProduct && f.BFloat16
	f.BFloat16CooperativeMatrix = f.BFloat16CooperativeMatrix && f.BFloat16 && f.CooperativeMatrix
	f.Float8CooperativeMatrix = f.Float8CooperativeMatrix && f.Float8 && f.CooperativeMatrix
	if !f.CooperativeMatrix {
		f.CooperativeMatrixRobust = false
		f.CooperativeMatrix2 = CooperativeMatrix2{}
		c.CooperativeMatrix, c.CooperativeMatrixFlexible = []MatrixShape{}, []MatrixGranularity{}
	}
	if !c.Subgroup.SizeControl {
		c.Subgroup.FullSubgroups, c.Subgroup.RequiredSizeInCompute = false, false
	}
}
