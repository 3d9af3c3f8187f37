package cpu_test

import (
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/cpu"
)

// sparseCall is a causal call with random data.
func sparseCall(b, heads, groups, sq, sk, d int, seed uint64) (vkattn.Attention, vkattn.Args) {
	rng := rand.New(rand.NewPCG(seed, 1))
	tensor := func(h, s int) vkattn.Tensor {
		x := make([]float32, b*h*s*d)
		for i := range x {
			x[i] = float32(rng.NormFloat64())
		}
		return vkattn.BHSD(vkattn.Float32s(x), b, h, s, d)
	}
	op := vkattn.Attention{Batch: b, HeadsQ: heads, HeadsK: groups, SeqQ: sq, SeqK: sk, HeadDim: d, Causal: true}
	return op, vkattn.Args{Q: tensor(heads, sq), K: tensor(groups, sk), V: tensor(groups, sk), Out: tensor(heads, sq)}
}

var sparseSizes = []struct{ b, heads, groups, sq, sk int }{{1, 1, 1, 64, 64}, {2, 4, 2, 65, 65}, {1, 2, 1, 17, 63}, {1, 2, 2, 33, 20}, {1, 3, 1, 1, 50}, {1, 1, 1, 1, 1}, {1, 2, 1, 5, 0}}

func near(t *testing.T, what string, got, want []float64, limit float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d numbers, want %d", what, len(got), len(want))
	}
	for i := range got {
		if got[i] != want[i] && !(math.Abs(got[i]-want[i]) <= limit*max(1, math.Abs(want[i]))) {
			t.Fatalf("%s: number %d is %v, want %v", what, i, got[i], want[i])
		}
	}
}

