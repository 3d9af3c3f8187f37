package attntest

import (
	"slices"
	"testing"

	"github.com/vkattn/vkattn"
)

// MaskCases are all masks and extras, alone and some of them together, in sixteen-bit types and one small head size: for
// kernels that a software driver compiles for long, and which see all of that as data.
func MaskCases() []TypeCase {
	kinds := []struct {
		name string
		mods []mod
	}{
		{"dense", []mod{size(2, 70, 70), heads(4, 2, 2)}},
		{"causal", []mod{size(2, 65, 130), heads(4, 2, 1), causal}},
		{"causal-ahead", []mod{size(1, 130, 33), heads(2, 2, 2), causal, offset(-20)}},
		{"window", []mod{size(1, 100, 150), heads(2, 1, 1), window(tok(37), tok(5))}},
		{"window-tokens", []mod{size(1, 90, 140), heads(2, 2, 2), causal, window(tok(20), tok(0)), sinkTokens(3)}},
		{"chunk", []mod{size(1, 90, 140), heads(2, 2, 2), causal, chunk(48)}},
		{"prefix", []mod{size(2, 60, 60), heads(2, 2, 2), causal, prefix(10, 41)}},
		{"global", []mod{size(1, 90, 90), heads(2, 2, 2), window(tok(8), tok(8)), global(0, 40, 77)}},
		{"lengths", []mod{size(3, 40, 90), heads(2, 1, 1), keyLengths(90, 33, 0)}},
		{"packed", []mod{packed([]int{17, 0, 40, 1, 33}, []int{33, 5, 64, 70, 2}, 3), heads(4, 2, 2), causal}},
		{"packed-heads", []mod{size(1, 5, 150), heads(16, 2, 2), causal, cyclic}},
		{"bases", []mod{size(1, 40, 70), heads(2, 2, 2), causal, bases(100, 90), window(tok(30), tok(0))}},
		{"sinks", []mod{size(1, 40, 70), heads(4, 4, 4), causal, window(tok(3), tok(-2)), sinks(normalSinks)}},
		{"negative-scale", []mod{size(1, 40, 70), heads(2, 2, 2), scale(-0.7)}},
		{"zero-scale", []mod{size(1, 40, 70), heads(2, 2, 2), causal, scale(0)}},
		{"tiny-scale", []mod{size(1, 40, 70), heads(2, 2, 2), causal, scale(-1e-42)}},
		{"softcap", []mod{size(1, 33, 90), heads(3, 3, 3), softcap(5)}},
		{"alibi", []mod{size(1, 40, 90), heads(4, 1, 1), causal, alibi(standardSlopes)}},
		{"bias", []mod{size(2, 40, 90), heads(4, 2, 2), biasTable("b", "inf", 0, 0)}},
		{"relative", []mod{size(1, 60, 60), heads(2, 2, 2), relative(9)}},
		{"mask", []mod{size(2, 31, 97), heads(2, 1, 2), boolMask("h", "rows", 0, 0)}},
		{"mask-blocks", []mod{size(1, 64, 200), heads(2, 2, 2), boolMask("", "rows", 0, 0), maskBlock(48)}},
		{"tree", []mod{size(1, 24, 90), heads(2, 2, 2), treeMask("", "rows", 0, 0)}},
		{"blocks", []mod{size(1, 96, 128), heads(2, 2, 2), blocks(32, 32, false, true, 0.6)}},
		{"blocks-odd", []mod{size(1, 90, 150), heads(2, 2, 2), causal, blocks(20, 24, false, false, 0.5)}},
		{"unaligned", []mod{size(2, 40, 70), heads(4, 2, 2), causal, place(layout{order: "bsh", pad: [3]int{3, 5, 1}, offset: 7}, "Q K V Out")}},
		{"nan", []mod{size(1, 40, 60), heads(2, 2, 2), causal, liveNaN("v")}},
	}
	var all []TypeCase
	for _, types := range []typeSet{{vkattn.Float16, vkattn.Float16, vkattn.Float16, vkattn.Float16}, {vkattn.BFloat16, vkattn.BFloat16, vkattn.BFloat16, vkattn.Float32}} {
		for _, kind := range kinds {
			s := newSpec(slices.Concat(kind.mods, []mod{dims(24, 16)})...)
			all = append(all, makeTypeCase("masks/"+types.String()+"/"+kind.name, s, types, noFactors))
		}
	}
	return all
}

// RunMasks runs the chosen cases of MaskCases as subtests of t.
func RunMasks(t *testing.T, b vkattn.Backend, o Options) {
	t.Helper()
	runTypes(t, b, MaskCases(), o)
}
