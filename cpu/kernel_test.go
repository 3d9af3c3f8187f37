package cpu

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"gonum.org/v1/gonum/blas/blas32"
)

// TestKernelTile runs every kernel over one tile of awkward size, with keys and values that end where memory
// ends, and compares each step with plain float64.
func TestKernelTile(t *testing.T) {
	type shape struct{ rows, keys, d, dv int }
	var shapes []shape
	for d := 1; d <= 80; d++ {
		shapes = append(shapes, shape{1 + d%13, 1 + d*7%90, d, 81 - d})
	}
	for _, rows := range []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 17, 63, 64} {
		for _, keys := range []int{1, 7, 8, 16, 17, 63, 64} {
			shapes = append(shapes, shape{rows, keys, 40, 24})
		}
	}
	shapes = append(shapes, shape{4, 64, 128, 128}, shape{63, 63, 128, 128}, shape{7, 17, 576, 512}, shape{17, 40, 576, 576}, shape{1, 33, 257, 257})
	for _, kind := range kernels {
		t.Run(kind.name, func(t *testing.T) {
			k := kind.new()
			rows, keys := k.tile()
			for _, s := range append(shapes, shape{rows, keys, 64, 64}, shape{rows - 1, keys - 1, 33, 65}, shape{rows / 2, keys, 8, 16}) {
				for _, gap := range []int{0, 3, -1} { // between rows; -1 for rows that overlap
					testTile(t, k, min(s.rows, rows), min(s.keys, keys), s.d, s.dv, gap)
				}
			}
		})
	}
}

func testTile(t *testing.T, kernel kernel, rows, keys, d, dv, gap int) {
	rng := newRand(uint64(rows*keys + d*dv + gap))
	name := fmt.Sprintf("%d rows, %d keys, D %d, Dv %d, gap %d", rows, keys, d, dv, gap)
	random := func(m blas32.General) blas32.General {
		copy(m.Data, normal(rng, len(m.Data)))
		return m
	}
	inMemory := func(n, cols int) blas32.General {
		stride := max(cols+gap, 1)
		return random(tile(guarded(t, (n-1)*stride+cols), 0, n, cols, stride))
	}
	q := random(blas32.General{Rows: rows, Cols: d, Stride: rowStride(d), Data: make([]float32, rows*rowStride(d))})
	k, v := inMemory(keys, d), inMemory(keys, dv)
	mostRows, stride := kernel.tile()
	s := blas32.General{Rows: rows, Cols: keys, Stride: stride, Data: growAligned(nil, roundUp(mostRows, blockRows)*stride)}
	var state state
	state.fit(roundUp(mostRows, blockRows), dv)
	state.reset(rows)
	r0 := rows / 2 / blockRows * blockRows // all rows, then the last ones

	const scale = 0.25
	kernel.queries(q)
	sum := make([]float64, rows*dv)
	l, m := make([]float64, rows), make([]float64, rows)
	for r := range m {
		m[r] = math.Inf(-1)
	}
	for pass, first := range []int{0, r0} {
		kernel.ahead(v, pass == 0)
		kernel.scores(s, k, first, rows)
		p := make([]float64, rows*keys)
		for r := first; r < rows; r++ {
			old := m[r]
			for j := range keys {
				size := 1.0
				for c := range d {
					x := float64(q.Data[r*q.Stride+c]) * float64(k.Data[j*k.Stride+c])
					p[r*keys+j] += x
					size += math.Abs(x)
				}
				if got := float64(s.Data[r*s.Stride+j]); math.Abs(got-p[r*keys+j]) > 1e-6*size {
					t.Fatalf("%s: score of row %d and key %d is %v, want %v", name, r, j, got, p[r*keys+j])
				}
				p[r*keys+j] *= scale
				m[r] = max(m[r], p[r*keys+j])
			}
			factor := math.Exp(old - m[r])
			l[r] *= factor
			for c := range dv {
				sum[r*dv+c] *= factor
			}
			for j := range keys {
				w := math.Exp(p[r*keys+j] - m[r])
				l[r] += w
				for c := range dv {
					sum[r*dv+c] += w * float64(v.Data[j*v.Stride+c])
				}
			}
		}
		kernel.softmax(&state, s, scale, first, rows)
		before := slices.Clone(state.o.Data)
		spoiled := rng.IntN(len(v.Data)-(v.Rows-1)*v.Stride) + rng.IntN(v.Rows)*v.Stride
		kept := v.Data[spoiled]
		v.Data[spoiled] = []float32{float32(math.NaN()), float32(math.Inf(1))}[pass]
		if kernel.accumulate(&state, s, v, first, rows) || !sameBits(before, state.o.Data) {
			t.Fatalf("%s: a value that is not finite is accumulated", name)
		}
		v.Data[spoiled] = kept
		if !kernel.accumulate(&state, s, v, first, rows) {
			t.Fatalf("%s: finite values are not accumulated", name)
		}
	}
	for r := range rows {
		// The score's own error makes weights wrong by a few 1e-6.
		if math.Abs(float64(state.m[r])-m[r]) > 1e-5*max(1, math.Abs(m[r])) || math.Abs(state.l[r]-l[r]) > 2e-5*l[r] {
			t.Fatalf("%s: row %d has maximum %v and sum %v, want %v and %v", name, r, state.m[r], state.l[r], m[r], l[r])
		}
		for c := range dv {
			if got, want := float64(state.row(r).Data[c]), sum[r*dv+c]; math.Abs(got-want) > 3e-5*max(1, l[r]) {
				t.Fatalf("%s: row %d column %d is %v, want %v", name, r, c, got, want)
			}
		}
	}
}

