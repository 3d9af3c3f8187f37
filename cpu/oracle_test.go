package cpu

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/vkattn/vkattn"
)

// tiny is a call with one head, D = Dv = 1 and scale 1, so that scores and weights are known by hand.
func tiny(q, k, v []float32, op vkattn.Attention) *run {
	op.Batch, op.HeadsQ, op.SeqQ, op.SeqK, op.HeadDim = 1, 1, len(q), len(k), 1
	op.With |= vkattn.WithLSE
	if !op.Scale.Set {
		op.Scale = vkattn.Num(1)
	}
	r := &run{op: op, out: make([]float32, len(q)), lse: make([]float32, len(q))}
	column := func(x []float32) vkattn.Tensor { return vkattn.BHSD(vkattn.Float32s(x), 1, 1, len(x), 1) }
	r.args = vkattn.Args{Q: column(q), K: column(k), V: column(v), Out: column(r.out), LSE: column(r.lse)}
	return r
}

func one(x float32) vkattn.Tensor { return vkattn.Vector(vkattn.Float32s([]float32{x}), 1) }

// TestByHand checks the oracle, and the backend, against answers worked out on paper.
func TestByHand(t *testing.T) { onKernels(t, testByHand) }

func testByHand(t *testing.T, start func(Config) *Backend) {
	backend := start(Config{})
	defer backend.Close()
	ln := func(x float64) float32 { return float32(math.Log(x)) }
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	row := func(x ...float32) []float32 { return x }
	for _, c := range []struct {
		name     string
		run      *run
		set      func(*vkattn.Args)
		out, lse float64
	}{
		{"one key", tiny(row(2), row(3), row(5), vkattn.Attention{}), nil, 5, 6},
		{"weights 1:3", tiny(row(1), row(0, ln(3)), row(4, 8), vkattn.Attention{}), nil, 7, math.Log(4)},
		{"scale 0 is uniform", tiny(row(1), row(7, -9), row(4, 8), vkattn.Attention{Scale: vkattn.Num(0)}), nil, 6, math.Log(2)},
		{"negative scale", tiny(row(1), row(0, ln(3)), row(4, 8), vkattn.Attention{Scale: vkattn.Num(-1)}), nil, 5, math.Log(4. / 3)},
		{"softcap", tiny(row(10), row(10), row(4), vkattn.Attention{Softcap: 2}), nil, 4, 2 * math.Tanh(50)},
		{"alibi, last key at distance 0", tiny(row(0), row(0, 0), row(4, 8), vkattn.Attention{With: vkattn.WithALiBi}),
			func(a *vkattn.Args) { a.Slopes = one(ln(3)) }, 7, math.Log(4. / 3)},
		{"alibi top-left, first key at distance 0", tiny(row(0), row(0, 0), row(4, 8), vkattn.Attention{With: vkattn.WithALiBi, Align: vkattn.AlignTopLeft}),
			func(a *vkattn.Args) { a.Slopes = one(ln(3)) }, 5, math.Log(4. / 3)},
		{"alibi with bases", tiny(row(0), row(0, 0), row(4, 8), vkattn.Attention{With: vkattn.WithALiBi, Align: vkattn.AlignTopLeft}),
			func(a *vkattn.Args) { a.Slopes, a.QBase, a.KBase = one(ln(3)), 5, 4 }, 7, math.Log(4. / 3)},
		{"bias", tiny(row(1), row(0, 0), row(4, 8), vkattn.Attention{With: vkattn.WithBias}),
			func(a *vkattn.Args) { a.Bias = vkattn.BHSD(vkattn.Float32s(row(0, ln(3))), 1, 1, 1, 2) }, 7, math.Log(4)},
		{"bias after softcap", tiny(row(0), row(0, 0), row(4, 8), vkattn.Attention{Softcap: 0.1, With: vkattn.WithBias}),
			func(a *vkattn.Args) { a.Bias = vkattn.BHSD(vkattn.Float32s(row(0, ln(3))), 1, 1, 1, 2) }, 7, math.Log(4)},
		{"very negative bias hides nothing", tiny(row(1), row(0, 0), row(4, 8), vkattn.Attention{With: vkattn.WithBias}),
			func(a *vkattn.Args) { a.Bias = vkattn.BHSD(vkattn.Float32s(row(-1e9, -1e9)), 1, 1, 1, 2) }, 6, -1e9},
		{"-inf bias hides, whatever the score", tiny(row(1), row(nan, 0), row(4, 8), vkattn.Attention{With: vkattn.WithBias}),
			func(a *vkattn.Args) { a.Bias = vkattn.BHSD(vkattn.Float32s(row(-inf, 0)), 1, 1, 1, 2) }, 8, 0},
		{"sink", tiny(row(1), row(0, ln(3)), row(4, 8), vkattn.Attention{With: vkattn.WithSinkLogits}),
			func(a *vkattn.Args) { a.SinkLogits = one(ln(4)) }, 3.5, math.Log(8)},
		{"sink is neither scaled nor capped", tiny(row(0), row(0, 0), row(4, 8), vkattn.Attention{Scale: vkattn.Num(9), Softcap: 0.5, With: vkattn.WithSinkLogits}),
			func(a *vkattn.Args) { a.SinkLogits = one(ln(2)) }, 3, math.Log(4)},
		{"overwhelming sink", tiny(row(1), row(0, 0), row(4, 8), vkattn.Attention{With: vkattn.WithSinkLogits}),
			func(a *vkattn.Args) { a.SinkLogits = one(1e4) }, 0, 1e4},
		{"empty row", tiny(row(1), row(nan), row(nan), vkattn.Attention{With: vkattn.WithKeyLengths}),
			func(a *vkattn.Args) { a.KeyLengths = []int32{0} }, 0, math.Inf(-1)},
		{"empty row with a sink", tiny(row(1), row(nan), row(nan), vkattn.Attention{With: vkattn.WithKeyLengths | vkattn.WithSinkLogits}),
			func(a *vkattn.Args) { a.KeyLengths, a.SinkLogits = []int32{0}, one(3) }, 0, 3},
		{"row of a NaN query without keys", tiny(row(nan), row(1), row(1), vkattn.Attention{Causal: true, Align: vkattn.AlignOffset}),
			func(a *vkattn.Args) { a.Offset = []int{-1} }, 0, math.Inf(-1)},
		{"large scores", tiny(row(1e4), row(1, 1), row(4, 8), vkattn.Attention{}), nil, 6, 1e4 + math.Log(2)},
		{"a visible -inf score weighs 0", tiny(row(1), row(-inf, 2), row(4, 8), vkattn.Attention{}), nil, 8, 2},
		{"visible scores of -inf alone", tiny(row(1), row(-inf, -inf), row(4, 8), vkattn.Attention{}), nil, math.NaN(), math.NaN()},
		{"+inf score", tiny(row(1), row(inf, 0), row(4, 8), vkattn.Attention{}), nil, math.NaN(), math.NaN()},
		{"NaN key", tiny(row(1), row(nan, 0), row(4, 8), vkattn.Attention{}), nil, math.NaN(), math.NaN()},
		{"NaN value of weight 0", tiny(row(1), row(-2e3, 0), row(nan, 8), vkattn.Attention{}), nil, math.NaN(), 0},
		{"infinite value", tiny(row(1), row(0, 0), row(inf, 8), vkattn.Attention{}), nil, math.Inf(1), math.Log(2)},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.set != nil {
				c.set(&c.run.args)
			}
			r, err := Oracle(c.run.op, &c.run.args)
			if err != nil {
				t.Fatal(err)
			}
			if !near(r.Out[0], c.out, 1e-6) || !near(r.LSE[0], c.lse, 1e-6) {
				t.Errorf("oracle: O = %v, LSE = %v, want %v, %v", r.Out[0], r.LSE[0], c.out, c.lse)
			}
			c.run.do(t, backend)
			if o, l := float64(c.run.out[0]), float64(c.run.lse[0]); !near(o, c.out, 1e-6) || !near(l, c.lse, 1e-6) {
				t.Errorf("backend: O = %v, LSE = %v, want %v, %v", o, l, c.out, c.lse)
			}
		})
	}
}

