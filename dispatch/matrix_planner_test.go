package dispatch

import (
	"slices"
	"strings"
	"testing"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/internal/spirv"
	"github.com/vkattn/vkattn/shaders"
	"github.com/vkattn/vkattn/vk"
)

// h100 is the record of an H100 through NVIDIA's driver 580, with the features of VK_NV_cooperative_matrix2, which that does not say.
func h100(t *testing.T) vk.Caps {
	t.Helper()
	for _, r := range recorded(t) {
		if strings.Contains(r.Caps.Name, "H100") {
			r.Caps.Features.CooperativeMatrix2 = vk.CooperativeMatrix2{WorkgroupScope: true, FlexibleDimensions: true, Reductions: true, Conversions: true,
				PerElementOperations: true, TensorAddressing: true, BlockLoads: true}
			r.Caps.Features.CooperativeMatrix2Properties = vk.CooperativeMatrix2Properties{WorkgroupScopeMaxWorkgroupSize: 256,
				FlexibleDimensionsMaxDimension: 1024, WorkgroupScopeReservedSharedMemory: 8192}
			return r.Caps
		}
	}
	t.Fatal("no record of an H100")
	return vk.Caps{}
}

func halves(d, dv int) vkattn.Attention {
	h := vkattn.Float16
	return vkattn.Attention{Batch: 1, HeadsQ: 8, SeqQ: 4096, SeqK: 4096, HeadDim: d, ValueDim: dv, TypeQ: h, TypeK: h, TypeV: h, TypeOut: h}
}