// maskOracle is the oracle under the dense mask that sees says.
func maskOracle(t *testing.T, op vkattn.Attention, args vkattn.Args, sees func(b, h, i, j int) bool) *cpu.Result {
	t.Helper()
	sq, sk := args.Q.Shape[2], args.K.Shape[2]
	keep := make([]bool, op.Batch*op.HeadsQ*sq*sk)
	for at := range keep {
		row := at / sk
		keep[at] = sees(row/sq/op.HeadsQ, row/sq%op.HeadsQ, row%sq, at%sk)
	}
	op.With |= vkattn.WithMask
	args.Mask = vkattn.BHSD(vkattn.Bools(keep), op.Batch, op.HeadsQ, sq, sk).As(vkattn.Bool)
	r, err := cpu.Oracle(op, &args)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// blockOracle is the oracle under the block mask of a choice, and holds the float32 backend against it.
func blockOracle(t *testing.T, op vkattn.Attention, args vkattn.Args, choice []int32, width, block int) *cpu.Result {
	t.Helper()
	sq, sk := args.Q.Shape[2], args.K.Shape[2]
	m, err := vkattn.MaskGrid{SeqQ: sq, SeqK: sk, BlockQ: 16, BlockK: 32, Batch: op.Batch, Heads: op.HeadsQ}.SelectedBlocks(choice, width, block, true)
	if err != nil {
		t.Fatal(err)
	}
	op.With |= vkattn.WithBlocks
	args.Blocks = m
	r, err := cpu.Oracle(op, &args)
	if err != nil {
		t.Fatal(err)
	}
	b := cpu.New(cpu.Config{})
	defer b.Close()
	plan, err := b.Plan(t.Context(), op)
	if err != nil {
		t.Fatal(err)
	}
	defer plan.Close()
	if _, err := plan.Run(t.Context(), args); err != nil {
		t.Fatal(err)
	}
	var got []float64
	for _, x := range args.Out.Mem.(*vkattn.Host).Float32s() {
		got = append(got, float64(x))
	}
	near(t, "float32", got, r.Out, 2e-6)
	return r
}

// at reads a tensor.
func at(t vkattn.Tensor, b, h, s, d int) float64 {
	return float64(t.Mem.(*vkattn.Host).Float32s()[t.Index(b, h, s, d)])
}

// TestMoBA: attention over the choice is that of the dense mask whose gates are worked out pair by pair here, and of
// the block mask that is built from the choice.
func TestMoBA(t *testing.T) {
	for _, s := range sparseSizes {
		for _, m := range []cpu.MoBA{{Block: 8, TopK: 3}, {Block: 16, TopK: 1}, {Block: 7, TopK: 2}, {Block: 100, TopK: 4}} {
			op, args := sparseCall(s.b, s.heads, s.groups, s.sq, s.sk, 6, 3)
			r, err := m.Oracle(op, &args)
			if err != nil {
				t.Fatal(err)
			}
			off := s.sk - s.sq
			gate := func(b, h, i, block int) (sum float64) {
				n := 0
				for j := block * m.Block; j < min((block+1)*m.Block, s.sk); j++ {
					for d := range 6 {
						sum += at(args.Q, b, h, i, d) * at(args.K, b, h/(s.heads/s.groups), j, d)
					}
					n++
				}
				return sum / float64(n)
			}
			sees := func(b, h, i, j int) bool {
				p, block := i+off, j/m.Block
				if j > p {
					return false
				}
				if block == p/m.Block {
					return true
				}
				better := 1 // the own block
				for other := range p / m.Block {
					if other != block && gate(b, h, i, other) > gate(b, h, i, block) {
						better++
					}
				}
				return better < m.TopK
			}
			want := maskOracle(t, op, args, sees)
			near(t, "Out", r.Out, want.Out, 1e-14)
			near(t, "LSE", r.LSE, want.LSE, 1e-14)
			if r.Visible != want.Visible {
				t.Errorf("%+v: %d pairs, want %d", m, r.Visible, want.Visible)
			}
			near(t, "block mask", blockOracle(t, op, args, r.Choice, m.TopK, m.Block).Out, r.Out, 1e-14)
		}
	}
}

// TestMoBAAll: with all blocks chosen it is causal attention, exactly.
func TestMoBAAll(t *testing.T) {
	for _, s := range sparseSizes {
		op, args := sparseCall(s.b, s.heads, s.groups, s.sq, s.sk, 6, 4)
		r, err := cpu.MoBA{Block: 8, TopK: 9}.Oracle(op, &args)
		if err != nil {
			t.Fatal(err)
		}
		want, err := cpu.Oracle(op, &args)
		if err != nil {
			t.Fatal(err)
		}
		near(t, "Out", r.Out, want.Out, 0)
		near(t, "LSE", r.LSE, want.LSE, 0)
	}
}

// TestMoBATies: of equal gates the first blocks win, and a NaN wins over all.
func TestMoBATies(t *testing.T) {
	op, args := sparseCall(1, 1, 1, 40, 40, 4, 5)
	clear(args.K.Mem.(*vkattn.Host).Float32s())
	r, err := cpu.MoBA{Block: 8, TopK: 3}.Oracle(op, &args)
	if err != nil {
		t.Fatal(err)
	}
	if got := r.Choice[39*3:]; !slices.Equal(got, []int32{0, 1, 4}) {
		t.Errorf("the last row chooses %v", got)
	}
	if got := r.Choice[:3]; !slices.Equal(got, []int32{0, -1, -1}) {
		t.Errorf("the first row chooses %v", got)
	}
	args.K.Mem.(*vkattn.Host).Float32s()[25*4] = float32(math.NaN())
	if r, err = (cpu.MoBA{Block: 8, TopK: 2}).Oracle(op, &args); err != nil {
		t.Fatal(err)
	}
	if got := r.Choice[39*2:]; !slices.Equal(got, []int32{3, 4}) || !math.IsNaN(r.Out[39*4]) {
		t.Errorf("with a NaN the last row chooses %v and is %v", got, r.Out[39*4])
	}
}

func gates(n int, compress, sel, window float64) cpu.NSAGates {
	fill := func(x float64) []float64 { return slices.Repeat([]float64{x}, n) }
	return cpu.NSAGates{Compress: fill(compress), Select: fill(sel), Window: fill(window)}
}

// TestNSABranches: each branch alone is what it is defined to be.
func TestNSABranches(t *testing.T) {
	for _, s := range sparseSizes {
		a := cpu.NSA{Compress: 8, Stride: 4, Select: 16, TopN: 2, Window: 5}
		op, args := sparseCall(s.b, s.heads, s.groups, s.sq, s.sk, 6, 6)
		off, n := s.sk-s.sq, s.b*s.heads*s.sq
		oracle := func(a cpu.NSA, g cpu.NSAGates) *cpu.NSAResult {
			r, err := a.Oracle(op, &args, g)
			if err != nil {
				t.Fatal(err)
			}
			return r
		}
		window := maskOracle(t, op, args, func(_, _, i, j int) bool { return i+off-j >= 0 && i+off-j < 5 })
		near(t, "window", oracle(a, gates(n, 0, 0, 1)).Out, window.Out, 1e-15)

		all := a
		all.TopN = 50
		causal, err := cpu.Oracle(op, &args)
		if err != nil {
			t.Fatal(err)
		}
		near(t, "all selected", oracle(all, gates(n, 0, 1, 0)).Out, causal.Out, 1e-15)

		selected := oracle(a, gates(n, 0, 1, 0))
		near(t, "selected", blockOracle(t, op, args, selected.Choice, a.TopN, a.Select).Out, selected.Out, 1e-14)

		compressed := oracle(a, gates(n, 1, 0, 0))
		sum := make([]float64, len(compressed.Out))
		for i := range sum {
			sum[i] = .5*compressed.Out[i] + 2*selected.Out[i] - window.Out[i]
		}
		near(t, "gated", oracle(a, gates(n, .5, 2, -1)).Out, sum, 1e-13)

		for b := range s.b {
			for h := range s.heads {
				for i := range s.sq {
					row := (b*s.heads+h)*s.sq + i
					weights := naiveCompression(args, a, b, h, h/(s.heads/s.groups), i, off)
					want := make([]float64, 6)
					for c, w := range weights {
						for d := range want {
							for j := range a.Compress {
								want[d] += w / float64(a.Compress) * at(args.V, b, h/(s.heads/s.groups), c*a.Stride+j, d)
							}
						}
					}
					near(t, "compressed", compressed.Out[row*6:(row+1)*6], want, 1e-12)
				}
			}
		}
	}
}

// naiveCompression are the weights of the compressed blocks of one row.
func naiveCompression(args vkattn.Args, a cpu.NSA, b, h, group, i, off int) (weights []float64) {
	sum := 0.0
	for c := 0; c*a.Stride+a.Compress-1 <= i+off; c++ {
		score := 0.0
		for j := range a.Compress {
			for d := range 6 {
				score += at(args.Q, b, h, i, d) * at(args.K, b, group, c*a.Stride+j, d) / float64(a.Compress) / math.Sqrt(6)
			}
		}
		weights = append(weights, math.Exp(score))
		sum += weights[c]
	}
	for c := range weights {
		weights[c] /= sum
	}
	return weights
}

// TestNSASelection: the score of a block is the overlap of the compressed blocks with it, in strides, summed over the
// group; the first block, the own one and the one before it are always there.
func TestNSASelection(t *testing.T) {
	a := cpu.NSA{Compress: 8, Stride: 4, Select: 16, TopN: 4}
	op, args := sparseCall(1, 4, 2, 120, 120, 6, 7)
	r, err := a.Oracle(op, &args, gates(4*120, 0, 0, 0))
	if err != nil {
		t.Fatal(err)
	}
	for group := range 2 {
		for i := range 120 {
			own := i / 16
			scores := make([]float64, own+1)
			for h := 2 * group; h < 2*group+2; h++ {
				for c, w := range naiveCompression(args, a, 0, h, group, i, 0) {
					for j := range scores {
						if overlap := min(c*4+8, j*16+16) - max(c*4, j*16); overlap > 0 {
							scores[j] += w * float64(overlap) / 4
						}
					}
				}
			}
			var want []int32
			for _, b := range []int{0, own - 1, own} {
				if b >= 0 && !slices.Contains(want, int32(b)) {
					want = append(want, int32(b))
				}
			}
			for len(want) < min(4, own+1) {
				best := -1
				for b := range scores {
					if !slices.Contains(want, int32(b)) && (best < 0 || scores[b] > scores[best]) {
						best = b
					}
				}
				want = append(want, int32(best))
			}
			slices.Sort(want)
			for len(want) < 4 {
				want = append(want, -1)
			}
			if got := r.Choice[(group*120+i)*4:][:4]; !slices.Equal(got, want) {
				t.Errorf("group %d row %d selects %v, want %v", group, i, got, want)
			}
		}
	}
}

func TestSparseOracleErrors(t *testing.T) {
	for name, f := range map[string]func(op *vkattn.Attention, args *vkattn.Args, m *cpu.MoBA, a *cpu.NSA){
		"not causal": func(op *vkattn.Attention, _ *vkattn.Args, _ *cpu.MoBA, _ *cpu.NSA) { op.Causal = false },
		"no sizes":   func(_ *vkattn.Attention, _ *vkattn.Args, m *cpu.MoBA, a *cpu.NSA) { *m, *a = cpu.MoBA{}, cpu.NSA{} },
		"huge choice": func(_ *vkattn.Attention, _ *vkattn.Args, m *cpu.MoBA, a *cpu.NSA) {
			m.TopK, a.TopN = math.MaxInt, math.MaxInt
		},
		"stride":     func(_ *vkattn.Attention, _ *vkattn.Args, m *cpu.MoBA, a *cpu.NSA) { m.Block, a.Stride = -1, 3 },
		"no queries": func(_ *vkattn.Attention, args *vkattn.Args, _ *cpu.MoBA, _ *cpu.NSA) { args.Q = vkattn.Tensor{} },
		"base":       func(_ *vkattn.Attention, args *vkattn.Args, _ *cpu.MoBA, _ *cpu.NSA) { args.KBase = 1 },
	} {
		op, args := sparseCall(1, 2, 1, 8, 8, 4, 1)
		m, a := cpu.MoBA{Block: 4, TopK: 1}, cpu.NSA{Compress: 4, Stride: 2, Select: 4, TopN: 1, Window: 2}
		f(&op, &args, &m, &a)
		if _, err := m.Oracle(op, &args); !errors.Is(err, vkattn.ErrInvalid) {
			t.Errorf("%s: MoBA says %v", name, err)
		}
		if _, err := a.Oracle(op, &args, gates(16, 1, 1, 1)); !errors.Is(err, vkattn.ErrInvalid) {
			t.Errorf("%s: NSA says %v", name, err)
		}
	}
	op, args := sparseCall(1, 2, 1, 8, 8, 4, 1)
	if _, err := (cpu.NSA{Compress: 4, Stride: 2, Select: 4, TopN: 1}).Oracle(op, &args, cpu.NSAGates{}); !errors.Is(err, vkattn.ErrInvalid) {
		t.Errorf("no gates: %v", err)
	}
}