func near(x, want, tolerance float64) bool {
	return x == want || math.IsNaN(x) && math.IsNaN(want) || math.Abs(x-want) <= tolerance*max(1, math.Abs(want))
}

// TestMasks spells out every mask of SEMANTICS.md: 3 rows, 5 keys, x for visible. Bottom-right puts the rows
// at positions 2, 3, 4.
func TestMasks(t *testing.T) { onKernels(t, testMasks) }

func testMasks(t *testing.T, start func(Config) *Backend) {
	backend := start(Config{})
	defer backend.Close()
	const topLeft, offset = vkattn.AlignTopLeft, vkattn.AlignOffset
	win := func(left, right int) vkattn.Window {
		return vkattn.Window{Left: vkattn.Tokens(left), Right: vkattn.Tokens(right)}
	}
	keep := func(rows ...string) vkattn.Tensor {
		var b []bool
		for _, c := range strings.Join(rows, "") {
			b = append(b, c == 'x')
		}
		return vkattn.BHSD(vkattn.Bools(b), 1, 1, 3, 5).As(vkattn.Bool)
	}
	blocks, err := vkattn.NewBlockMask(1, 1, 3, 5, 2, 2, func(_, _, row, key int) (bool, bool) { return (row+key)%2 == 0, false })
	if err != nil {
		t.Fatal(err)
	}
	type args = vkattn.Args
	for _, c := range []struct {
		name string
		op   vkattn.Attention
		set  func(*args)
		want string
	}{
		{"none", vkattn.Attention{}, nil, "xxxxx xxxxx xxxxx"},
		{"causal", vkattn.Attention{Causal: true}, nil, "xxx.. xxxx. xxxxx"},
		{"causal top-left", vkattn.Attention{Causal: true, Align: topLeft}, nil, "x.... xx... xxx.."},
		{"causal offset -1", vkattn.Attention{Causal: true, Align: offset}, func(a *args) { a.Offset = []int{-1} }, "..... x.... xx..."},
		{"causal, row base", vkattn.Attention{Causal: true, Align: topLeft}, func(a *args) { a.QBase = 1 }, "xx... xxx.. xxxx."},
		{"causal, key base", vkattn.Attention{Causal: true, Align: topLeft}, func(a *args) { a.KBase = 2 }, "..... ..... x...."},
		{"causal, key lengths", vkattn.Attention{Causal: true, With: vkattn.WithKeyLengths}, func(a *args) { a.KeyLengths = []int32{3} }, "x.... xx... xxx.."},
		{"window 1:0", vkattn.Attention{Window: win(1, 0)}, nil, ".xx.. ..xx. ...xx"},
		{"window 0:1", vkattn.Attention{Window: win(0, 1)}, nil, "..xx. ...xx ....x"},
		{"window inf:-1", vkattn.Attention{Window: vkattn.Window{Right: vkattn.Tokens(-1)}}, nil, "xx... xxx.. xxxx."},
		{"window 0:inf", vkattn.Attention{Window: vkattn.Window{Left: vkattn.Tokens(0)}}, nil, "..xxx ...xx ....x"},
		{"empty window", vkattn.Attention{Window: win(-1, -1)}, nil, "..... ..... ....."},
		{"window 0:inf, causal", vkattn.Attention{Causal: true, Window: vkattn.Window{Left: vkattn.Tokens(0)}}, nil, "..x.. ...x. ....x"},
		{"chunk", vkattn.Attention{Chunk: 2}, nil, "..xx. ..xx. ....x"},
		{"chunk causal", vkattn.Attention{Chunk: 2, Causal: true}, nil, "..x.. ..xx. ....x"},
		{"chunk of negative positions", vkattn.Attention{Chunk: 2, Align: offset}, func(a *args) { a.Offset = []int{-1} }, "..... xx... xx..."},
		{"chunk, bases", vkattn.Attention{Chunk: 2, Align: topLeft}, func(a *args) { a.QBase, a.KBase = 1, 1 }, "x.... .xx.. .xx.."},
		{"sink tokens", vkattn.Attention{Window: win(1, 0), SinkTokens: 1}, nil, "xxx.. x.xx. x..xx"},
		{"sink tokens causal", vkattn.Attention{Causal: true, Align: topLeft, Window: win(0, 0), SinkTokens: 2}, nil, "x.... xx... xxx.."},
		{"no sink tokens before position 0", vkattn.Attention{Window: win(0, 0)}, func(a *args) { a.QBase, a.KBase = -9, -9 }, "..x.. ...x. ....x"},
		{"sink tokens, bases", vkattn.Attention{Align: topLeft, Window: win(0, 0), SinkTokens: 3}, func(a *args) { a.QBase, a.KBase = 2, 2 }, "x.... xx... x.x.."},
		{"global", vkattn.Attention{Window: win(0, 0), With: vkattn.WithGlobal}, func(a *args) { a.Global = []int32{3} }, "..xx. xxxxx ...xx"},
		{"global causal", vkattn.Attention{Causal: true, Window: win(0, 0), With: vkattn.WithGlobal}, func(a *args) { a.Global = []int32{3} }, "..x.. xxxx. ...xx"},
		{"global, bases", vkattn.Attention{Align: topLeft, Window: win(0, 0), With: vkattn.WithGlobal}, func(a *args) { a.QBase, a.KBase, a.Global = 7, 6, []int32{8} }, ".xx.. xxxxx ..xx."},
		{"prefix", vkattn.Attention{Causal: true, Align: topLeft, With: vkattn.WithPrefix}, func(a *args) { a.Prefix = []int32{2} }, "xx... xx... xxx.."},
		{"prefix, key base", vkattn.Attention{Causal: true, Align: topLeft, With: vkattn.WithPrefix}, func(a *args) { a.Prefix, a.KBase = []int32{4}, 2 }, "xx... xx... xx..."},
		{"prefix does not widen a window", vkattn.Attention{Causal: true, Window: win(0, 0), With: vkattn.WithPrefix}, func(a *args) { a.Prefix = []int32{5} }, "..x.. ...x. ....x"},
		{"key lengths", vkattn.Attention{With: vkattn.WithKeyLengths}, func(a *args) { a.KeyLengths = []int32{4} }, "xxxx. xxxx. xxxx."},
		{"boolean", vkattn.Attention{With: vkattn.WithMask}, func(a *args) { a.Mask = keep("x.x..", ".....", "...xx") }, "x.x.. ..... ...xx"},
		{"boolean and causal", vkattn.Attention{Causal: true, With: vkattn.WithMask}, func(a *args) { a.Mask = keep("xxxxx", "x...x", "....x") }, "xxx.. x.... ....x"},
		{"tree", vkattn.Attention{With: vkattn.WithTree}, func(a *args) { a.Tree = keep("xxx..", "xx.x.", "xx.xx") }, "xxx.. xx.x. xx.xx"},
		{"blocks", vkattn.Attention{With: vkattn.WithBlocks}, func(a *args) { a.Blocks = blocks }, "xx..x xx..x ..xx."},
		{"blocks causal", vkattn.Attention{Causal: true, With: vkattn.WithBlocks}, func(a *args) { a.Blocks = blocks }, "xx... xx... ..xx."},
	} {
		t.Run(c.name, func(t *testing.T) {
			zeros := make([]float32, 3)
			r := tiny(zeros, make([]float32, 5), []float32{1, 2, 4, 8, 16}, c.op)
			if c.set != nil {
				c.set(&r.args)
			}
			P, err := Scores(r.op, &r.args, StageSoftmax)
			if err != nil {
				t.Fatal(err)
			}
			var got []byte
			for n, p := range P {
				if n > 0 && n%5 == 0 {
					got = append(got, ' ')
				}
				got = append(got, ".x"[min(1, int(math.Ceil(p)))])
			}
			if string(got) != c.want {
				t.Errorf("oracle sees %s, want %s", got, c.want)
			}
			result, err := Oracle(r.op, &r.args)
			if err != nil {
				t.Fatal(err)
			}
			if want := int64(strings.Count(c.want, "x")); result.Visible != want {
				t.Errorf("oracle counts %d pairs, want %d", result.Visible, want)
			}
			r.do(t, backend)
			r.check(t)
		})
	}
}

