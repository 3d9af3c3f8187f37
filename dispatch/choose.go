package dispatch

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/shaders"
	"github.com/vkattn/vkattn/vk"
)

// maxHeadDim is the largest D and Dv that the kernels are made for.
const maxHeadDim = 576

// buckets are the padded head sizes: a kernel is built for a bucket, sizes inside it are run-time data.
var buckets = []int{32, 64, 96, 128, 192, 256, 384, 576}

// kernelKey is everything that a flash pipeline is specialised on. Equal keys share a pipeline.
type kernelKey struct {
	Variant       string
	Invocations   uint32
	Lanes, Rows   uint32
	Dim4, Value4  uint32
	Vector        bool
	Extras        uint32 // EXTRAS of flash.comp
	Whole         bool   // a row group is a whole subgroup
	Paged         uint32 // PAGED of lib/keys.glsl
	Types         types
	Descale       uint32 // DESCALE of lib/descale.glsl
	Limbs         uint32 // LIMBS of lib/dots.glsl, 0 in other builds
	team                 // of fewVariant, zero in other builds
	SubgroupSize  uint32 // required; 0: the driver's choice
	FullSubgroups bool
}

// spec is the table of specialization ids of flash.comp; a test compares it with the SPIR-V.
func (k kernelKey) spec() []vk.SpecConstant {
	spec := []vk.SpecConstant{
		{ID: 0, Value: k.Invocations}, {ID: 1, Value: k.Lanes}, {ID: 2, Value: k.Rows}, {ID: 3, Value: k.Dim4},
		{ID: 4, Value: k.Value4}, {ID: 5, Value: b2u(k.Vector)}, {ID: 6, Value: k.Extras}, {ID: 7, Value: b2u(k.Whole)},
		{ID: 8, Value: k.Paged},
		{ID: 9, Value: uint32(k.Types.Q)}, {ID: 10, Value: uint32(k.Types.K)}, {ID: 11, Value: uint32(k.Types.V)}, {ID: 12, Value: uint32(k.Types.Out)}, {ID: 13, Value: k.Descale},
	}
	switch k.Variant {
	case dotVariant:
		spec = append(spec, vk.SpecConstant{ID: 14, Value: k.Limbs})
	case fewVariant:
		spec = append(spec, vk.SpecConstant{ID: 15, Value: k.Keys}, vk.SpecConstant{ID: 16, Value: k.Team})
	}
	return spec
}

// tileRows is the number of query rows that one workgroup computes.
func (k kernelKey) tileRows() int { return int(k.Invocations / k.Lanes / k.members() * k.Rows) }

// stateFloats is the running state of one row: of each member of a team, maximum and sum, in four, and the padded output.
func (k kernelKey) stateFloats() int { return int(k.members() * (4 + 4*k.Lanes*k.Value4)) }

func (k kernelKey) tile() string {
	text := fmt.Sprintf("%dx%d, %d rows per %d lanes, %d invocations", k.tileRows(), keyTile, k.Rows, k.Lanes, k.Invocations)
	if k.Variant == fewVariant {
		text += ", " + k.team.String()
	}
	return text
}

// choice is the planner's decision for one op on one device.
type choice struct {
	op       vkattn.Attention
	standard bool // the unfused baseline
	path     string
	key      kernelKey // of a flash rung
	matrix   tiledKey  // of a matrix rung, which then serves
	pack     int       // query heads whose rows a tile takes together
	shared   int       // bytes of shared memory of one workgroup
	refused  []vkattn.Refusal
	notFor   []vkattn.Refusal // kernels for other problems or devices: not to take them is no fallback
	notes    []string

	mu     sync.Mutex
	last   *geometry // of the last call
	form   *form     // of the last block mask that has one
	listed *choice   // of the last block mask whose rows have lists
	blocks blockCache
}

func (c *choice) kernel() string {
	if c.standard {
		return "standard"
	}
	return c.tiled().variant()
}

// tiled is the key of the rung that serves.
func (c *choice) tiled() tiledKey {
	if c.matrix != nil {
		return c.matrix
	}
	return c.key
}

func (c *choice) tileRows() int {
	if c.standard {
		return 1
	}
	return c.tiled().tileRows()
}

// tileKeys is the number of keys of a tile.
func (c *choice) tileKeys() int {
	if c.standard {
		return keyTile
	}
	return c.tiled().keys()
}

