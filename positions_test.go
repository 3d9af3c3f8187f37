package vkattn

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestALiBiSlopes has the values of the paper's program, which is recursive: the slopes of the power of two
// below, and every second one of twice as many heads.
func TestALiBiSlopes(t *testing.T) {
	var published func(n int) []float64
	published = func(n int) []float64 {
		if log := math.Log2(float64(n)); log == math.Floor(log) {
			start, all := math.Pow(2, -math.Pow(2, -(log-3))), make([]float64, n)
			for i := range all {
				all[i] = start * math.Pow(start, float64(i))
			}
			return all
		}
		closest := 1 << int(math.Floor(math.Log2(float64(n))))
		all, twice := published(closest), published(2*closest)
		for i := 0; len(all) < n; i += 2 {
			all = append(all, twice[i])
		}
		return all
	}
	for n := 1; n <= 130; n++ {
		got, err := ALiBiSlopes(n)
		if err != nil || len(got) != n {
			t.Fatal(n, err)
		}
		for h, want := range published(n) {
			if math.Abs(float64(got[h])-want) > 1e-7*want {
				t.Errorf("slope %d of %d is %v, want %v", h, n, got[h], want)
			}
		}
	}
	for h, want := range []float64{1. / 2, 1. / 4, 1. / 8, 1. / 16, 1. / 32, 1. / 64, 1. / 128, 1. / 256, .707107, .353553, .176777, .0883883} {
		if got, _ := ALiBiSlopes(12); math.Abs(float64(got[h])-want) > 1e-6 {
			t.Errorf("slope %d of 12 is %v, want %v", h, got[h], want)
		}
	}
	for _, n := range []int{0, -1, math.MaxInt} {
		if got, err := ALiBiSlopes(n); got != nil || !names(err, "Heads") {
			t.Errorf("%d heads: %v, %v", n, got, err)
		}
	}
}

// TestT5Buckets has the distances at which the buckets of 32, 128 start.
func TestT5Buckets(t *testing.T) {
	for _, c := range []struct {
		bidirectional bool
		past          []int
	}{
		{true, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 23, 32, 46, 64, 91}},
		{false, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 19, 21, 24, 27, 31, 35, 40, 46, 52, 59, 67, 77, 87, 99, 113}},
	} {
		table, err := T5Buckets{Bidirectional: c.bidirectional}.Table()
		if err != nil || len(table) != 257 {
			t.Fatal(len(table), err)
		}
		for distance := -1000; distance <= 1000; distance++ { // j - i
			past, later := max(-distance, 0), 0
			if c.bidirectional && distance > 0 {
				past, later = distance, len(c.past)
			}
			want, found := slices.BinarySearch(c.past, past)
			if !found {
				want--
			}
			if got := int(table[RelativeIndex(distance, 128)]); got != want+later {
				t.Errorf("bidirectional %v: bucket of %d is %d, want %d", c.bidirectional, distance, got, want+later)
			}
		}
	}
	small, err := T5Buckets{Buckets: 2, MaxDistance: 2}.Table()
	if err != nil || !slices.Equal(small, []int32{1, 1, 0, 0, 0}) {
		t.Errorf("2 buckets: %v, %v", small, err)
	}
	for arg, list := range map[string][]T5Buckets{
		"Buckets":     {{Buckets: 1}, {Buckets: -4}, {Buckets: 3, Bidirectional: true}, {Buckets: math.MaxInt}},
		"MaxDistance": {{MaxDistance: 16}, {MaxDistance: -1}, {MaxDistance: math.MaxInt}, {MaxDistance: 8, Bidirectional: true}},
	} {
		for _, b := range list {
			if table, err := b.Table(); table != nil || !names(err, arg) {
				t.Errorf("%+v: %v", b, err)
			}
			if _, err := b.Bias(nil, 1); !names(err, arg) {
				t.Errorf("bias of %+v: %v", b, err)
			}
		}
	}
}

