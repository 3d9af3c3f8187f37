package attntest

import (
	"fmt"
	"strings"

	"github.com/vkattn/vkattn"
)

// ropeSpec is a call of Rope without its data.
type ropeSpec struct {
	op        vkattn.Rope
	spare     int  // capacity of the plan beyond the call, in sequences and tokens
	perBatch  bool // each sequence has tables of its own
	rows      int  // of the tables, where positions name them
	positions int  // lists of positions: 0 is none, 1 all sequences share, Batch is one for each
	inPlace   bool
	layouts   map[string]layout // by tensor: Q, Out, Cos, Sin
}

// RopeCase is one entry of the table of Rope.
type RopeCase struct {
	Name string
	Op   vkattn.Rope
	spec ropeSpec
}

// RopeTypeCases are calls in other types than float32, the same in every run.
func RopeTypeCases() []RopeCase {
	var all []RopeCase
	f32, f16, bf16 := vkattn.Float32, vkattn.Float16, vkattn.BFloat16
	for _, t := range [][2]vkattn.Type{{f16, f16}, {bf16, bf16}, {f16, f32}, {f32, bf16}} {
		for n, c := range RopeCases() {
			if c.spec.inPlace && t[0] != t[1] || t[0] != t[1] && n%3 != 0 {
				continue
			}
			c.Name = fmt.Sprintf("rope/types/%s-%s/%s", t[0], t[1], strings.TrimPrefix(c.Name, "rope/"))
			c.Op.TypeQ, c.Op.TypeOut = t[0], t[1]
			all = append(all, c)
		}
	}
	return all
}

// RopeCases is the whole table in float32, the same in every run.
func RopeCases() []RopeCase {
	var all []RopeCase
	add := func(name string, mods ...func(*ropeSpec)) {
		for _, l := range []vkattn.RopeLayout{vkattn.RopeHalf, vkattn.RopeInterleaved} {
			s := ropeSpec{op: vkattn.Rope{Batch: 2, Heads: 3, Seq: 17, HeadDim: 40, Layout: l}, rows: 50}
			for _, m := range mods {
				m(&s)
			}
			s.op.Positions = s.positions > 0
			op := s.op
			op.Batch, op.Seq = op.Batch+s.spare, op.Seq+s.spare
			all = append(all, RopeCase{fmt.Sprintf("rope/%s/%s", name, l), op, s})
		}
	}
	dims := func(d, r int) func(*ropeSpec) {
		return func(s *ropeSpec) { s.op.HeadDim, s.op.RotaryDim = d, r }
	}
	at := func(layouts map[string]layout) func(*ropeSpec) { return func(s *ropeSpec) { s.layouts = layouts } }
	lists := func(n, rows int) func(*ropeSpec) { return func(s *ropeSpec) { s.positions, s.rows = n, rows } }
	inPlace := func(s *ropeSpec) { s.inPlace = true }
	inverse := func(s *ropeSpec) { s.op.Inverse = true }
	perBatch := func(s *ropeSpec) { s.perBatch = true }
	for _, n := range []int{0, 1, 17, 63, 65, 257} {
		add(fmt.Sprintf("tokens/%d", n), func(s *ropeSpec) { s.op.Seq = n })
	}
	for _, d := range [][2]int{{2, 2}, {3, 2}, {8, 8}, {40, 0}, {40, 24}, {59, 2}, {59, 40}, {59, 58}, {64, 16}, {80, 80}, {80, 20}, {96, 48}, {128, 128}, {128, 96}, {576, 64}} {
		add(fmt.Sprintf("dims/%d-%d", d[0], d[1]), dims(d[0], d[1]))
		add(fmt.Sprintf("in-place/%d-%d", d[0], d[1]), dims(d[0], d[1]), inPlace)
	}
	for _, n := range []int{1, 2} {
		for _, rows := range []int{1, 7, 1000} {
			add(fmt.Sprintf("positions/%d/%d", n, rows), lists(n, rows))
			add(fmt.Sprintf("positions/%d/%d-per-batch", n, rows), lists(n, rows), perBatch, inPlace, inverse)
		}
	}
	add("one-sequence/positions", lists(1, 9), func(s *ropeSpec) { s.op.Batch = 1 })
	add("empty/batch", func(s *ropeSpec) { s.op.Batch = 0 })
	add("empty/no-rows", lists(1, 0), func(s *ropeSpec) { s.op.Seq = 0 })
	add("inverse", inverse)
	add("per-batch", perBatch)
	add("spare", func(s *ropeSpec) { s.spare = 3 })
	add("strided/bshd", at(map[string]layout{"Q": bshd, "Out": bshd}))
	add("strided/bshd-in-place", at(map[string]layout{"Out": bshd}), inPlace)
	add("strided/odd", at(map[string]layout{"Q": {order: "shb", pad: [3]int{3, 1, 0}, offset: 1}, "Out": {order: "hbs", pad: [3]int{1, 0, 5}, offset: 3},
		"Cos": {order: "bhs", pad: [3]int{1, 2, 3}}, "Sin": {order: "sbh", pad: [3]int{0, 7, 0}, offset: 2}}), perBatch)
	add("strided/odd-in-place", at(map[string]layout{"Out": {order: "sbh", pad: [3]int{3, 0, 1}, offset: 5}}), inPlace, dims(59, 30))
	add("strided/fours", at(map[string]layout{"Q": {order: "bsh", pad: [3]int{4, 8, 0}, offset: 4}, "Out": {order: "hsb", pad: [3]int{12, 0, 4}},
		"Cos": {order: "bhs", pad: [3]int{4, 0, 0}}, "Sin": {order: "bhs", pad: [3]int{8, 4, 0}, offset: 8}}))
	add("strided/wild", at(map[string]layout{"Q": {order: "bhs", wild: true}, "Out": {order: "bsh", wild: true}, "Cos": {order: "bhs", wild: true}}),
		func(s *ropeSpec) { s.op.Batch, s.op.Heads = 1, 1 })
	add("broadcast/heads", at(map[string]layout{"Q": {order: "bhs", zero: "h"}, "Cos": {order: "bhs", zero: "b"}, "Sin": {order: "bhs", zero: "bs"}}), perBatch)
	add("broadcast/all", at(map[string]layout{"Q": {order: "bhs", zero: "bhs"}}), lists(2, 60))
	return all
}
