package attntest

import (
	"fmt"
	"slices"
	"testing"

	"github.com/vkattn/vkattn"
)

// DecodeCases are few rows over many keys of q8_0 and q4_0: each set of types and head size, with 1, 4, 7 or 8 rows that share
// their keys, and masks and extras in turn.
func DecodeCases() []TypeCase {
	f32, f16, bf16, q8, q4 := vkattn.Float32, vkattn.Float16, vkattn.BFloat16, vkattn.Q8_0, vkattn.Q4_0
	kinds := []struct {
		name string
		mods []mod
	}{
		{"causal", []mod{size(1, 1, 530), causal}},
		{"lengths", []mod{size(2, 1, 600), keyLengths(600, 77), noLSE}},
		{"mask", []mod{size(1, 1, 545), boolMask("", "rows", 0, 0)}},
		{"packed", []mod{packed([]int{1, 0, 1}, []int{513, 5, 64}, 3), causal, noLSE}},
		{"window-sinks", []mod{size(1, 1, 700), causal, window(tok(300), tok(0)), sinkTokens(3), sinks(normalSinks)}},
		{"softcap-alibi", []mod{size(1, 1, 520), softcap(5), alibi(standardSlopes), noLSE}},
		{"strided", []mod{size(2, 1, 514), place(layout{order: "bsh", pad: [3]int{32, 64, 32}, offset: 32}, "Q K V Out"), noLSE}},
		{"nan", []mod{size(1, 1, 512), causal, liveNaN("q")}},
	}
	groups := []int{1, 4, 7, 8}
	var all []TypeCase
	for n, types := range []typeSet{{f32, q8, q8, f32}, {f32, q4, q4, f32}, {f16, q8, q8, f16}, {f16, q4, q8, f16}, {bf16, q8, q4, bf16}, {bf16, q4, q4, bf16}, {f32, q8, f32, f16}} {
		for m, d := range []int{32, 64, 128, 256} {
			kind, group := kinds[(3*n+m)%len(kinds)], groups[(n+m)%len(groups)]
			s := newSpec(slices.Concat(kind.mods, []mod{heads(2*group, 2, 2), dims(d, d)})...)
			all = append(all, makeTypeCase(fmt.Sprintf("decode/%s/%s", types, kind.name), s, types, noFactors))
			all[len(all)-1].Sample = m == n%2 // heads of 32 and 64, in turn
		}
	}
	return all
}

// RunDecode runs the chosen cases of DecodeCases as subtests of t.
func RunDecode(t *testing.T, b vkattn.Backend, o Options) {
	t.Helper()
	runTypes(t, b, DecodeCases(), o)
}
