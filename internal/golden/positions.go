package golden

import (
	"math"
	"slices"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/internal/tensorio"
)

// torchRope maps the op rope: x [B,H,S,D], positions [S] or [B,S], and the
// inverse frequencies, which have to be those that the attributes say.
func torchRope(b *builder) error {
	x, ids, given := b.input("x"), b.input("positions"), b.input("inv_freq")
	if x == nil || ids == nil || given == nil || len(x.Shape) != 4 || x.DType != tensorio.F32 {
		return b.bad("x, positions or inv_freq is missing or of another kind")
	}
	op := ropeOp(x.Shape, int(b.number("rotary_dim", 0)))
	switch style := b.text("style"); style {
	case "half":
	case "interleaved":
		op.Layout = vkattn.RopeInterleaved
	default:
		return b.unsupported("style %q is not known", style)
	}
	inv, attention, err := b.frequencies(op.RotaryDim)
	if err != nil {
		return err
	}
	for i, want := range given.Float64s() {
		if i >= len(inv) || math.Abs(inv[i]-want) > 1e-12*want {
			return b.bad("inverse frequency %d of %d is %v there", i, len(inv), want)
		}
	}
	positions, err := ids.Int32s()
	if err != nil {
		return err
	}
	// Row n of the tables is for entry n of positions, so that tokens read their rows in order.
	args := &b.Runs[0].Args
	if args.Cos, args.Sin, err = vkattn.RopeTableAt(inv, attention, positions); err != nil {
		return err
	}
	if op.Positions = len(ids.Shape) == 2; op.Positions {
		for n := range positions {
			args.Positions = append(args.Positions, int32(n))
		}
	}
	args.Q = torchTensor(floats(x), x.Shape)
	b.rotate(op, "out", func(m vkattn.Memory) vkattn.Tensor { return torchTensor(m, x.Shape) })
	return nil
}

func ropeOp(shape []int, rotary int) vkattn.Rope {
	return vkattn.Rope{Batch: shape[0], Heads: shape[1], Seq: shape[2], HeadDim: shape[3], RotaryDim: rotary}
}

// rotate finishes the run of op, whose output is the tensor name.
func (b *builder) rotate(op vkattn.Rope, name string, view func(vkattn.Memory) vkattn.Tensor) {
	run := &b.Runs[0]
	out := poisoned(run.Args.Q.Len())
	run.Op, run.Args.Out = op, view(vkattn.Float32s(out))
	if b.expect(name, func() []float32 { return out }) {
		run.Gives = []string{name}
	}
}

// onnxRotaryEmbedding maps ONNX RotaryEmbedding: the input is [B,H,S,D], or
// [B,S,H*D] with num_heads; the caches are [rows, R/2] with position_ids [B,S],
// or [B,S,R/2] without.
func onnxRotaryEmbedding(b *builder) error {
	x, ids := b.input("input"), b.input("position_ids")
	cos, sin := b.input("cos_cache"), b.input("sin_cache")
	if x == nil || cos == nil || sin == nil || !slices.Equal(cos.Shape, sin.Shape) {
		return b.bad("input or a cache is missing, or the caches differ in shape")
	}
	for name, a := range map[string]*tensorio.Array{"input": x, "cos_cache": cos, "sin_cache": sin} {
		if a.DType != tensorio.F32 {
			return b.unsupported("%s has elements of type %v", name, a.DType)
		}
	}
	args, heads := &b.Runs[0].Args, int(b.number("num_heads", 0))
	s := x.Shape
	var view func(vkattn.Memory) vkattn.Tensor
	switch {
	case len(s) == 4:
		view = func(m vkattn.Memory) vkattn.Tensor { return vkattn.BHSD(m, s[0], s[1], s[2], s[3]) }
	case len(s) == 3 && heads > 0 && s[2]%heads == 0:
		view = func(m vkattn.Memory) vkattn.Tensor { return vkattn.BSHD(m, s[0], s[1], heads, s[2]/heads) }
	default:
		return b.bad("input has shape %v with %d heads", s, heads)
	}
	args.Q = view(floats(x))
	op := ropeOp(args.Q.Shape[:], int(b.number("rotary_embedding_dim", 0)))
	if b.flag("interleaved") {
		op.Layout = vkattn.RopeInterleaved
	}
	b.ignore("opset")
	rank := 3
	if op.Positions = ids != nil; op.Positions {
		var err error
		if args.Positions, err = ids.Int32s(); err != nil {
			return err
		}
		rank = 2
	}
	if len(cos.Shape) != rank {
		return b.bad("the caches have shape %v, want %d axes", cos.Shape, rank)
	}
	table := func(a *tensorio.Array) vkattn.Tensor {
		if rank == 2 {
			return vkattn.BHSD(floats(a), 1, 1, a.Shape[0], a.Shape[1])
		}
		return vkattn.BHSD(floats(a), a.Shape[0], 1, a.Shape[1], a.Shape[2])
	}
	args.Cos, args.Sin = table(cos), table(sin)
	b.rotate(op, "output", view)
	return nil
}

// frequencies maps rope_inv_freq, a table.
func frequencies(b *builder) error {
	inv, _, err := b.frequencies(int(b.number("head_dim", 0)))
	if err != nil {
		return err
	}
	b.table(rounded(inv), "inv_freq", "inv_freq_f32")
	return nil
}

// frequencies reads the attributes of a scaling, named as by Hugging Face.
func (b *builder) frequencies(dim int) (inv []float64, attention float64, err error) {
	var scaling vkattn.RopeScaling
	switch kind := b.text("rope_type"); kind {
	case "", "default":
	case "llama3":
		scaling = vkattn.RopeLlama3{
			Factor: b.number("factor", 0), LowFreqFactor: b.number("low_freq_factor", 0), HighFreqFactor: b.number("high_freq_factor", 0),
			OriginalMaxPosition: int(b.number("original_max_position_embeddings", 0)),
		}
	default:
		return nil, 0, b.unsupported("rope_type %q is not known", kind)
	}
	return vkattn.RopeFrequencies(dim, b.number("theta", 0), scaling)
}

// slopes maps alibi_slopes, a table.
func slopes(b *builder) error {
	table, err := vkattn.ALiBiSlopes(int(b.number("heads", 0)))
	if err != nil {
		return err
	}
	b.table(table, "slopes")
	return nil
}

// buckets maps t5_bucket, a table. relative_position is key minus row.
func buckets(b *builder) error {
	b.ignore("float64_differs_at")
	t := vkattn.T5Buckets{Bidirectional: b.flag("bidirectional"), Buckets: int(b.number("num_buckets", 0)), MaxDistance: int(b.number("max_distance", 0))}
	table, err := t.Table()
	if err != nil {
		return err
	}
	a := b.input("relative_position")
	if a == nil {
		return b.bad("relative_position is missing")
	}
	distances, err := a.Int32s()
	if err != nil {
		return err
	}
	var got []float32
	for _, d := range distances {
		got = append(got, float32(table[vkattn.RelativeIndex(int(d), len(table)/2)]))
	}
	b.table(got, "bucket")
	return nil
}

// table makes the case one without runs, whose tensors are known.
func (b *builder) table(got []float32, names ...string) {
	b.Runs = nil
	for _, name := range names {
		b.expect(name, func() []float32 { return got })
	}
}

func rounded(x []float64) []float32 {
	out := make([]float32, len(x))
	for i, v := range x {
		out[i] = float32(v)
	}
	return out
}
