package vkattn

import (
	"math"
	"testing"

	"pgregory.net/rapid"
)

// drawSequence draws a call of one sequence with masks by position, and returns its sequence and the rule
// of SEMANTICS.md for a pair, written on absolute positions.
func drawSequence(t *rapid.T) (Sequence, func(i, j int) bool) {
	sq, sk := rapid.IntRange(0, 40).Draw(t, "sq"), rapid.IntRange(0, 60).Draw(t, "sk")
	op := Attention{Batch: 1, HeadsQ: 1, SeqQ: sq, SeqK: sk, HeadDim: 1}
	memory := Float32s(make([]float32, 100))
	args := Args{Q: BHSD(memory, 1, 1, sq, 1), K: BHSD(memory, 1, 1, sk, 1), V: BHSD(memory, 1, 1, sk, 1),
		Out: BHSD(Float32s(make([]float32, 100)), 1, 1, sq, 1)}
	coin := func(name string) bool { return rapid.Bool().Draw(t, name) }
	near := rapid.IntRange(-70, 70)

	base := rapid.SampledFrom([]int{0, 0, 0, 17, -30, 1 << 33, 1 << 59, -1 << 59}).Draw(t, "base")
	args.QBase, args.KBase = base+near.Draw(t, "qbase"), base+near.Draw(t, "kbase")
	op.Align = rapid.SampledFrom([]Align{AlignBottomRight, AlignTopLeft, AlignOffset}).Draw(t, "align")
	off := 0
	switch op.Align {
	case AlignOffset:
		off = near.Draw(t, "offset")
		args.Offset = []int{off}
	case AlignBottomRight:
		off = sk - sq
	}
	prefix := math.MinInt
	if op.Causal = coin("causal"); op.Causal && coin("prefix") {
		op.With |= WithPrefix
		prefix = near.Draw(t, "prefix length")
		args.Prefix = []int32{int32(prefix)}
	}
	if coin("left") {
		op.Window.Left = Tokens(rapid.OneOf(near, rapid.SampledFrom([]int{MaxSequence, -MaxSequence})).Draw(t, "left tokens"))
	}
	if coin("right") {
		op.Window.Right = Tokens(rapid.OneOf(near, rapid.SampledFrom([]int{MaxSequence, -MaxSequence})).Draw(t, "right tokens"))
	}
	global := map[int]bool{}
	if op.Window.Given() {
		if coin("sinks") {
			op.SinkTokens = rapid.IntRange(0, 70).Draw(t, "sink tokens")
		}
		if coin("global") {
			op.With |= WithGlobal
			at := rapid.IntRange(-20, 5).Draw(t, "first global")
			for range rapid.IntRange(0, 5).Draw(t, "globals") {
				args.Global = append(args.Global, int32(at))
				global[at] = true
				at += rapid.IntRange(1, 30).Draw(t, "step")
			}
		}
	}
	if coin("chunk") {
		op.Chunk = rapid.IntRange(1, 70).Draw(t, "chunk tokens")
	}
	seqs, err := op.Check(&args)
	if err != nil {
		t.Fatal(err)
	}
	return seqs[0], func(i, j int) bool {
		row, key := args.QBase+i+off, args.KBase+j
		if op.Chunk > 0 {
			lo := row - ((row%op.Chunk)+op.Chunk)%op.Chunk
			if key < lo || key >= lo+op.Chunk {
				return false
			}
		}
		if op.Causal && key > row && key >= prefix {
			return false
		}
		inside := (!op.Window.Left.Set || key >= row-op.Window.Left.N) && (!op.Window.Right.Set || key <= row+op.Window.Right.N)
		return inside || op.SinkTokens > 0 && key < op.SinkTokens || global[row] || global[key]
	}
}