func (c *choice) tile() string {
	if c.standard {
		return "one row, the score matrix in memory"
	}
	return c.tiled().tile()
}

// texels reports whether k and v are read through uniform texel buffers.
func (k kernelKey) texels() bool { return k.Variant == texelVariant || k.Variant == codesVariant }

// scalar is the key for tensors of these types whose rows cannot be read four elements at a time.
func (k kernelKey) scalar(t types) kernelKey {
	k.Vector, k.Types = false, t
	if k.texels() {
		k.Variant = "flash_subgroup"
	}
	return k
}

// texelVariant and codesVariant are the builds of the subgroup rung for drivers to which a storage buffer access is dear:
// software drivers spend several times the arithmetic on it (Mesa 22.3's llvmpipe: 660 cycles for a vec4
// of 8 lanes against 27 through a texel buffer, the current one 72 against 40). The first reads numbers, the second bits.
const (
	texelVariant = "flash_texels"
	codesVariant = "flash_codes"
)

// texelBuild reports whether a rung takes such a build, for keys and values of these types.
func texelBuild(caps *vk.Caps, path, variant string, disabled map[string]string, types ...vkattn.Type) bool {
	_, off := disabled["texels"]
	if path != "subgroup" || off || caps.DeviceType != "cpu" {
		return false
	}
	for _, t := range types {
		if f := texelFormat(variant, t); f == vk.TexelNone || !slices.Contains(caps.TexelFormats, f.String()) {
			return false
		}
	}
	return true
}

// rung is one build of a kernel; path names it for Config.Disable and in reports.
type rung struct{ path, variant string }

// rungs are the builds of the flash kernel, best first.
var rungs = []rung{{"subgroup", "flash_subgroup"}, {"plain", "flash_plain"}}

// choose decides how op runs on a device with these capabilities. It is pure: no device is touched.
// disabled maps rungs that may not serve to the reason. It returns *vkattn.UnsupportedError when nothing fits.
func (p *planner) choose(caps *vk.Caps, op vkattn.Attention, kernel string, disabled map[string]string) (*choice, error) {
	op = op.Canonical()
	refuse := func(reasons ...vkattn.Refusal) error {
		return &vkattn.UnsupportedError{Op: op.String(), Backend: "vulkan on " + caps.Name, Reasons: reasons}
	}
	if why := typesOf(op).refused(kernel); why != "" {
		return nil, refuse(vkattn.Refusal{Kernel: cmp.Or(kernel, "flash"), Reason: why})
	}
	if op.HeadDim > maxHeadDim || op.ValueDim > maxHeadDim {
		return nil, refuse(vkattn.Refusal{Kernel: "flash", Reason: fmt.Sprintf("head sizes %d and %d, the kernels go up to %d", op.HeadDim, op.ValueDim, maxHeadDim)})
	}
	if n := caps.Limits.MaxPerStageStorageBuffers; n > 0 && n < numStorage { // 0: a record does not say
		return nil, refuse(vkattn.Refusal{Kernel: "flash", Reason: fmt.Sprintf("needs %d storage buffers in a stage, the device has %d", numStorage, n)})
	}
	if n := caps.Limits.MaxPushConstantsSize; n < pushBytes {
		return nil, refuse(vkattn.Refusal{Kernel: "flash", Reason: fmt.Sprintf("needs %d bytes of push constants, the device has %d", pushBytes, n)})
	}
	c := &choice{op: op, pack: 1}
	if kernel == "standard" {
		c.standard, c.path = true, "plain"
		c.notes = append(c.notes, "the unfused baseline, as asked for")
		return c, nil
	}
	if p.chooseDot(caps, c, kernel, disabled) {
		return c.noted(), nil
	}
	software := caps.DeviceType == "cpu" // there, matrices are multiplied element by element
	if (!software || p.decodes) && p.chooseDecode(caps, c, disabled) || !software && p.chooseMatrix(caps, c, disabled) {
		return c.noted(), nil
	}
	for _, r := range rungs {
		if why, off := disabled[r.path]; off {
			c.refused = append(c.refused, vkattn.Refusal{Kernel: r.variant, Reason: why})
			continue
		}
		variant := r.variant
		for _, build := range []string{codesVariant, texelVariant} {
			if texelBuild(caps, r.path, build, disabled, op.TypeK, op.TypeV) {
				variant = build
			}
		}
		if r.path == rungSubgroup && p.takesTeams(caps, op) {
			if why, off := disabled[fewRung]; off {
				c.refused = append(c.refused, vkattn.Refusal{Kernel: fewVariant, Reason: why})
			} else {
				variant = fewVariant
			}
		}
		key, pack, shared, why := p.fitFlash(caps, op, r.path, variant)
		if why != "" {
			c.refused = append(c.refused, vkattn.Refusal{Kernel: r.variant, Reason: why})
			continue
		}
		c.path, c.key, c.pack, c.shared = r.path, key, pack, shared
		return c.noted(), nil
	}
	if software && p.chooseMatrix(caps, c, disabled) {
		return c.noted(), nil
	}
	return nil, refuse(slices.Concat(c.refused, c.notFor)...)
}