// TestKernelSoftmax compares the weights of every kernel with math.Exp over the range where they are not 0,
// and checks what is not finite.
func TestKernelSoftmax(t *testing.T) {
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	for _, kind := range kernels {
		t.Run(kind.name, func(t *testing.T) {
			k := kind.new()
			k.queries(blas32.General{Rows: 9, Cols: 1, Stride: 4, Data: make([]float32, 9*4)})
			softmax := func(old float32, x ...float32) (w []float32, m float32, l float64) {
				rows, stride := k.tile()
				s := blas32.General{Rows: 9, Cols: len(x), Stride: stride, Data: growAligned(nil, roundUp(rows, blockRows)*stride)}
				const r = 7
				copy(s.Data[r*stride:], x)
				var state state
				state.fit(roundUp(rows, blockRows), 1)
				state.reset(9)
				state.m[r] = old
				k.softmax(&state, s, 1, 6, 9)
				return s.Data[r*stride : r*stride+len(x)], state.m[r], state.l[r]
			}
			worst := 0.0
			for x := float32(0); x > -87; x -= 0.037 {
				w, _, _ := softmax(0, x, x-0.003, x-0.017, x-0.029)
				for i, s := range []float32{x, x - 0.003, x - 0.017, x - 0.029} {
					want := math.Exp(float64(s))
					ulp := float64(math.Nextafter32(float32(want), 2)) - float64(float32(want))
					worst = max(worst, math.Abs(float64(w[i])-want)/ulp)
				}
			}
			if worst > 0.7 {
				t.Errorf("weights are %.2f ulp off", worst)
			}
			for _, c := range []struct {
				old  float32
				x, w []float32
				m    float32
				l    float64
			}{
				{-inf, []float32{-inf, -1000, 5}, []float32{0, 0, 1}, 5, 1},
				{-inf, []float32{-inf, -inf}, []float32{0, 0}, -inf, 0},
				{3, []float32{-inf, 3}, []float32{0, 1}, 3, 1},
				{3, []float32{-inf}, []float32{0}, 3, 0},
				{-inf, []float32{nan, 2, -inf}, []float32{nan, 1, 0}, 2, math.NaN()},
				{-inf, []float32{nan, -inf}, []float32{nan, 0}, -inf, math.NaN()},
				{1, []float32{inf, 2}, []float32{nan, 0}, inf, math.NaN()},
				{-inf, []float32{math.Float32frombits(0x7fc12345), math.Float32frombits(0xffffffff), 1}, []float32{nan, nan, 1}, 1, math.NaN()},
				{-inf, []float32{1e30, 1e30, -1e38, 0}, []float32{1, 1, 0, 0}, 1e30, 2},
				{math.MaxFloat32, []float32{-math.MaxFloat32}, []float32{0}, math.MaxFloat32, 0},
			} {
				w, m, l := softmax(c.old, c.x...)
				same := func(a, b float64) bool { return a == b || a != a && b != b }
				ok := m == c.m && same(l, c.l)
				for i := range w {
					ok = ok && same(float64(w[i]), float64(c.w[i]))
				}
				if !ok {
					t.Errorf("%v after %v: weights %v, maximum %v, sum %v, want %v, %v, %v", c.x, c.old, w, m, l, c.w, c.m, c.l)
				}
			}
		})
	}
}

// TestKernelPoison checks that a key that is not finite changes no bit of another key's score.
func TestKernelPoison(t *testing.T) {
	for _, kind := range kernels {
		k := kind.new()
		_, keys := k.tile()
		for _, n := range []int{1, 4, 7, 20} {
			const d = 21
			rng := newRand(uint64(n))
			q := blas32.General{Rows: n, Cols: d, Stride: rowStride(d), Data: normal(rng, n*rowStride(d))}
			k.queries(q)
			score := func(m blas32.General) []float32 {
				s := blas32.General{Rows: n, Cols: keys, Stride: keys, Data: growAligned(nil, 256*keys)}
				k.ahead(m, false)
				k.scores(s, m, 0, n)
				return s.Data[:n*keys]
			}
			m := tile(normal(rng, keys*d), 0, keys, d, d)
			clean := slices.Clone(score(m))
			bad := rng.IntN(keys)
			m.Data[bad*d+rng.IntN(d)] = float32(math.Inf(1))
			for i, x := range score(m) {
				if i%keys != bad && x != clean[i] {
					t.Errorf("%s: key %d changes the score of row %d and key %d", kind.name, bad, i/keys, i%keys)
				}
			}
		}
	}
}