func TestVisibleSpansPairs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, rule := drawSequence(t)
		n := int64(0)
		for i := range s.Sq {
			row := s.Spans(nil, i, i+1)
			inSpan := make([]bool, s.Sk)
			for k, span := range row {
				if span.Lo >= span.Hi || span.Lo < 0 || span.Hi > s.Sk || k > 0 && span.Lo <= row[k-1].Hi {
					t.Fatalf("row %d: spans %v of %d keys", i, row, s.Sk)
				}
				for j := span.Lo; j < span.Hi; j++ {
					inSpan[j] = true
				}
			}
			for j := range s.Sk {
				want := rule(i, j)
				if got := s.Visible(i, j); got != want {
					t.Fatalf("Visible(%d, %d) is %v, want %v: %+v", i, j, got, want, s)
				}
				if inSpan[j] != want {
					t.Fatalf("row %d, key %d: in the span: %v, want %v: %+v", i, j, inSpan[j], want, s)
				}
				if want {
					n++
				}
			}
		}
		if got := s.Pairs(); got != n {
			t.Fatalf("Pairs is %d, want %d: %+v", got, n, s)
		}
		for _, p := range [][2]int{{-1, 0}, {0, -1}, {s.Sq, 0}, {0, s.Sk}} {
			if s.Visible(p[0], p[1]) {
				t.Fatalf("Visible(%d, %d) outside of %d x %d", p[0], p[1], s.Sq, s.Sk)
			}
		}
	})
}

func TestSpansOfTiles(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, rule := drawSequence(t)
		i0 := rapid.IntRange(0, s.Sq).Draw(t, "i0")
		i1 := rapid.IntRange(i0, s.Sq).Draw(t, "i1")
		j0 := rapid.IntRange(0, s.Sk).Draw(t, "j0")
		j1 := rapid.IntRange(j0, s.Sk).Draw(t, "j1")
		before := []Span{{-5, -3}}
		spans := s.Spans(before, i0, i1)
		if spans[0] != before[0] {
			t.Fatalf("Spans changed what was there before: %v", spans)
		}
		spans = spans[1:]
		covered := make([]bool, s.Sk)
		for k, span := range spans {
			if span.Lo >= span.Hi || span.Lo < 0 || span.Hi > s.Sk || k > 0 && span.Lo <= spans[k-1].Hi {
				t.Fatalf("rows %d to %d: spans %v of %d keys", i0, i1, spans, s.Sk)
			}
			for j := span.Lo; j < span.Hi; j++ {
				covered[j] = true
			}
		}
		for i := i0; i < i1; i++ {
			for j := range s.Sk {
				if rule(i, j) && !covered[j] {
					t.Fatalf("rows %d to %d: row %d sees key %d outside of %v: %+v", i0, i1, i, j, spans, s)
				}
			}
		}
		if s.FullyVisible(i0, i1, j0, j1) {
			for i := i0; i < i1; i++ {
				for j := j0; j < j1; j++ {
					if !rule(i, j) {
						t.Fatalf("FullyVisible(%d, %d, %d, %d), but row %d does not see key %d: %+v", i0, i1, j0, j1, i, j, s)
					}
				}
			}
		}
	})
}

// TestFullyVisibleWhereItCounts: what the kernels save by must be found.
func TestFullyVisibleWhereItCounts(t *testing.T) {
	for _, c := range []struct {
		name           string
		s              Sequence
		i0, i1, j0, j1 int
		want           bool
	}{
		{"no mask", Sequence{Sq: 64, Sk: 64}, 0, 64, 0, 64, true},
		{"beyond the keys", Sequence{Sq: 64, Sk: 60}, 0, 64, 0, 64, false},
		{"causal, below the diagonal", Sequence{Sq: 128, Sk: 128, Causal: true}, 64, 128, 0, 64, true},
		{"causal, on the diagonal", Sequence{Sq: 128, Sk: 128, Causal: true}, 64, 128, 64, 128, false},
		{"causal, prefix", Sequence{Sq: 128, Sk: 128, Causal: true, Prefix: 128}, 0, 64, 64, 128, true},
		{"window, inside", Sequence{Sq: 256, Sk: 256, Window: Window{Left: Tokens(127)}}, 64, 128, 0, 64, true},
		{"window, edge", Sequence{Sq: 256, Sk: 256, Window: Window{Left: Tokens(126)}}, 64, 128, 0, 64, false},
		{"chunk, inside", Sequence{Sq: 128, Sk: 128, Chunk: 128}, 64, 128, 0, 64, true},
		{"chunk, across", Sequence{Sq: 128, Sk: 128, Chunk: 32}, 64, 128, 64, 128, false},
	} {
		if got := c.s.FullyVisible(c.i0, c.i1, c.j0, c.j1); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestFloorDiv(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := rapid.IntRange(-1<<62, 1<<62).Draw(t, "a"), rapid.IntRange(1, 1<<30).Draw(t, "b")
		if q := floorDiv(a, b); q*b > a || a-q*b >= b {
			t.Fatalf("floorDiv(%d, %d) is %d", a, b, q)
		}
	})
}
