package golden

import (
	"slices"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/internal/tensorio"
)

// torchAttention maps the ops attention and attention_varlen of the groups
// torch and stories, whose options are those of SEMANTICS with -1 for an
// unbounded window. Layouts are [B,H,S,D], or [T,H,D] for packed sequences and
// for the one sequence of the stories case.
func torchAttention(b *builder) error {
	q, k, v := b.input("q"), b.input("k"), b.input("v")
	if q == nil || k == nil || v == nil {
		return b.bad("q, k or v is missing")
	}
	packed := b.Case.Op == "attention_varlen"
	tokens := packed || b.Case.Tensors["q"].Layout == "S,H,D" // token-major
	rank := 4
	if tokens {
		rank = 3
	}
	for name, a := range map[string]*tensorio.Array{"q": q, "k": k, "v": v} {
		if len(a.Shape) != rank || a.DType != tensorio.F32 {
			return b.unsupported("%s is %v%v, want f32 with %d axes", name, a.DType, a.Shape, rank)
		}
	}
	run, op := &b.Runs[0], &vkattn.Attention{}
	args := &run.Args
	defer func() { b.Runs[0].Op = *op }()
	view := func(a *tensorio.Array) vkattn.Tensor { return torchTensor(floats(a), a.Shape) }
	args.Q, args.K, args.V = view(q), view(k), view(v)
	shape := [4]int{args.Q.Shape[0], args.Q.Shape[1], args.Q.Shape[2], args.V.Shape[3]}
	*op = vkattn.Attention{
		Batch: shape[0], HeadsQ: shape[1], HeadsK: args.K.Shape[1], HeadsV: args.V.Shape[1],
		SeqQ: shape[2], SeqK: args.K.Shape[2], HeadDim: args.Q.Shape[3], ValueDim: shape[3],
	}
	if err := b.torchOptions(op); err != nil {
		return err
	}
	if packed {
		if err := b.packed(op, args); err != nil {
			return err
		}
	}
	if a := b.input("alibi_slopes"); a != nil {
		op.With |= vkattn.WithALiBi
		args.Slopes = vkattn.Vector(floats(a), op.HeadsQ)
	}
	if a := b.input("sinks"); a != nil {
		op.With |= vkattn.WithSinkLogits
		args.SinkLogits = vkattn.Vector(floats(a), op.HeadsQ)
	}
	score := [4]int{shape[0], op.HeadsQ, op.SeqQ, op.SeqK}
	var err error
	if a := b.input("bias"); a != nil {
		op.With |= vkattn.WithBias
		if args.Bias, err = b.score("bias", a, score); err != nil {
			return err
		}
	}
	if a := b.input("mask"); a != nil {
		op.With |= vkattn.WithMask
		if args.Mask, err = b.score("mask", a, score); err != nil {
			return err
		}
	}
	for flag, given := range map[string]bool{"alibi": args.Slopes.Given(), "sinks": args.SinkLogits.Given(), "varlen": packed} {
		if _, said := b.attrs[flag]; said && b.flag(flag) != given {
			return b.bad("attribute %s does not fit the inputs", flag)
		}
	}

	outShape := slices.Clone(q.Shape)
	outShape[rank-1] = shape[3]
	out := poisoned(shape[0] * shape[1] * shape[2] * shape[3])
	args.Out = torchTensor(vkattn.Float32s(out), outShape)
	for _, name := range []string{"out", "out_f64"} {
		if b.expect(name, func() []float32 { return out }) {
			run.Gives = append(run.Gives, name)
		}
	}
	lseShape := slices.Clone(outShape)
	lseShape[rank-1] = 1
	withLSE := func(op *vkattn.Attention, run *Run, name string) {
		lse := poisoned(shape[0] * shape[1] * shape[2])
		if !b.expect(name, func() []float32 { return lse }) {
			return
		}
		op.With |= vkattn.WithLSE
		run.Args.LSE = torchTensor(vkattn.Float32s(lse), lseShape)
		run.Gives = append(run.Gives, name)
	}
	withLSE(op, run, "lse")
	if b.Case.Tensors["lse_nosink"].Role == Expected {
		plain, noSinks := Run{Args: *args}, *op
		noSinks.With &^= vkattn.WithSinkLogits
		plain.Args.SinkLogits = vkattn.Tensor{}
		plain.Args.Out = torchTensor(vkattn.Float32s(poisoned(len(out))), outShape)
		withLSE(&noSinks, &plain, "lse_nosink")
		plain.Op = noSinks
		b.Runs = append(b.Runs, plain)
	}
	b.input("dout") // read by the gradients alone
	for _, name := range []string{"dq", "dk", "dv", "dbias", "dsinks"} {
		if b.Case.Tensors[name].Role == Expected {
			b.NotCompared[name] = "gradients are not computed"
		}
	}
	return nil
}

// torchTensor views [B,H,S,D] or token-major [T,H,D] memory.
func torchTensor(m vkattn.Memory, s []int) vkattn.Tensor {
	if len(s) == 3 {
		return vkattn.THD(m, s[0], s[1], s[2])
	}
	return vkattn.BHSD(m, s[0], s[1], s[2], s[3])
}

func (b *builder) torchOptions(op *vkattn.Attention) error {
	scale, isDefault := b.number("scale", 0), b.flag("scale_default")
	if !isDefault {
		op.Scale = vkattn.Num(scale)
	}
	op.Softcap = b.number("softcap", 0)
	op.Causal = b.flag("causal")
	op.Window = vkattn.Window{Left: b.bound("window_left"), Right: b.bound("window_right")}
	switch align := b.text("align"); align {
	case "bottom_right":
	case "top_left":
		op.Align = vkattn.AlignTopLeft
	default:
		return b.unsupported("align %q is not known", align)
	}
	b.ignore("shape", "has_grads", "q_heads", "kv_heads", "layer", "positions", "prompt")
	return nil
}

// packed reads cu_seqlens and sets the capacities to what the case needs.
func (b *builder) packed(op *vkattn.Attention, args *vkattn.Args) error {
	for _, s := range []struct {
		name  string
		cu    *[]int32
		seq   *int
		total *int
	}{{"cu_seqlens_q", &args.CuSeqQ, &op.SeqQ, &op.TotalQ}, {"cu_seqlens_k", &args.CuSeqK, &op.SeqK, &op.TotalK}} {
		a := b.input(s.name)
		if a == nil {
			return b.bad("%s is missing", s.name)
		}
		cu, err := a.Int32s()
		if err != nil {
			return err
		}
		*s.cu, *s.total, *s.seq = cu, *s.seq, 0
		for i := 1; i < len(cu); i++ {
			*s.seq = max(*s.seq, int(cu[i]-cu[i-1]))
		}
	}
	op.Packed, op.Batch = true, len(args.CuSeqQ)-1
	return nil
}
