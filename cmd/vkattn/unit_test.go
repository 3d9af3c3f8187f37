package main

import (
	"math"
	"slices"
	"testing"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/cpu"
	"github.com/vkattn/vkattn/internal/tensorio"
)

func TestGuessLayout(t *testing.T) {
	for _, c := range []struct {
		asked   string
		q, k, v []int
		packed  bool
		want    string // "" is an error
	}{
		{"auto", []int{1, 8, 64, 32}, []int{1, 2, 64, 32}, []int{1, 2, 64, 32}, false, "bhsd"},
		{"auto", []int{1, 64, 8, 32}, []int{1, 60, 2, 32}, []int{1, 60, 2, 16}, false, "bshd"},
		{"auto", []int{1, 8, 8, 32}, []int{1, 8, 8, 32}, []int{1, 8, 8, 32}, false, "bhsd"},
		{"bshd", []int{1, 8, 8, 32}, []int{1, 8, 8, 32}, []int{1, 8, 8, 32}, false, "bshd"},
		{"auto", []int{64, 8, 8}, []int{64, 4, 8}, []int{64, 4, 8}, false, "thd"},
		{"auto", []int{8, 64, 32}, []int{2, 50, 32}, []int{2, 50, 32}, false, "hsd"},
		{"bhsd", []int{8, 64, 32}, []int{8, 64, 32}, []int{8, 64, 32}, false, "hsd"},
		{"auto", []int{20, 4, 8}, []int{31, 2, 8}, []int{31, 2, 8}, true, "thd"},
		{"auto", []int{20, 8}, []int{31, 8}, []int{31, 4}, false, "sd"},
		{"auto", []int{20, 8}, []int{31, 8, 1}, []int{31, 4}, false, ""},
		{"auto", []int{20}, []int{31}, []int{31}, false, ""},
		{"thd", []int{1, 8, 64, 32}, []int{1, 8, 64, 32}, []int{1, 8, 64, 32}, false, ""},
		{"auto", []int{1, 8, 64, 32}, []int{1, 8, 64, 32}, []int{1, 8, 64, 32}, true, ""},
	} {
		got, _, err := guessLayout(c.asked, c.q, c.k, c.v, c.packed)
		if got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("guessLayout(%s, %v, %v, %v) = %q, %v, want %q", c.asked, c.q, c.k, c.v, got, err, c.want)
		}
	}
}

func TestPickRows(t *testing.T) {
	op := vkattn.Attention{Batch: 2, HeadsQ: 4, SeqQ: 50, SeqK: 50, HeadDim: 8}.Canonical()
	seqs := []vkattn.Sequence{{Sq: 50, Sk: 50}, {Index: 1, Sq: 0, Sk: 50}, {Index: 2, Sq: 20, Sk: 50}}
	rows, total := pickRows(op, seqs, -1)
	if total != 280 || len(rows) != total {
		t.Errorf("%d rows of %d, want all 280", len(rows), total)
	}
	rows, _ = pickRows(op, seqs, 56)
	if len(rows) != 56 {
		t.Errorf("%d rows, want 56", len(rows))
	}
	for _, edge := range []cpu.Row{{Sequence: 0, Head: 0, I: 0}, {Sequence: 0, Head: 3, I: 49}, {Sequence: 2, Head: 1, I: 19}} {
		if !slices.Contains(rows, edge) {
			t.Errorf("the sample lacks %v", edge)
		}
	}
	if rows, _ = pickRows(op, seqs, 3); len(rows) != 3 {
		t.Errorf("%d rows, want 3", len(rows))
	}
	seen := 0
	for _, part := range partition(rows, 2) {
		seen += part[1] - part[0]
	}
	if seen != 3 {
		t.Errorf("parts hold %d rows, want 3", seen)
	}
	big := op
	big.HeadDim, big.ValueDim = 128, 128
	rows, total = pickRows(big, []vkattn.Sequence{{Sq: 4096, Sk: 131072}}, 0)
	if len(rows) == 0 || len(rows) > total/100 {
		t.Errorf("%d of %d rows of a large problem", len(rows), total)
	}
}

