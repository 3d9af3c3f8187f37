package vk

import (
	"net/url"
	"testing"
)

// TestQuirks: whom the table is about, and whom not.
func TestQuirks(t *testing.T) {
	for _, c := range []struct {
		name string
		caps Caps
		want []Effect
	}{
		{"Radeon 860M, Windows", Caps{DriverID: driverAMD, VendorID: vendorAMD, DeviceType: "integrated", Features: Features{DotAcceleratedMixed: true}}, []Effect{EffectQueryCrashes}},
		{"RX 7900 XTX, Windows", Caps{DriverID: driverAMD, VendorID: vendorAMD, DeviceType: "discrete", Features: Features{DotAcceleratedMixed: true}}, nil},
		{"RX 6800, Windows", Caps{DriverID: driverAMD, VendorID: vendorAMD, DeviceType: "discrete"}, []Effect{EffectMatrixSlow}},
		{"RX 6800, RADV", Caps{DriverID: 3, VendorID: vendorAMD, DeviceType: "discrete"}, nil},
		{"Arc Pro B70, Windows", Caps{Name: "Intel(R) Arc(TM) Pro B70 Graphics", DriverID: driverIntel, DeviceType: "discrete", Subgroup: Subgroup{Min: 16}}, []Effect{EffectMatrixHangs}},
		{"Arc B580, Mesa", Caps{DriverID: driverIntelMesa, DeviceType: "discrete", Subgroup: Subgroup{Min: 16}}, nil},
		{"Arc A770, Mesa", Caps{DriverID: driverIntelMesa, DeviceType: "discrete", Subgroup: Subgroup{Min: 8}}, []Effect{EffectMatrixSlow}},
		{"Arc A770, Windows", Caps{DriverID: driverIntel, DeviceType: "discrete", Subgroup: Subgroup{Min: 8}}, []Effect{EffectMatrixSlow}},
		{"RTX 2070 by name", Caps{Name: "NVIDIA GeForce RTX 2070", DriverID: driverNVIDIA}, []Effect{EffectMatrixWrong}},
		{"RTX 2000 Ada by name", Caps{Name: "NVIDIA RTX 2000 Ada Generation", DriverID: driverNVIDIA}, nil},
		{"TU104", Caps{DriverID: driverNVIDIA, DeviceID: 0x1e87}, []Effect{EffectMatrixWrong}},
		{"H100", Caps{DriverID: driverNVIDIA, DeviceID: 0x2330}, nil},
		{"Adreno", Caps{DriverID: driverQualcomm}, []Effect{EffectMatrixWrong}},
		{"RX 6600, MoltenVK", Caps{DriverID: driverMoltenVK, VendorID: vendorAMD, Subgroup: Subgroup{Size: 64}}, []Effect{EffectShuffleWrong}},
		{"M1, MoltenVK", Caps{DriverID: driverMoltenVK, VendorID: 0x106b, Subgroup: Subgroup{Size: 32}}, nil},
		{"llvmpipe", Caps{DriverID: driverLLVMpipe, DeviceType: "cpu"}, []Effect{EffectLoopsEnd}},
	} {
		found := Quirks(&c.caps)
		ok := len(found) == len(c.want)
		for i := range min(len(found), len(c.want)) {
			_, has := c.caps.Quirk(c.want[i])
			ok = ok && found[i].Effect == c.want[i] && has
		}
		if !ok {
			t.Errorf("%s: %v, want %v", c.name, found, c.want)
		}
		if got := askByQuirks(&c.caps, queryShapes); got == (len(c.want) > 0 && c.want[0] == EffectQueryCrashes) {
			t.Errorf("%s: asked: %v", c.name, got)
		}
	}
}

// TestQuirksEvidence: every row says what is wrong, and where that is shown.
func TestQuirksEvidence(t *testing.T) {
	for _, q := range knownQuirks {
		if q.What == "" || len(q.Evidence) == 0 {
			t.Errorf("%s: %q has no evidence", q.Effect, q.What)
		}
		for _, e := range q.Evidence {
			if u, err := url.Parse(e); err != nil || u.Scheme != "https" {
				t.Errorf("%s: %q is no link", q.Effect, e)
			}
		}
	}
}
