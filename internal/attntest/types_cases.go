package attntest

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/vkattn/vkattn"
)

// TypeCase is one entry of the table of types: a call of Cases' kind in other types than float32.
type TypeCase struct {
	Name   string
	Op     vkattn.Attention
	Sample bool // of the fixed sample

	base    Case    // the same call in float32
	factors factors // of 8-bit floats
}

// factors is how many descale factors there are.
type factors uint8

const (
	noFactors   factors = iota
	oneFactor           // per tensor
	headFactors         // per batch and head
	blockFactors
)

// factorBlock is the tokens of a block of factors: no divisor and no multiple of any tile.
const factorBlock = 24

// typeSet is types of q, k, v and out.
type typeSet [4]vkattn.Type

func (t typeSet) String() string {
	if t[1] == t[0] && t[2] == t[0] && t[3] == t[0] {
		return t[0].String()
	}
	return fmt.Sprintf("%s-%s-%s-%s", t[0], t[1], t[2], t[3])
}

func (t typeSet) blocks() bool { return t[1].Size() == 0 || t[2].Size() == 0 }

// typeSets: those of models first, then each type of keys and values beside exact queries, where nothing hides an
// error of theirs.
var typeSets = func() []typeSet {
	f32, f16, bf16, e4m3, e5m2, q8, q4 := vkattn.Float32, vkattn.Float16, vkattn.BFloat16, vkattn.F8E4M3, vkattn.F8E5M2, vkattn.Q8_0, vkattn.Q4_0
	return []typeSet{
		{f16, f16, f16, f16}, {bf16, bf16, bf16, bf16}, {f16, f16, f16, f32}, {f16, q8, q8, f16}, {f16, q8, q4, f16}, {bf16, q4, q4, bf16},
		{f16, e4m3, e4m3, f16}, {bf16, e5m2, e4m3, bf16}, {e4m3, e4m3, e4m3, bf16}, {e4m3, e4m3, e4m3, f32}, {e5m2, e5m2, e5m2, f16}, {f16, bf16, f16, bf16},
		{f32, f16, f16, f32}, {f32, bf16, bf16, f32}, {f32, e4m3, e4m3, f32}, {f32, e5m2, e5m2, f32}, {f32, q8, q8, f32}, {f32, q4, q4, f32}, {f32, q8, f16, f32}, {f32, f16, q4, f32},
		{f32, f32, f32, f16}, {f32, f32, f32, e4m3}, {bf16, f32, f32, e5m2},
	}
}()

var (
	gridDims   = [][2]int{{40, 40}, {59, 59}, {64, 64}, {80, 80}, {96, 96}, {128, 128}, {192, 128}, {256, 256}, {576, 512}}
	gridShared = []int{1, 4, 7, 8}
)

// typeKind is one kind of call.
type typeKind struct {
	name string
	mods []mod
}

// wideRows is a layout of rows at whole blocks of keys, with room between them.
func wideRows() layout { return layout{order: "bsh", pad: [3]int{32, 64, 32}, offset: 32} }

func typeKinds() []typeKind {
	return []typeKind{
		{"prefill", []mod{size(2, 65, 130), heads(4, 2, 2), causal}},
		{"decode", []mod{size(2, 1, 300), heads(8, 2, 2), keyLengths(300, 77)}},
		{"rows-3", []mod{size(1, 3, 257), heads(6, 3, 1), cyclic}},
		{"varlen", []mod{packed([]int{17, 0, 40, 1}, []int{33, 5, 64, 70}, 3), heads(4, 2, 2), causal}},
		{"window-sinks", []mod{size(2, 70, 100), heads(4, 4, 4), causal, window(tok(20), tok(0)), sinks(normalSinks)}},
		{"softcap", []mod{size(1, 33, 90), heads(3, 3, 3), softcap(5)}},
		{"alibi-bias", []mod{size(1, 40, 40), heads(4, 1, 1), alibi(standardSlopes), biasTable("b", "inf", 0, 0)}},
		{"mask", []mod{size(2, 31, 97), heads(2, 1, 2), boolMask("h", "rows", 0, 0)}},
		{"empty-rows", []mod{size(1, 90, 50), heads(2, 2, 2), causal}},
		{"blocks", []mod{size(1, 96, 128), heads(2, 2, 2), blocks(32, 32, false, true, 0.6)}},
		{"strided", []mod{size(2, 20, 70), heads(4, 2, 2), place(wideRows(), "Q K V Out")}},
		{"nan", []mod{size(1, 12, 60), heads(2, 2, 2), causal, liveNaN("v")}},
		{"no-rows", []mod{size(1, 0, 40)}}, {"no-keys", []mod{size(1, 4, 0)}},
	}
}