func TestRowError(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	for _, c := range []struct {
		got   []float32
		want  []float64
		floor float64
		err   float64
	}{
		{[]float32{3, 4}, []float64{3, 4}, 0, 0},
		{[]float32{3, 5}, []float64{3, 4}, 0, 0.2},
		{[]float32{3, 5}, []float64{3, 4}, 10, 0.1},
		{[]float32{0, 0}, []float64{0, 0}, 0, 0},
		{[]float32{1e-30, 0}, []float64{0, 0}, 0, math.MaxFloat64},
		{[]float32{float32(nan), 4}, []float64{3, 4}, 0, math.MaxFloat64},
		{[]float32{float32(nan), 4}, []float64{nan, 4}, 0, 0},
		{[]float32{1, 4}, []float64{nan, 4}, 0, math.MaxFloat64},
		{[]float32{float32(inf), 4}, []float64{inf, 4}, 0, 0},
	} {
		if e := rowError(c.got, c.want, c.floor); math.Abs(e-c.err) > 1e-12 {
			t.Errorf("rowError(%v, %v, %v) = %v, want %v", c.got, c.want, c.floor, e, c.err)
		}
	}
	inf32 := float64(math.Inf(-1))
	if lseError(inf32, inf32) != 0 || lseError(0, inf32) != math.MaxFloat64 || math.Abs(lseError(101, 100)-0.01) > 1e-12 {
		t.Error("lseError")
	}
}

// TestPerToken: numbers of tokens are found at the same place as the tokens' vectors, in every layout.
func TestPerToken(t *testing.T) {
	const batch, heads, tokens = 2, 3, 5
	for _, c := range []struct {
		layout string
		shape  []int // without the last axis
		at     func(b, h, s int) int
	}{
		{"bhsd", []int{batch, heads, tokens}, func(b, h, s int) int { return (b*heads+h)*tokens + s }},
		{"bshd", []int{batch, tokens, heads}, func(b, h, s int) int { return (b*tokens+s)*heads + h }},
		{"thd", []int{tokens, heads}, func(_, h, s int) int { return s*heads + h }},
		{"hsd", []int{heads, tokens}, func(_, h, s int) int { return h*tokens + s }},
		{"sd", []int{tokens}, func(_, _, s int) int { return s }},
	} {
		axes := len(c.shape) + 1
		for _, last := range []int{0, 1, 4} { // 0: the axis is missing
			shape, size := slices.Clone(c.shape), max(last, 1)
			if last > 0 {
				shape = append(shape, last)
			}
			n := size
			for _, x := range c.shape {
				n *= x
			}
			data := make([]float32, n)
			for i := range data {
				data[i] = float32(i)
			}
			x, err := asPerToken(tensorio.NewFloat32("g", shape, data), c.layout, axes)
			if err != nil {
				t.Fatal(err)
			}
			got := x.Mem.(*vkattn.Host).Float32s()
			for b := range x.Shape[0] {
				for h := range x.Shape[1] {
					for s := range x.Shape[2] {
						if at := x.Index(b, h, s, size-1); got[at] != float32(c.at(b, h, s)*size+size-1) {
							t.Errorf("%s, last axis %d: (%d, %d, %d) is number %d", c.layout, last, b, h, s, at)
						}
					}
				}
			}
		}
		if _, err := asPerToken(tensorio.NewFloat32("g", append([]int{1, 1}, c.shape...), make([]float32, 30)), c.layout, axes); err == nil {
			t.Errorf("%s: too many axes were taken", c.layout)
		}
	}
}

func TestPositions(t *testing.T) {
	for _, c := range []struct {
		text string
		want []int32 // nil is an error
	}{
		{"0,5", []int32{0, 5}}, {"0-3,9", []int32{0, 1, 2, 3, 9}}, {"-3", []int32{-3}}, {"7-7", []int32{7}}, {"2147483646-2147483647", []int32{2147483646, 2147483647}},
		{"5-1", nil}, {"0-2147483647", nil}, {"-5--3", nil}, {"1-", nil}, {"x", nil}, {"1,,2", nil},
	} {
		got, err := positions("global", c.text)
		if !slices.Equal(got, c.want) || (err == nil) != (c.want != nil) {
			t.Errorf("%s: %v, %v", c.text, got, err)
		}
	}
}

func TestParseFlags(t *testing.T) {
	if w, err := parseWindow("inf,-3"); err != nil || w.Left.Set || w.Right != vkattn.Tokens(-3) {
		t.Errorf("%v %v", w, err)
	}
	if a, off, err := parseAlign("-3,4"); err != nil || a != vkattn.AlignOffset || !slices.Equal(off, []int{-3, 4}) {
		t.Errorf("%v %v %v", a, off, err)
	}
	if d, err := headdims("64,192-128,16-32*2"); err != nil || !slices.Equal(d, [][2]int{{64, 64}, {192, 128}, {16, 16}, {32, 32}}) {
		t.Errorf("%v %v", d, err)
	}
}
