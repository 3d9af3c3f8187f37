package dispatch

// tiledKey is a pipeline of exact attention, whatever its rung: the shape of what one of its workgroups computes, and how
// its tensors are bound.
type tiledKey interface {
	pipelineKey
	// variant is the name of the shader.
	variant() string
	// tileRows is the number of query rows that one workgroup computes.
	tileRows() int
	// keys are those of one tile of the schedule: a multiple of keyTile.
	keys() int
	// stateFloats is the running state of one row that a slice leaves for the next.
	stateFloats() int
	// invocations are those of a workgroup.
	invocations() int
	// tile describes the shape.
	tile() string
	// padded are the head sizes that the shape is made for.
	padded() (d, dv int)
	// element types of the op, and texels: whether k and v are bound as texel buffers.
	elements() types
	texels() bool
	// loaded is the key for tensors of these types whose rows begin and end at multiples of so many elements: 8, 4 or 1.
	loaded(t types, multiple int) tiledKey
	// vector reports whether rows are written four elements at a time.
	vector() bool
}

// narrowKey is the key of a kernel that does most pieces of a call, but not all.
type narrowKey interface {
	tiledKey
	// general is the kernel for what it does not do, in the same row tile, or itself.
	general() tiledKey
	// forPiece is the kernel of a piece, which may be general. split: results of parts are written.
	forPiece(pc *piece, phase uint32, split bool) tiledKey
}

// probedKey is the key of a kernel that wants to know where the elements of matrices lie.
type probedKey interface{ probe() probeKey }

func (k kernelKey) keys() int        { return keyTile }
func (k kernelKey) variant() string  { return k.Variant }
func (k kernelKey) invocations() int { return int(k.Invocations) }
func (k kernelKey) elements() types  { return k.Types }
func (k kernelKey) vector() bool     { return k.Vector }

func (k kernelKey) padded() (d, dv int) {
	return int(4 * k.Lanes * k.Dim4), int(4 * k.Lanes * k.Value4)
}

func (k kernelKey) loaded(t types, multiple int) tiledKey {
	if multiple%4 == 0 {
		return k
	}
	return k.scalar(t)
}
