package vkattn

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
)

// TestLinearDecays compares with numbers that others computed: fla's retention and lightning attention.
func TestLinearDecays(t *testing.T) {
	near := func(name string, got []float32, want ...float64) {
		t.Helper()
		for h, w := range want {
			if math.Abs(float64(got[h])-w) > 1e-7*math.Abs(w) {
				t.Errorf("%s: head %d decays by %v, want %v", name, h, got[h], w)
			}
		}
	}
	g, err := RetNetDecay(4)
	if err != nil {
		t.Fatal(err)
	}
	near("RetNet", g, -0.0317486971616745, -0.01574835740029812, -0.007843177765607834, -0.003913899417966604)
	if g, err = TransNormerLLMDecay(64, 3, 80, TransNormerLLMCheckpoint); err != nil {
		t.Fatal(err)
	}
	near("checkpoint", g, -0.8821902871131897, -0.8089720606803894, -0.7418306469917297, -0.6802616715431213)
	if g, err = TransNormerLLMDecay(12, 1, 2, TransNormerLLMCheckpoint); err != nil {
		t.Fatal(err)
	}
	near("twelve heads, last layer", g, -0.5e-5, -0.25e-5)
	near("twelve heads, ninth", g[8:], -0.7071067690849304e-5)
	if g, err = TransNormerLLMDecay(4, 1, 2, TransNormerLLMPaper); err != nil {
		t.Fatal(err)
	}
	near("paper", g, 0, -1, -2, -3)
	if math.Signbit(float64(g[0])) {
		t.Error("the first head decays by -0")
	}
	if g, err = RetNetDecay(maxHeads); err != nil || slices.ContainsFunc(g, func(x float32) bool { return !(x <= 0) }) {
		t.Error(g, err)
	}
	for _, err := range []error{
		second(RetNetDecay(0)), second(TransNormerLLMDecay(0, 0, 1, 0)), second(TransNormerLLMDecay(1, 0, 0, 0)),
		second(TransNormerLLMDecay(1, 2, 2, 0)), second(TransNormerLLMDecay(1, 0, 2, 9)), second(TransNormerLLMDecay(1, -1, 2, 0)),
		second(FavorProjection(0, 4, 1, 0)), second(FavorProjection(4, 0, 1, 0)), second(FavorProjection(4, 4, 1, 9)), second(FavorProjection(1<<40, 4, 1, 0)),
	} {
		if !errors.Is(err, ErrInvalid) {
			t.Errorf("%v", err)
		}
	}
}

func second(_ []float32, err error) error { return err }

func TestFavorProjection(t *testing.T) {
	for _, rows := range []FavorRows{FavorOrthogonal, FavorRegular, FavorIndependent} {
		for _, size := range [][2]int{{1, 1}, {3, 8}, {8, 8}, {21, 8}, {256, 64}} {
			m, d := size[0], size[1]
			w, err := FavorProjection(m, d, 7, rows)
			if err != nil || len(w) != m*d {
				t.Fatal(len(w), err)
			}
			again, _ := FavorProjection(m, d, 7, rows)
			other, _ := FavorProjection(m, d, 8, rows)
			if !slices.Equal(w, again) || slices.Equal(w, other) && !(rows == FavorRegular && d == 1) {
				t.Errorf("%v %v: the seed does not decide", rows, size)
			}
			dot := func(a, b int) (sum float64) {
				for i := range d {
					sum += float64(w[a*d+i]) * float64(w[b*d+i])
				}
				return sum
			}
			for a := range m {
				if l := dot(a, a); rows == FavorRegular && math.Abs(l-float64(d)) > 1e-5*float64(d) {
					t.Errorf("row %d of %v has length² %v", a, size, l)
				}
				for b := range a {
					if rows != FavorIndependent && a/d == b/d && math.Abs(dot(a, b)) > 1e-5*float64(d) {
						t.Errorf("rows %d and %d of %v: product %v", a, b, size, dot(a, b))
					}
				}
			}
		}
	}
}

