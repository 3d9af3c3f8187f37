package golden

import (
	"bytes"
	"math"
	"slices"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/internal/tensorio"
)

// onnxAttention maps ONNX Attention (opset 23 to 25) as its reference defines
// it, which differs from the defaults of vkattn in one place: without a cache
// the diagonal is top-left, also when Sq and Sk differ. With past keys the
// offset is their number, with nonpad_kv_seqlen it is the valid length minus Sq.
func onnxAttention(b *builder) error {
	op, args := &b.attention, &b.Runs[0].Args
	if err := b.onnxTensors(op, args); err != nil {
		return err
	}
	if scale := b.number("scale", 0); scale != 0 { // 0 and absent are the default
		op.Scale = vkattn.Num(scale)
	}
	op.Softcap = b.number("softcap", 0)
	op.Causal = b.flag("is_causal")
	op.Window = vkattn.Window{Left: b.bound("left_window_size"), Right: b.bound("right_window_size")}
	mode := int(b.number("qk_matmul_output_mode", 0))
	b.ignore("opset", "softmax_precision") // a precision of the softmax that tolerances cover

	op.Align = vkattn.AlignTopLeft
	past := b.Case.Tensors["past_key"]
	if past.Role == Input {
		op.Align, args.Offset = vkattn.AlignOffset, []int{past.Shape[2]}
	}
	if a := b.input("nonpad_kv_seqlen"); a != nil {
		if past.Role == Input {
			return b.unsupported("past_key and nonpad_kv_seqlen together")
		}
		lengths, err := a.Int32s()
		if err != nil {
			return err
		}
		op.Align = vkattn.AlignBottomRight // Sk is the length of each sequence
		op.With |= vkattn.WithKeyLengths
		args.KeyLengths = lengths
	}
	if a := b.input("attn_mask"); a != nil {
		a = padMask(a, op.SeqK)
		t, err := b.score("attn_mask", a, [4]int{op.Batch, op.HeadsQ, op.SeqQ, op.SeqK})
		if err != nil {
			return err
		}
		if t.Type == vkattn.Bool {
			op.With |= vkattn.WithMask
			args.Mask = t
		} else {
			op.With |= vkattn.WithBias
			args.Bias = t
		}
	}
	if b.Case.Tensors["qk_matmul_output"].Role == Expected {
		return b.scores(*op, mode)
	}
	return nil
}

// onnxTensors reads Q, K, V and the past, in 4-D [B,H,S,D] or 3-D [B,S,H*D],
// appends the new keys and values to the past, and makes room for the outputs.
func (b *builder) onnxTensors(op *vkattn.Attention, args *vkattn.Args) error {
	headsQ, headsK := int(b.number("q_num_heads", 0)), int(b.number("kv_num_heads", 0))
	view := func(name string, heads int) (vkattn.Tensor, error) {
		a := b.input(name)
		switch {
		case a == nil:
			return vkattn.Tensor{}, b.bad("%s is missing", name)
		case a.DType != tensorio.F32 && a.DType != tensorio.F16:
			return vkattn.Tensor{}, b.unsupported("%s has elements of type %v", name, a.DType)
		}
		m, typ := numbers(a)
		switch {
		case len(a.Shape) == 4:
			return vkattn.BHSD(m, a.Shape[0], a.Shape[1], a.Shape[2], a.Shape[3]).As(typ), nil
		case len(a.Shape) == 3 && heads > 0 && a.Shape[2]%heads == 0:
			return vkattn.BSHD(m, a.Shape[0], a.Shape[1], heads, a.Shape[2]/heads).As(typ), nil
		}
		return vkattn.Tensor{}, b.bad("%s has shape %v with %d heads", name, a.Shape, heads)
	}
	var err error
	if args.Q, err = view("Q", headsQ); err != nil {
		return err
	}
	for _, t := range []struct {
		name, past, present string
		to                  *vkattn.Tensor
	}{{"K", "past_key", "present_key", &args.K}, {"V", "past_value", "present_value", &args.V}} {
		fresh, err := view(t.name, headsK)
		if err != nil {
			return err
		}
		*t.to = fresh
		if b.Case.Tensors[t.past].Role == Input {
			past, err := view(t.past, 0)
			if err != nil {
				return err
			}
			*t.to = concat(past, fresh)
		}
		present := *t.to
		b.expect(t.present, func() []float32 { return contiguous(present) })
	}
	s := args.Q.Shape
	*op = vkattn.Attention{
		Batch: s[0], HeadsQ: s[1], HeadsK: args.K.Shape[1], HeadsV: args.V.Shape[1],
		SeqQ: s[2], SeqK: args.K.Shape[2], HeadDim: s[3], ValueDim: args.V.Shape[3],
		TypeQ: args.Q.Type, TypeK: args.K.Type, TypeV: args.V.Type, TypeOut: args.Q.Type,
	}
	out := poisoned(s[0] * s[1] * s[2] * op.ValueDim)
	memory := vkattn.Bytes(make([]byte, op.TypeOut.Bytes(len(out))))
	if op.TypeOut == vkattn.Float32 {
		memory = vkattn.Float32s(out) // aligned
	}
	op.TypeOut.Encode(memory.Bytes(), out)
	if len(b.Case.Tensors["Q"].Shape) == 3 {
		args.Out = vkattn.BSHD(memory, s[0], s[2], s[1], op.ValueDim).As(op.TypeOut)
	} else {
		args.Out = vkattn.BHSD(memory, s[0], s[1], s[2], op.ValueDim).As(op.TypeOut)
	}
	if b.expect("Y", func() []float32 {
		args.Out.Type.Decode(out, memory.Bytes())
		return out
	}) {
		b.Runs[0].Gives = []string{"Y"}
	}
	return nil
}