// gridKinds is the number of kinds, from the first, that are not about edges.
const gridKinds = 8

// TypeCases is the whole table, the same in every run: every set of types with one call of each kind, so that each kind
// of call meets every set in some head size.
func TypeCases() []TypeCase {
	kinds := typeKinds()
	odd := layout{order: "bsh", pad: [3]int{3, 5, 1}, offset: 7}
	dims := [][2]int{{64, 64}, {128, 128}, {96, 32}, {32, 160}, {192, 128}, {576, 512}}
	oddDims := [][2]int{{64, 64}, {80, 80}, {37, 21}, {128, 128}, {1, 3}, {96, 64}}
	var all []TypeCase
	for n, types := range typeSets {
		for m, kind := range kinds {
			s := newSpec(kind.mods...)
			d := dims[(n+m)%len(dims)]
			if !types.blocks() {
				d = oddDims[(n+m)%len(oddDims)]
				if kind.name == "strided" {
					place(odd, "Q K V Out")(s)
				}
			}
			s.op.HeadDim, s.op.ValueDim = d[0], d[1]
			all = append(all, makeTypeCase("types/"+types.String()+"/"+kind.name, s, types, noFactors))
		}
		for f := oneFactor; f <= blockFactors; f++ {
			if !strings.Contains(types.String(), "f8") {
				continue
			}
			for _, m := range []int{0, 1, 3, 10} {
				s := newSpec(kinds[m].mods...)
				s.op.HeadDim, s.op.ValueDim = 64, 48
				name := fmt.Sprintf("types/%s/%s-%s", types, kinds[m].name, [...]string{oneFactor: "factor", headFactors: "factors", blockFactors: "block-factors"}[f])
				all = append(all, makeTypeCase(name, s, types, f))
			}
		}
	}
	s := newSpec(size(1, 7, 90), heads(4, 1, 1), shared("kv"))
	s.op.HeadDim, s.op.ValueDim = 576, 512
	all = append(all, makeTypeCase("types/f16-q8_0-q8_0-f16/latent", s, typeSet{vkattn.Float16, vkattn.Q8_0, vkattn.Q8_0, vkattn.Float16}, noFactors))
	for n := range all {
		all[n].Sample = n%5 == 0
	}
	all = append(all, gridCases(false)...)
	// Each kind in one small head size, for kernels that take long to compile on a software driver.
	for _, types := range typeSets[:2] {
		for _, kind := range kinds {
			s := newSpec(kind.mods...)
			s.op.HeadDim, s.op.ValueDim = 24, 16
			all = append(all, makeTypeCase("types/"+types.String()+"/"+kind.name, s, types, noFactors))
		}
	}
	return all
}

// TypeProduct is every set of types in every head size of models, every number of heads that share their keys, and every kind but those
// of edges: thousands of cases.
func TypeProduct() []TypeCase { return gridCases(true) }

// gridCases are those of TypeProduct, or with the kinds in turns, so that each meets every size and number.
func gridCases(product bool) (all []TypeCase) {
	kinds := typeKinds()[:gridKinds]
	for n, types := range typeSets {
		for i, d := range gridDims {
			if types.blocks() && (d[0]%32 != 0 || d[1]%32 != 0) {
				continue
			}
			for j, shared := range gridShared {
				for k, kind := range kinds {
					if !product && k != (n+i+3*j)%gridKinds {
						continue
					}
					s := newSpec(append(slices.Clone(kind.mods), heads(2*shared, 2, 2))...)
					s.op.HeadDim, s.op.ValueDim = d[0], d[1]
					all = append(all, makeTypeCase("types/"+types.String()+"/grid-"+kind.name, s, types, noFactors))
				}
			}
		}
	}
	return all
}

func makeTypeCase(name string, s *spec, types typeSet, f factors) TypeCase {
	c := TypeCase{base: makeCase(name, s), factors: f}
	c.Name, c.Op = c.base.Name, c.base.Op
	c.Op.TypeQ, c.Op.TypeK, c.Op.TypeV, c.Op.TypeOut = types[0], types[1], types[2], types[3]
	if f == noFactors {
		return c
	}
	for i, w := range []vkattn.With{vkattn.WithDescaleQ, vkattn.WithDescaleK, vkattn.WithDescaleV} {
		if !math.IsInf(types[i].Max(), 0) && types[i].Size() == 1 {
			c.Op.With |= w
		}
	}
	if f == blockFactors {
		c.Op.DescaleBlock = factorBlock
	}
	return c
}