// TestPacked checks that documents do not see each other.
func TestPacked(t *testing.T) {
	r := tiny(make([]float32, 4), make([]float32, 5), []float32{1, 2, 4, 8, 16}, vkattn.Attention{Packed: true, TotalQ: 4, TotalK: 5})
	r.op.Batch = 3
	r.args.CuSeqQ, r.args.CuSeqK = []int32{0, 1, 1, 3}, []int32{0, 2, 3, 5}
	r.out[3], r.lse[3] = 77, 77
	result, err := Oracle(r.op, &r.args)
	if err != nil {
		t.Fatal(err)
	}
	if want := []float64{1.5, 12, 12, 0}; !slices.Equal(result.Out, want) {
		t.Errorf("oracle: %v, want %v", result.Out, want)
	}
	backend := New(Config{})
	defer backend.Close()
	r.do(t, backend)
	if want := []float32{1.5, 12, 12, 77}; !slices.Equal(r.out, want) {
		t.Errorf("backend: %v, want %v: tokens of no sequence stay as they are", r.out, want)
	}
}

func TestOracleRows(t *testing.T) {
	op := vkattn.Attention{Batch: 2, HeadsQ: 4, HeadsK: 2, SeqQ: 9, SeqK: 12, HeadDim: 8, ValueDim: 3, Causal: true}
	r := newRun(newRand(5), op)
	all, err := Oracle(op, &r.args)
	if err != nil {
		t.Fatal(err)
	}
	rows := []Row{{0, 0, 0}, {1, 3, 8}, {1, 0, 4}, {0, 1, 4}}
	some, err := OracleRows(op, &r.args, rows)
	if err != nil {
		t.Fatal(err)
	}
	for n, row := range rows {
		at := (row.Sequence*4+row.Head)*9 + row.I
		if !slices.Equal(some.Out[n*3:n*3+3], all.Out[at*3:at*3+3]) || some.LSE[n] != all.LSE[at] {
			t.Errorf("row %v differs", row)
		}
	}
	for _, row := range []Row{{2, 0, 0}, {0, 4, 0}, {0, 0, 9}, {-1, 0, 0}} {
		if _, err := OracleRows(op, &r.args, []Row{row}); err == nil {
			t.Errorf("row %v: no error", row)
		}
	}
}