// TestT5Bias looks every pair up in the learned weights.
func TestT5Bias(t *testing.T) {
	const heads, buckets = 3, 12
	weights := make([]float32, heads*buckets)
	for i := range weights {
		weights[i] = rand.Float32()
	}
	for _, b := range []T5Buckets{{true, buckets, 20}, {false, buckets, 20}} {
		table, err := b.Table()
		if err != nil {
			t.Fatal(err)
		}
		bias, err := b.Bias(weights, heads)
		if err != nil {
			t.Fatal(err)
		}
		for _, size := range [][3]int{{5, 70, 65}, {65, 17, 0}, {1, 1, -3}, {0, 4, 0}, {4, 0, 0}, {63, 63, 1 << 29}} {
			rows, keys, off := size[0], size[1], size[2]
			x, err := bias.Tensor(rows, keys, off)
			if err != nil || x.Shape != [4]int{1, heads, rows, keys} {
				t.Fatal(x, err)
			}
			for h := range heads {
				for i := range rows {
					for j := range keys {
						distance := j - (i + off)
						bucket := table[20+max(-20, min(20, distance))]
						if got := x.Mem.(*Host).Float32s()[x.Index(0, h, i, j)]; got != weights[h*buckets+int(bucket)] {
							t.Fatalf("%v: head %d, row %d, key %d: %v", size, h, i, j, got)
						}
					}
				}
			}
		}
	}
	for arg, call := range map[string]func() error{
		"Weights": func() error { _, err := (T5Buckets{}).Bias(weights, heads); return err },
		"Heads":   func() error { _, err := (T5Buckets{}).Bias(nil, 0); return err },
		"N": func() error {
			_, err := (T5Buckets{Buckets: 2, MaxDistance: 1 << 24}).Bias(make([]float32, 80), 40)
			return err
		},
		"Table": func() error { _, err := (RelativeBias{Heads: 1, K: 1}).Tensor(1, 1, 0); return err },
		"K":     func() error { _, err := (RelativeBias{Heads: 1, K: -1}).Tensor(1, 1, 0); return err },
		"Rows":  func() error { _, err := (RelativeBias{Heads: 1, Table: []float32{1}}).Tensor(-1, 1, 0); return err },
		"Keys": func() error {
			_, err := (RelativeBias{Heads: 1, Table: []float32{1}}).Tensor(1<<20, 1<<20, 0)
			return err
		},
		"Off": func() error {
			_, err := (RelativeBias{Heads: 1, Table: []float32{1}}).Tensor(1, 1, math.MinInt)
			return err
		},
	} {
		if err := call(); !names(err, arg) {
			t.Errorf("%s: %v", arg, err)
		}
	}
}

// TestSinusoids compares with the programs' own form, exp(-i step) in place of powers.
func TestSinusoids(t *testing.T) {
	const n = 3
	for _, d := range []int{1, 2, 3, 4, 7, 64, 80, 1280} {
		for _, base := range []int{0, 17, 1 << 20, -4} {
			table, err := SinusoidalTable(base, n, d)
			if err != nil {
				t.Fatal(err)
			}
			concat, err := SinusoidalConcatTable(base, n, d)
			if err != nil {
				t.Fatal(err)
			}
			step := math.Log(10000) / math.Max(float64(d/2-1), 1)
			for s := range n {
				for c := range d {
					p := float64(base + s)
					want := math.Sin(p * math.Exp(-float64(c/2*2)*math.Log(10000)/float64(d)))
					if c%2 == 1 {
						want = math.Cos(p * math.Exp(-float64(c/2*2)*math.Log(10000)/float64(d)))
					}
					if got := table[s*d+c]; math.Abs(float64(got)-want) > 6e-8+1e-9 {
						t.Errorf("d %d: PE(%v, %d) = %v, want %v", d, p, c, got, want)
					}
					switch {
					case c < d/2:
						want = math.Sin(p * math.Exp(-float64(c)*step))
					case c < d/2*2:
						want = math.Cos(p * math.Exp(-float64(c-d/2)*step))
					default:
						want = 0
					}
					if got := concat[s*d+c]; math.Abs(float64(got)-want) > 6e-8+1e-9 {
						t.Errorf("d %d: concatenated PE(%v, %d) = %v, want %v", d, p, c, got, want)
					}
				}
			}
		}
	}
	for arg, at := range map[string][3]int{"N": {0, -1, 4}, "D": {0, 1, 0}, "Base": {math.MaxInt32, 2, 4}} {
		_, one := SinusoidalTable(at[0], at[1], at[2])
		_, two := SinusoidalConcatTable(at[0], at[1], at[2])
		if !names(one, arg) || !names(two, arg) {
			t.Errorf("%v: %v, %v", at, one, two)
		}
	}
	if _, err := SinusoidalTable(0, 1<<20, 1<<20); !names(err, "N") {
		t.Errorf("huge table: %v", err)
	}
	if _, err := SinusoidalConcatTable(0, 1, math.MinInt); !names(err, "D") {
		t.Errorf("negative width: %v", err)
	}
}

func TestLearnedPositions(t *testing.T) {
	table := []float32{0, 1, 2, 3, 4, 5, 6, 7, 8, 9} // 5 rows of 2
	for _, c := range []struct {
		d, offset, base, n int
		want               []float32
		arg                string
	}{
		{2, 0, 0, 5, table, ""}, {2, 2, 1, 2, []float32{6, 7, 8, 9}, ""}, {2, 2, -1, 1, []float32{2, 3}, ""}, {2, 0, 5, 0, []float32{}, ""},
		{2, 2, 0, 4, nil, "Base"}, {2, 0, -1, 1, nil, "Base"}, {2, 0, math.MaxInt, 1, nil, "Base"}, {3, 0, 0, 1, nil, "Table"}, {0, 0, 0, 1, nil, "Table"},
		{2, 0, 0, -1, nil, "N"}, {2, 6, 0, 0, nil, "Offset"}, {2, math.MaxInt, 0, 0, nil, "Offset"}, {2, 0, 0, 1 << 29, nil, "Base"},
	} {
		got, err := LearnedPositions(table, c.d, c.offset, c.base, c.n)
		if !slices.Equal(got, c.want) || c.arg == "" && err != nil || c.arg != "" && !names(err, c.arg) {
			t.Errorf("%+v: %v, %v", c, got, err)
		}
	}
}
