package dispatch

import (
	"strings"
	"testing"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/internal/spirv"
	"github.com/vkattn/vkattn/shaders"
	"github.com/vkattn/vkattn/vk"
)

// nvidiaLayout is that of matrices of 16x16x16 on an H200, driver 580.159.04.
var nvidiaLayout = matrixLayout{Lanes: 2290225321, Places: 2290647992, Registers: true, Direct: true, RightLanes: 2290784289, RightPlaces: 2290649904, Right: true, KeepsNaN: true}

// TestDecodePlanned: few rows go to flash_decode where the layout of matrices is as it knows, with as many rows and matrices as they need.
func TestDecodePlanned(t *testing.T) {
	card := h100(t)
	decode := vkattn.Attention{Batch: 1, HeadsQ: 32, HeadsK: 8, SeqQ: 1, SeqK: 131072, HeadDim: 128, TypeQ: vkattn.Float16, TypeK: vkattn.Float16, TypeV: vkattn.Float16, TypeOut: vkattn.Float16}
	with := func(change func(*vkattn.Attention)) vkattn.Attention {
		op := decode
		change(&op)
		return op.Canonical()
	}
	same := func(*vkattn.Attention) {}
	other := nvidiaLayout
	other.RightLanes = other.Lanes
	for _, c := range []struct {
		name   string
		op     vkattn.Attention
		layout *matrixLayout // nil: not probed
		plan   func(*planner)
		want   string // "": another kernel serves; else the beginning of the tile
		splits int
	}{
		{"group of 4", with(same), &nvidiaLayout, nil, "4x16, 4 subgroups", 32},
		{"not probed", with(same), nil, nil, "4x16, 4 subgroups", 32},
		{"alone", with(func(op *vkattn.Attention) { op.HeadsQ = 8 }), &nvidiaLayout, nil, "1x16, 4 subgroups", 32},
		{"narrow", with(func(op *vkattn.Attention) { op.HeadDim, op.HeadsQ = 64, 56 }), &nvidiaLayout, nil, "8x16, 4 subgroups", 64},
		{"wide", with(func(op *vkattn.Attention) { op.HeadDim, op.HeadsQ = 256, 128 }), &nvidiaLayout, nil, "16x16, 2 subgroups", 64},
		{"batch", with(func(op *vkattn.Attention) { op.Batch = 64 }), &nvidiaLayout, nil, "4x16, 4 subgroups", 8},
		{"batch of short ones", with(func(op *vkattn.Attention) { op.Batch, op.SeqK = 64, 4096 }), &nvidiaLayout, nil, "4x16, 4 subgroups", 1},
		{"three tokens", with(func(op *vkattn.Attention) { op.SeqQ, op.Causal = 3, true }), &nvidiaLayout, nil, "16x16, 4 subgroups", 32},
		{"five tokens", with(func(op *vkattn.Attention) { op.SeqQ = 5 }), &nvidiaLayout, nil, "", 0},
		{"few keys", with(func(op *vkattn.Attention) { op.SeqK = 500 }), &nvidiaLayout, nil, "", 0},
		{"mixed", with(func(op *vkattn.Attention) { op.TypeOut = vkattn.Float32 }), &nvidiaLayout, nil, "", 0},
		{"odd", with(func(op *vkattn.Attention) { op.HeadDim = 100 }), &nvidiaLayout, nil, "", 0},
		{"softcap", with(func(op *vkattn.Attention) { op.Softcap = 5 }), &nvidiaLayout, nil, "", 0},
		{"other layout", with(same), &other, nil, "", 0},
		{"fixed parts", with(same), &nvidiaLayout, func(p *planner) { p.fixedTile = true }, "", 0},
	} {
		p := testPlanner(t)
		if c.plan != nil {
			c.plan(p)
		}
		key := probeKey{Variant: "matrix_probe", M: 16, N: 16, Lanes: 32}
		delete(p.layouts.known, key)
		if c.layout != nil {
			p.layouts.known[key] = *c.layout
		}
		ch, err := p.choose(&card, c.op, "", nil)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		k, is := ch.matrix.(decodeKey)
		if is != (c.want != "") || !strings.HasPrefix(ch.tile(), c.want) || len(ch.refused) > 0 {
			t.Errorf("%s: %s, %s, refused are %v", c.name, ch.kernel(), ch.tile(), ch.refused)
		}
		if !is {
			continue
		}
		if n := ch.explain(&card, &Config{}).Splits; n != c.splits {
			t.Errorf("%s: %d parts, want %d", c.name, n, c.splits)
		}
		if k.Partial != (c.splits > 1) {
			t.Errorf("%s: the plan builds a pipeline for one part: %v", c.name, !k.Partial)
		}
		if k.rest.tileRows() != k.tileRows() {
			t.Errorf("%s: the kernel for the rest has tiles of %d rows, not %d", c.name, k.rest.tileRows(), k.tileRows())
		}
		if pd, pv := k.padded(); c.layout != nil && (pd < c.op.HeadDim || pv < c.op.ValueDim || k.Whole != (pd == c.op.HeadDim && pv == c.op.ValueDim)) {
			t.Errorf("%s: %+v", c.name, k)
		}
		off, err := p.choose(&card, c.op, "", map[string]string{decodeRung: "said so"})
		if err != nil || len(off.refused) != 1 || off.kernel() == "flash_decode" {
			t.Errorf("%s: %v, refused are %v", c.name, err, off.refused)
		}
		if off, err = p.choose(&card, c.op, "", withoutMatrix(nil)); err != nil || off.matrix != nil {
			t.Errorf("%s: %v, %s without matrices", c.name, err, off.kernel())
		}
	}
	var none vk.Caps
	none.Subgroup.Size = 32
	if _, why := testPlanner(t).fitDecode(&none, decode.Canonical(), nil); !strings.Contains(why, "lacks") {
		t.Errorf("a device without matrices: %q", why)
	}
}

func TestDecodeSpec(t *testing.T) {
	for _, name := range decodeVariants {
		m, err := shaders.Load(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := spirv.CheckSpec(m.Info, map[string]uint32{"local_size_x": 0, "SUBGROUP": 1, "M": 2, "N": 3, "ROWS": 4, "DIM_MATS": 6, "VALUE_MATS": 7,
			"AHEAD": 10, "LANES": 13, "PLACES": 14, "RIGHT_LANES": 15, "RIGHT_PLACES": 16, "KEEPS_NAN": 17, "PARTIAL": 23, "WHOLE": 24, "ROUNDING": 28}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