// TestStages checks the matrices behind ONNX's qk_matmul_output: 2 x tanh(s/2), bias and -inf, weights.
func TestStages(t *testing.T) {
	r := tiny([]float32{2}, []float32{1, 3, 5}, []float32{0, 0, 0}, vkattn.Attention{Softcap: 2, Causal: true, Align: vkattn.AlignOffset, With: vkattn.WithBias})
	r.args.Offset = []int{1}
	r.args.Bias = vkattn.BHSD(vkattn.Float32s([]float32{10, 20, 30}), 1, 1, 1, 3)
	a, b, c := 2*math.Tanh(1), 2*math.Tanh(3), 2*math.Tanh(5)
	w := 1 / (1 + math.Exp(b+20-a-10))
	for stage, want := range [][]float64{{2, 6, 10}, {a, b, c}, {a + 10, b + 20, math.Inf(-1)}, {w, 1 - w, 0}} {
		got, err := Scores(r.op, &r.args, Stage(stage))
		if err != nil {
			t.Fatal(err)
		}
		if !slices.EqualFunc(got, want, func(x, y float64) bool { return near(x, y, 1e-12) }) {
			t.Errorf("stage %d: %v, want %v", stage, got, want)
		}
	}
}

// TestOracleTypes reads keys and values of every type.
func TestOracleTypes(t *testing.T) {
	quant := func(scale [2]byte, n int) []byte { // 32 codes of 1
		code := byte(1)
		if n == 16 {
			code = 0x99 // 9 - 8 = 1
		}
		return append(scale[:], slices.Repeat([]byte{code}, n)...)
	}
	for _, c := range []struct {
		typ  vkattn.Type
		ones []byte
	}{
		{vkattn.Float16, slices.Repeat([]byte{0, 0x3C}, 32)}, {vkattn.BFloat16, slices.Repeat([]byte{0x80, 0x3F}, 32)},
		{vkattn.F8E4M3, slices.Repeat([]byte{0x38}, 32)}, {vkattn.F8E5M2, slices.Repeat([]byte{0x3C}, 32)},
		{vkattn.Q8_0, quant([2]byte{0, 0x3C}, 32)}, {vkattn.Q4_0, quant([2]byte{0, 0x3C}, 16)},
	} {
		q := slices.Repeat([]float32{1}, 32)
		op := vkattn.Attention{Batch: 1, HeadsQ: 1, SeqQ: 1, SeqK: 1, HeadDim: 32, TypeK: c.typ, TypeV: c.typ, Scale: vkattn.Num(1)}
		args := vkattn.Args{Q: vkattn.BHSD(vkattn.Float32s(q), 1, 1, 1, 32), Out: vkattn.BHSD(vkattn.Float32s(make([]float32, 32)), 1, 1, 1, 32)}
		args.K = vkattn.BHSD(vkattn.Bytes(c.ones), 1, 1, 1, 32).As(c.typ)
		args.V = args.K
		r, err := Oracle(op, &args)
		if err != nil {
			t.Fatal(err)
		}
		if r.LSE[0] != 32 || r.Out[31] != 1 {
			t.Errorf("%s: LSE = %v, O = %v, want 32 and 1", c.typ, r.LSE[0], r.Out[31])
		}
	}
}