// noted adds what is worth knowing about a tile.
func (c *choice) noted() *choice {
	if c.pack > 1 {
		c.notes = append(c.notes, fmt.Sprintf("%d query heads that share their keys and values fill a tile together", c.pack))
	}
	if d, dv := c.tiled().padded(); d != c.op.HeadDim || dv != c.op.ValueDim {
		c.notes = append(c.notes, fmt.Sprintf("head sizes %d and %d run in a tile padded to %d and %d", c.op.HeadDim, c.op.ValueDim, d, dv))
	}
	return c
}

// headBuckets pads D and Dv. They share the larger bucket, apart from the two shapes of multi-head
// latent attention, so that few pipelines serve all sizes.
func headBuckets(d, dv int) (int, int) {
	b := bucket(max(d, dv))
	if dv < d && b >= 192 {
		if s := bucket(dv); s == 128 && b == 192 {
			return b, s
		}
	}
	return b, b
}

func bucket(d int) int {
	for _, b := range buckets {
		if d <= b {
			return b
		}
	}
	return buckets[len(buckets)-1]
}

// sharing is how many query heads share both their key head and their value head.
func sharing(op vkattn.Attention) int {
	if op.With.Has(vkattn.WithBlocks) { // lists are of one head
		return 1
	}
	a, b := op.HeadsQ/op.HeadsK, op.HeadsQ/op.HeadsV
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// fitFlash sizes the flash kernel for a device, shrinking the tile until it fits, or says why it cannot.
func (p *planner) fitFlash(caps *vk.Caps, op vkattn.Attention, path, variant string) (key kernelKey, pack, shared int, why string) {
	d, dv := headBuckets(op.HeadDim, op.ValueDim)
	software := caps.DeviceType == "cpu"
	sg := caps.Subgroup
	key = kernelKey{Variant: variant, Vector: true, Extras: extrasOf(op), Types: typesOf(op).read(variant), Descale: descaleOf(op)}

	few := p.few(op)
	tuned, isTuned := p.tiles[tileClass(path, d, dv, few)]
	lanes := 8
	switch {
	case isTuned:
		lanes = int(tuned.Lanes)
	case p.team != nil && variant == fewVariant:
		lanes = p.team.lanes
	case variant == fewVariant:
		for lanes < 32 && few*(ceilDiv(d, 4*lanes)+ceilDiv(dv, 4*lanes)) > 32 {
			lanes *= 2
		}
	case few > 0 && !software:
		for lanes < 32 && 8*lanes <= d {
			lanes *= 2
		}
	case d > 256:
		lanes = 32
	case !software:
		for lanes < 32 && ceilDiv(d, 4*lanes)+ceilDiv(dv, 4*lanes) > 4 {
			lanes *= 2 // until 8 rows fit into registers
		}
	}
	if path == "subgroup" {
		smallest, required, why := subgroups(sg, 2)
		if why != "" {
			return key, 0, 0, why
		}
		key.SubgroupSize, key.FullSubgroups = required, required > 0
		lanes = min(lanes, int(prevPow2(smallest)))
	}
	key.Lanes = uint32(lanes)
	key.Whole = path == "subgroup" && sg.Min == sg.Max && key.Lanes == sg.Size
	key.Dim4 = uint32(ceilDiv(d, 4*lanes))
	key.Value4 = uint32(ceilDiv(dv, 4*lanes))
	// A lane holds so many vec4 of queries and outputs of each row in registers.
	held := key.Dim4 + key.Value4
	if variant == dotVariant {
		if lanes < dotKeys {
			return key, 0, 0, fmt.Sprintf("needs groups of %d lanes, these have %d", dotKeys, lanes)
		}
		key.Limbs = limbs(op)
		held = dotQuery(key) + key.Value4
	}
	budget := uint32(36) // vec4: 144 registers of about 255
	rows := uint32(min(8, lanes))
	if software {
		budget = 72
		if p.doubleRows(caps, op) {
			rows *= 2
		}
	}
	for rows > 1 && rows*held > budget {
		rows /= 2
	}
	switch {
	case isTuned:
		rows = min(tuned.Rows, 2*uint32(lanes))
	case few > 0 && variant == dotVariant:
		rows = min(rows, max(1, uint32(few)/dotGroups(caps, uint32(lanes))))
	case few > 0:
		rows = min(rows, uint32(few))
	}
	key.Rows = rows
	if variant == fewVariant {
		key.team = p.teamOf(key, prevPow2(sg.Size))
	}

	// Workgroups: on a software driver one subgroup is one core's work; a GPU hides latency with more.
	key.Invocations = 64
	if software {
		key.Invocations = max(sg.Size, key.Lanes)
	} else if path == "subgroup" {
		key.Invocations = max(64, sg.Size)
	}
	if isTuned {
		key.Invocations = max(tuned.Invocations, key.Lanes)
	}
	limit := mostInvocations(caps, key.SubgroupSize)
	floor := key.Lanes
	if path == "subgroup" {
		floor = max(floor, sg.Size)
	}
	key.Invocations = max(key.Invocations, floor)
	for key.Invocations > limit && key.Invocations/2 >= floor {
		key.Invocations /= 2
	}
	if key.Invocations > limit {
		return key, 0, 0, fmt.Sprintf("needs %d invocations in a workgroup, the device has %d", key.Invocations, limit)
	}
	pack = 1
	if op.SeqQ < key.tileRows() {
		pack = sharing(op)
	}
	for !software && !isTuned && !p.fixedTile && key.Invocations/2 >= floor && 2*op.SeqQ*pack <= key.tileRows() {
		key.Invocations /= 2
	}
	for {
		var err error
		if shared, err = p.modules[key.Variant].Info.SharedBytes(specMap(key.spec())); err != nil {
			return key, 0, 0, err.Error()
		}
		if uint32(shared) <= caps.Limits.MaxComputeSharedMemorySize {
			return key, pack, shared, ""
		}
		switch {
		case key.Invocations/2 >= floor:
			key.Invocations /= 2
		case key.Rows > 1:
			key.Rows /= 2
		default:
			return key, 0, 0, fmt.Sprintf("needs %d bytes of shared memory, the device has %d", shared, caps.Limits.MaxComputeSharedMemorySize)
		}
	}
}

// extrasOf is how much of what goes beyond scores and closed-form masks a kernel needs: each level costs the inner loop.
func extrasOf(op vkattn.Attention) uint32 {
	switch {
	case op.MaskBlock > 1:
		return 3
	case op.Softcap > 0 || op.With&(vkattn.WithALiBi|vkattn.WithRelative|vkattn.WithBias|vkattn.WithMask|vkattn.WithTree) != 0:
		return 2
	case op.With.Has(vkattn.WithBlocks):
		return 1
	}
	return 0
}

// subgroups is the smallest subgroup that a kernel may run in, and the size to require of the driver, 0 where it cannot
// be required; or why a kernel that needs subgroups of least cannot run.
func subgroups(sg vk.Subgroup, least uint32) (smallest, required uint32, why string) {
	if missing := missingOps(sg, "basic", "shuffle"); missing != "" {
		return 0, 0, "needs subgroup operations in compute shaders that the device lacks: " + missing
	}
	smallest = sg.Size
	if sg.RequiredSizeInCompute && sg.FullSubgroups {
		required = sg.Size
	} else if sg.Min > 0 {
		smallest = min(sg.Min, sg.Size)
	}
	if smallest < least {
		return 0, 0, fmt.Sprintf("needs subgroups of %d or more, the device may run %d", least, smallest)
	}
	return smallest, required, ""
}

// mostInvocations is the limit of a workgroup, in subgroups of the required size if one is.
func mostInvocations(caps *vk.Caps, required uint32) uint32 {
	limit := min(caps.Limits.MaxComputeWorkGroupInvocations, caps.Limits.MaxComputeWorkGroupSize[0])
	if n := caps.Subgroup.MaxWorkgroupSubgroups; required > 0 && n > 0 && n < limit/required {
		limit = n * required
	}
	return limit
}

func missingOps(sg vk.Subgroup, ops ...string) string {
	if !sg.Compute {
		return "all of them"
	}
	var missing []string
	for _, o := range ops {
		if !slices.Contains(sg.Ops, o) {
			missing = append(missing, o)
		}
	}
	return strings.Join(missing, ", ")
}

func prevPow2(n uint32) uint32 {
	p := uint32(1)
	for p*2 <= n {
		p *= 2
	}
	return p
}

func b2u(b bool) uint32 {
	if b {
		return 1
	}
	return 0
}

func specMap(spec []vk.SpecConstant) map[uint32]uint32 {
	m := make(map[uint32]uint32, len(spec))
	for _, s := range spec {
		m[s.ID] = s.Value
	}
	return m
}

// planner holds what planning needs beside the capabilities: the reflection of the shaders. It is
// immutable but for the layouts, and planning with it touches no device.
type planner struct {
	modules map[string]shaders.Module
	tiles   map[string]Tile // by tileClass: measured to be faster than the rule
	layouts *layouts        // of matrices, as far as they have been probed
	// fixedTile: the tile may not depend on the number of rows, so that a row's bits do not.
	fixedTile bool
	// manyRegisters: the processor that a software driver runs on has 32 vector registers. Unknown without a device.
	manyRegisters bool
	// team: the rung of subgroups takes fewVariant with teams like this, in groups of so many lanes, whatever the device and the
	// number of rows. For tests.
	team *forcedTeam
	// rangeMats: the matrices that the rows of a subgroup take in flash_range.comp, if any, the keys of a tile, and the tiles that shared memory holds. For tests.
	rangeMats, rangeKeys, rangeBuffers uint32
	// decodes: flash_decode.comp is taken however few keys there are, whatever the device. For tests.
	decodes bool
}

func newPlanner() (*planner, error) {
	p := &planner{modules: map[string]shaders.Module{}, layouts: &layouts{known: map[probeKey]matrixLayout{}}}
	for _, name := range shaders.Names() {
		m, err := shaders.Load(name)
		if err != nil {
			return nil, err
		}
		p.modules[name] = m
	}
	return p, nil
}

// planSplits is the number of parts that the keys are split into: so that few row tiles still fill the
// device, and so that no row tile visits so many keys (at most widest) of a part that rounding errors add up.
func planSplits(caps *vk.Caps, tiles, invocations, rows, longest, widest, forced int) int {
	if longest == 0 || tiles == 0 {
		return 1
	}
	most := min(ceilDiv(longest, 2*keyTile), mostParts)
	switch {
	case caps.DeviceType == "cpu":
		most = min(ceilDiv(longest, 4*keyTile), mostParts)
	case rows <= readingRows:
		most = min(ceilDiv(longest, keyTile), mostReadingParts)
	}
	if forced > 0 {
		return clamp(forced, 1, ceilDiv(longest, keyTile))
	}
	return clamp(max(ceilDiv(parallelTiles(caps, invocations, rows), tiles), ceilDiv(widest, exactKeys)), 1, most)
}

// The most parts: each is a row of results that is written, and read by merge. Of few rows those are little beside the keys.
const (
	mostParts        = 256
	mostReadingParts = 1024
)

// exactKeys is the most keys of a part. Sums in float32 lose with their length: over 600,000 keys a row is off
// by 4.3e-5 of its norm in one part, by 5.6e-6 in parts of 65,536, by 2.8e-6 in parts of 16,384 (random data).
const exactKeys = 16384

// readingRows is the most rows of a sequence (heads packed with it counted) that read their keys and do little else.
const readingRows = 16

// Invocations that keep a graphics card busy, with many rows and with few.
const (
	busyInvocations    = 1 << 14
	readingInvocations = 1 << 16
)

// parallelTiles is the number of workgroups of that many invocations that keep the device busy. Where a sequence has
// few rows (heads packed with it counted), reading the keys is all there is, and more of them hide its latency;
// with many, to merge their parts would cost more than it gains.
func parallelTiles(caps *vk.Caps, invocations, rows int) int {
	busy := busyInvocations
	switch {
	case rows == 1:
		busy = readingInvocations
	case rows <= readingRows:
		busy = readingInvocations / 2 // what rows hold in registers leaves room for so many
	}
	switch caps.DeviceType {
	case "cpu":
		return 4
	case "integrated":
		busy /= 4
	}
	return busy / invocations
}