// TestFavorUnbiased checks the estimate that the projection is for: the mean of the products of features, over seeds, is
// exp(q.k / sqrt(d)), and orthogonal rows vary less than independent ones.
func TestFavorUnbiased(t *testing.T) {
	const m, d, seeds = 16, 8, 4000
	q, k := make([]float64, d), make([]float64, d)
	exact := 0.0
	for i := range d {
		q[i], k[i] = 0.5*math.Sin(float64(i)), 0.5*math.Cos(float64(2*i))
		exact += q[i] * k[i] / math.Sqrt(d)
	}
	exact = math.Exp(exact)
	var spread [3]float64
	for _, rows := range []FavorRows{FavorOrthogonal, FavorIndependent} {
		var sum, square float64
		for seed := range uint64(seeds) {
			w, err := FavorProjection(m, d, seed, rows)
			if err != nil {
				t.Fatal(err)
			}
			estimate := 0.0
			for r := range m {
				u, norms := 0.0, 0.0
				for i := range d {
					u += float64(w[r*d+i]) * (q[i] + k[i]) / math.Pow(d, 0.25)
					norms += (q[i]*q[i] + k[i]*k[i]) / math.Sqrt(d)
				}
				estimate += math.Exp(u-norms/2) / m
			}
			sum += estimate / seeds
			square += estimate * estimate / seeds
		}
		deviation := math.Sqrt((square - sum*sum) / seeds)
		spread[rows] = deviation
		if math.Abs(sum-exact) > 4*deviation {
			t.Errorf("rows %d: mean %v ± %v, want %v", rows, sum, deviation, exact)
		}
	}
	if spread[FavorOrthogonal] >= spread[FavorIndependent] {
		t.Errorf("orthogonal rows deviate by %v, independent ones by %v", spread[FavorOrthogonal], spread[FavorIndependent])
	}
}

func TestLinearWarnings(t *testing.T) {
	l := Linear{Batch: 2, HeadsQ: 4, HeadsK: 2, SeqQ: 9, HeadDim: 8, Causal: true, Rule: RuleDelta, Decay: DecayToken}
	fresh := func() Args {
		a := linearArgs(l, 2, 7, 7)
		for _, x := range []*Tensor{&a.K, &a.Beta, &a.Decay} {
			x.Mem = Float32s(make([]float32, 1<<10))
		}
		return a
	}
	set := func(x Tensor, v float32, at ...int) {
		x.Mem.(*Host).Float32s()[x.Index(at[0], at[1], at[2], at[3])] = v
	}
	a := fresh()
	set(a.K, 1, 1, 1, 3, 0)
	set(a.Beta, 2, 1, 1, 3, 0)
	if w := l.Warnings(&a); w != nil {
		t.Errorf("Beta |k|² of 2: %q", w)
	}
	set(a.K, 2, 1, 1, 3, 5)
	if w := l.Warnings(&a); len(w) != 1 || !strings.Contains(w[0], "is 10 at sequence 1, head 1, token 3") {
		t.Errorf("Beta |k|² of 10: %q", w)
	}
	set(a.Decay, 0.5, 0, 1, 6, 0)
	if w := l.Warnings(&a); len(w) != 2 || !strings.Contains(w[1], "is 0.5 at sequence 0, head 1, token 6") {
		t.Errorf("a decay of 0.5: %q", w)
	}
	soft := l
	soft.Map = MapSoftmax
	if w := soft.Warnings(&a); len(w) != 1 {
		t.Errorf("features have other norms than keys: %q", w)
	}
	a.K = Tensor{}
	if w := l.Warnings(&a); w != nil {
		t.Errorf("an invalid call: %q", w)
	}
}

func TestLinearWork(t *testing.T) {
	l := Linear{Batch: 2, HeadsQ: 4, HeadsK: 2, SeqQ: 9, HeadDim: 8, ValueDim: 4, Causal: true, Map: MapELU, Norm: NormSum, Decay: DecayHead, StateOut: true}
	args := linearArgs(l, 2, 7, 7)
	seqs, err := l.Check(&args)
	if err != nil {
		t.Fatal(err)
	}
	w := l.Work(&args, seqs)
	// Of 8 x 5 numbers: writing and decay for 2 states, reading for 4 heads.
	if want := float64(2 * 7 * (2*3*40 + 4*2*40)); w.FLOPs != want || w.Pairs != 2*4*28 {
		t.Errorf("%v FLOPs, want %v; %d pairs", w.FLOPs, want, w.Pairs)
	}
	if want := int64(4 * (2*7*(4*8+2*8+2*4+4*4) + 2 + 2*2*8*5)); w.Bytes != want {
		t.Errorf("%d bytes, want %d", w.Bytes, want)
	}
}