// concat appends fresh to past on the sequence axis.
func concat(past, fresh vkattn.Tensor) vkattn.Tensor {
	s := past.Shape
	rows := s[2] + fresh.Shape[2]
	data := make([]float32, 0, s[0]*s[1]*rows*s[3])
	for batch := range s[0] {
		for h := range s[1] {
			for _, t := range []vkattn.Tensor{past, fresh} {
				part := t.Slice(0, batch, min(batch+1, t.Shape[0])).Slice(1, h, min(h+1, t.Shape[1]))
				data = append(data, contiguous(part)...)
			}
		}
	}
	all, _ := vkattn.BHSD(vkattn.Float32s(data), s[0], s[1], rows, s[3]).To(past.Type)
	return all
}

// contiguous copies a host tensor to float32 in the order batch, heads, sequence, last.
func contiguous(t vkattn.Tensor) []float32 {
	out, _ := t.To(vkattn.Float32)
	return out.Mem.(*vkattn.Host).Float32s()
}

// padMask lengthens a last axis that is shorter than keys, hiding the rest:
// ONNX pads there, and does not broadcast even a last axis of 1.
func padMask(a *tensorio.Array, keys int) *tensorio.Array {
	rank := len(a.Shape)
	if rank == 0 || a.Shape[rank-1] >= keys {
		return a
	}
	size, have := a.DType.Size(), a.Shape[rank-1]
	fill := make([]byte, size) // false
	if a.DType == tensorio.F32 {
		fill = tensorio.NewFloat32("", nil, []float32{float32(math.Inf(-1))}).Data
	}
	rows := 1
	for _, n := range a.Shape[:rank-1] {
		rows *= n
	}
	p := &tensorio.Array{Name: a.Name, DType: a.DType, Shape: slices.Clone(a.Shape)}
	p.Shape[rank-1] = keys
	for r := range rows {
		p.Data = append(p.Data, a.Data[r*have*size:(r+1)*have*size]...)
		p.Data = append(p.Data, bytes.Repeat(fill, keys-have)...)
	}
	return p
}

// onnxFlexAttention maps the preview operator. Its score_mod is a graph; the
// graphs of the operator's own tests are known by name and nodes.
func onnxFlexAttention(b *builder) error {
	op, args := &b.attention, &b.Runs[0].Args
	if err := b.onnxTensors(op, args); err != nil {
		return err
	}
	if scale := b.number("scale", 0); scale != 0 {
		op.Scale = vkattn.Num(scale)
	}
	b.ignore("opset", "softmax_precision")
	mod, ok := b.attrs["score_mod"]
	if !ok {
		return nil
	}
	delete(b.attrs, "score_mod")
	graph, _ := mod.(map[string]any)
	name, _ := graph["graph"].(string)
	var nodes []string
	list, _ := graph["nodes"].([]any)
	for _, n := range list {
		node, _ := n.(string)
		nodes = append(nodes, node)
	}
	ranges := []string{"Shape", "Gather", "Gather", "Range", "Reshape", "Range", "Reshape"} // i as a column, j as a row
	switch {
	case name == "score_mod_causal_mask" && slices.Equal(nodes, append(ranges, "GreaterOrEqual", "Where")):
		op.Causal, op.Align = true, vkattn.AlignTopLeft // i >= j keeps the score
	case name == "score_mod_relative_positional" && slices.Equal(nodes, append(ranges, "Sub", "Cast", "Add")):
		bias := make([]float32, op.SeqQ*op.SeqK) // s + (i - j)
		for i := range op.SeqQ {
			for j := range op.SeqK {
				bias[i*op.SeqK+j] = float32(i - j)
			}
		}
		op.With |= vkattn.WithBias
		args.Bias = vkattn.BHSD(vkattn.Float32s(bias), 1, 1, op.SeqQ, op.SeqK).Broadcast(op.Batch, op.HeadsQ, op.SeqQ, op.SeqK)
	default:
		return b.unsupported("score_mod graph %s of nodes %v is not known", name, nodes)
	}
	return nil
}