// TestMatrix2Specs: Go and GLSL agree on what flash_matrix2.comp is specialised on.
func TestMatrix2Specs(t *testing.T) {
	want := map[string]uint32{"local_size_x": 0, "SCOPE": 1, "SCOPES": 2, "ROWS": 3, "KEY_TILE": 4, "VECTOR": 5, "EXTRAS": 6, "COLUMNS": 7,
		"TYPE_Q": 9, "TYPE_K": 10, "TYPE_V": 11, "TYPE_OUT": 12, "DIM": 13, "VALUE_DIM": 14, "DEPTH": 15, "WIDE": 16, "PAD": 17, "CLAMP": 18, "RELOAD": 19, "AHEAD": 20, "STAGES": 21, "STEP": 8, "SUM_UP": 22}
	for _, name := range []string{"flash_matrix2", "flash_matrix2_bf16", "flash_matrix2_tensor", "flash_matrix2_tensor_bf16"} {
		m, err := shaders.Load(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := spirv.CheckSpec(m.Info, want); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestRangeScales: a scale that makes nothing of the lowest number keeps off flash_range.
func TestRangeScales(t *testing.T) {
	for scale, serves := range map[float64]bool{0: false, 1e-50: false, -1e-42: false, 1e-37: false, 1e-36: true, -1e30: true} {
		op := halves(64, 64)
		op.Scale = vkattn.Num(scale)
		if why := rangeRefuses(op.Canonical()); (why == "") != serves {
			t.Errorf("scale %g: %q", scale, why)
		}
	}
}

// TestMatrixSpecs: Go and GLSL agree on what flash_matrix.comp is specialised on.
func TestMatrixSpecs(t *testing.T) {
	want := map[string]uint32{"local_size_x": 0, "SUBGROUP": 1, "M": 2, "N": 3, "ROW_MATS": 4, "KEY_TILE": 5, "DIM_MATS": 6, "VALUE_MATS": 7, "VECTOR": 8,
		"EXTRAS": 9, "PREFETCH": 10, "KEEP_QUERY": 11, "PAD": 12, "LANES": 13, "PLACES": 14, "REGISTERS": 15, "DIRECT": 16, "KEEPS_NAN": 17, "WIDE": 18,
		"TYPE_Q": 19, "TYPE_K": 20, "TYPE_V": 21, "TYPE_OUT": 22, "ROUNDING": 28}
	for _, name := range []string{"flash_matrix", "flash_matrix_bf16"} {
		m, err := shaders.Load(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := spirv.CheckSpec(m.Info, want); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range rangeVariants {
		m, err := shaders.Load(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := spirv.CheckSpec(m.Info, map[string]uint32{"local_size_x": 0, "SUBGROUP": 1, "M": 2, "N": 3, "ROW_MATS": 4, "KEY_TILE": 5, "DIM_MATS": 6,
			"VALUE_MATS": 7, "PREFETCH": 10, "PAD": 12, "LANES": 13, "PLACES": 14, "KEEPS_NAN": 17, "PARTIAL": 23, "WHOLE": 24,
			"SLICED": 25, "CHUNK_MATS": 26, "BUFFERS": 27, "ROUNDING": 28}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{"matrix_probe", "matrix_probe_bf16", "peak_matrix", "peak_matrix_bf16"} {
		m, err := shaders.Load(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := spirv.CheckSpec(m.Info, map[string]uint32{"local_size_x": 0, "M": 1, "N": 2}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestMatrixFits: on every device on record that has matrices of a shape it knows, flash_matrix.comp fits for every head size, or says
// why not.
func TestMatrixFits(t *testing.T) {
	p, served := testPlanner(t), 0
	for _, r := range recorded(t) {
		for _, operand := range []vkattn.Type{vkattn.Float16, vkattn.BFloat16} {
			for d := 4; d <= maxHeadDim; d += 12 {
				for _, rows := range []int{16, 40, 4096} {
					op := halves(d, (d+1)/2)
					op.SeqQ, op.TypeQ, op.TypeK, op.TypeV = rows, operand, operand, operand
					f, why := p.fitMatrix(&r.Caps, op.Canonical(), operand, nil)
					if why != "" {
						continue
					}
					served++
					k := f.key.(matrixKey)
					limits := &r.Caps.Limits
					if uint32(f.shared) > limits.MaxComputeSharedMemorySize || k.Invocations > limits.MaxComputeWorkGroupInvocations || k.Invocations%k.SubgroupSize != 0 {
						t.Errorf("%s, head size %d: %d bytes of shared memory, %d invocations", r.Caps.Name, d, f.shared, k.Invocations)
					}
					if pd, pv := k.padded(); pd < d || pv < (d+1)/2 || k.keys()%keyTile != 0 || k.keys()%int(k.KeyTile) != 0 || k.KeyTile%k.N != 0 || k.tileRows() < int(k.M) {
						t.Errorf("%s, head size %d: %+v", r.Caps.Name, d, k)
					}
					if k.Layout.Registers || k.Layout.Direct {
						t.Errorf("%s: %s, though nothing was probed", r.Caps.Name, k.way())
					}
					if s := k.M * k.N / k.SubgroupSize; s < 1 || s > matrixPlaces {
						t.Errorf("%s: an invocation holds %d elements", r.Caps.Name, s)
					}
				}
			}
		}
	}
	if served == 0 {
		t.Error("it fits nowhere")
	}
	// What was probed is taken.
	caps := h100(t)
	f, why := p.fitMatrix(&caps, halves(128, 128).Canonical(), vkattn.Float16, nil)
	if why != "" {
		t.Fatal(why)
	}
	k := f.key.(matrixKey)
	l := matrixLayout{Lanes: 0x888210a9, Places: 0x888883b8, Registers: true, Direct: true}
	p.layouts.known[k.probe()] = l
	if f, _ = p.fitMatrix(&caps, halves(64, 64).Canonical(), vkattn.Float16, nil); f.key.(matrixKey).Layout != l {
		t.Errorf("%+v", f.key)
	}
}

// TestMatrixPlans: on an H100 sixteen-bit prefill runs on matrix units, whatever the head size; the rest does not, and says why.
func TestMatrixPlans(t *testing.T) {
	p, caps := testPlanner(t), h100(t)
	for d := 8; d <= maxHeadDim; d += 8 {
		ch, err := p.choose(&caps, halves(d, d), "", nil)
		if err != nil {
			t.Fatal(err)
		}
		// Before the layout is known it is hoped for; masks that leave one range of keys, and rows of whole eights, have a kernel of their own.
		if r, is := ch.matrix.(matrixKey); (is && r.Range) != (d <= widestMatrix2) || is && ch.kernel() != "flash_range" {
			t.Errorf("head size %d: %s", d, ch.kernel())
		}
		if ch, err = p.choose(&caps, halves(d, d), "", map[string]string{rangeRung: "off"}); err != nil {
			t.Fatal(err)
		}
		k, is := ch.matrix.(matrix2Key)
		if !is || ch.path != rungMatrix2 {
			t.Fatalf("head size %d: %s, %v", d, ch.path, ch.notFor)
		}
		if limit := caps.Limits.MaxComputeSharedMemorySize; uint32(ch.shared) > limit {
			t.Errorf("head size %d: %d bytes of shared memory", d, ch.shared)
		}
		if k.Workgroup != (d > widestMatrix2) || int(k.Dim) < d || k.Dim%k.Depth != 0 || k.ValueDim%k.Columns != 0 || k.KeyTile%k.Step != 0 || k.Step%k.Columns != 0 {
			t.Errorf("head size %d: %+v", d, k)
		}
	}
	for name, c := range map[string]struct {
		op   func(*vkattn.Attention)
		caps func(*vk.Caps)
		why  string
	}{
		"float32":      {func(op *vkattn.Attention) { op.TypeQ, op.TypeK, op.TypeV = 0, 0, 0 }, nil, "q is f32"},
		"mixed":        {func(op *vkattn.Attention) { op.TypeV = vkattn.BFloat16 }, nil, "v is bf16 and q is f16"},
		"factors":      {func(op *vkattn.Attention) { op.TypeK, op.With = vkattn.F8E4M3, vkattn.WithDescaleK }, nil, "factors of 8-bit types"},
		"one row":      {func(op *vkattn.Attention) { op.SeqQ = 1 }, nil, "1 rows share their keys"},
		"reductions":   {nil, func(c *vk.Caps) { c.Features.CooperativeMatrix2.Reductions = false }, "device lacks: reductions"},
		"bf16":         {func(op *vkattn.Attention) { op.TypeQ, op.TypeK, op.TypeV = 2, 2, 2 }, func(c *vk.Caps) { c.Features.BFloat16CooperativeMatrix = false }, "bfloat16 matrices"},
		"no shapes":    {nil, func(c *vk.Caps) { c.CooperativeMatrixFlexible = nil }, "does not multiply f16 to f32"},
		"wide scope":   {func(op *vkattn.Attention) { op.HeadDim = 576 }, func(c *vk.Caps) { c.Features.CooperativeMatrix2.WorkgroupScope = false }, "matrices of a workgroup"},
		"small device": {nil, func(c *vk.Caps) { c.Limits.MaxComputeSharedMemorySize = 8 << 10 }, "bytes of shared memory"},
	} {
		op, caps := halves(128, 128), caps.Clone()
		op.TypeOut = vkattn.Float32 // which flash_range does not write
		if c.op != nil {
			c.op(&op)
		}
		if c.caps != nil {
			c.caps(&caps)
		}
		ch, err := p.choose(&caps, op, "", nil)
		if err != nil {
			t.Fatal(err)
		}
		if ch.path == rungMatrix2 || !slices.ContainsFunc(ch.notFor, func(r vkattn.Refusal) bool { return strings.Contains(r.Reason, c.why) }) {
			t.Errorf("%s: took %s, not for it are %v", name, ch.path, ch.notFor)
		}
		if len(ch.refused) > 0 {
			t.Errorf("%s: %v is no fallback", name, ch.refused)
		}
	}
	ch, err := p.choose(&caps, halves(64, 64), "", map[string]string{rungMatrix2: "for the test", rungMatrix: "for the test"})
	if err != nil || ch.matrix != nil || len(ch.refused) != 2 {
		t.Errorf("disabled: %v, %v", ch, err)
	}
}

// TestRangeShapes: the shape of flash_range.comp by head size and rows, and what devices of less shared memory get.
func TestRangeShapes(t *testing.T) {
	type shape struct{ subgroups, rowMats, keyTile, chunkMats, buffers uint32 }
	p, caps := testPlanner(t), h100(t)
	tall := shape{8, 1, 64, 4, 1}
	for _, c := range []struct {
		name        string
		d           int
		heads, rows int
		shared      uint32
		want        shape
	}{
		{"64", 64, 16, 8192, 0, shape{4, 2, 64, 4, 1}},
		{"96", 96, 16, 8192, 0, shape{4, 2, 32, 2, 1}},
		{"128, many tiles", 128, 16, 8192, 0, shape{8, 2, 32, 1, 2}},
		{"128, few tiles", 128, 16, 2048, 0, tall},
		{"128, many heads of few rows", 128, 1024, 128, 0, tall},
		{"128, many heads of more rows", 128, 1024, 200, 0, shape{8, 2, 32, 1, 2}},
		{"128, 32 KiB", 128, 16, 8192, 32 << 10, shape{8, 1, 32, 2, 1}},
		{"192", 192, 16, 8192, 0, shape{8, 1, 16, 1, 2}},
		{"256", 256, 16, 8192, 0, shape{8, 1, 16, 1, 2}},
	} {
		op, caps := halves(c.d, c.d), caps.Clone()
		op.HeadsQ, op.SeqQ = c.heads, c.rows
		if c.shared > 0 {
			caps.Limits.MaxComputeSharedMemorySize = c.shared
		}
		f, why := p.fitMatrix(&caps, op.Canonical(), vkattn.Float16, nil)
		if why != "" {
			t.Fatalf("%s: %s", c.name, why)
		}
		k := f.key.(matrixKey)
		for name, narrower := range map[string]func(*vkattn.Attention){"causal": func(o *vkattn.Attention) { o.Causal = true }, "a window": func(o *vkattn.Attention) { o.Window.Left = vkattn.Tokens(900) },
			"chunks": func(o *vkattn.Attention) { o.Chunk = 4096 }} {
			op := op
			narrower(&op)
			if f, why := p.fitMatrix(&caps, op.Canonical(), vkattn.Float16, nil); why != "" || c.d == 128 && f.key.tileRows() > wideRows/2 {
				t.Errorf("%s, %s: %+v %s", c.name, name, f.key, why)
			}
		}
		p.fixedTile = true
		if f, why := p.fitMatrix(&caps, op.Canonical(), vkattn.Float16, nil); why != "" || c.d == 128 && f.key.tileRows() > wideRows/2 {
			t.Errorf("%s, the bits of a sequence being its own: %+v %s", c.name, f.key, why)
		}
		p.fixedTile = false
		if got := (shape{k.Invocations / k.SubgroupSize, k.RowMats, k.KeyTile, k.ChunkMats, k.Buffers}); !k.Range || got != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
		if g := k.loaded(k.Types, 4).(matrixKey); g.Range || g.KeyTile%keyTile != 0 || g.keys() != k.keys() || g.tileRows() != k.tileRows() || k.forPiece(&piece{resume: true}, 0, true).(matrixKey).rangeParts != (rangeParts{true, true, true, k.ChunkMats, k.Buffers}) {
			t.Errorf("%s: %+v", c.name, k)
		}
	}
}
