package golden

import (
	"strings"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/internal/tensorio"
)

// linearAttention maps the ops linear_attention (feature maps), decay_linear_attention and delta_rule. Tensors are
// [B,H,S,D], decays [H], [B,H,S] or [B,H,S,Dk], states [B,H,Dk,Dv] with z [B,H,Dk] apart.
func linearAttention(b *builder) error {
	op, args := vkattn.Linear{Scale: vkattn.Num(b.number("scale", 1))}, &b.Runs[0].Args
	shape := map[string]*vkattn.Tensor{"q": &args.Q, "k": &args.K, "v": &args.V}
	for name, to := range shape {
		a := b.input(name)
		if a == nil || len(a.Shape) != 4 || a.DType != tensorio.F32 {
			return b.bad("%s is missing or not f32 of four axes", name)
		}
		*to = torchTensor(floats(a), a.Shape)
	}
	var ok bool
	phi := b.text("phi")
	if op.Map, ok = map[string]vkattn.FeatureMap{"": vkattn.MapIdentity, "identity": vkattn.MapIdentity, "elu1": vkattn.MapELU, "relu": vkattn.MapReLU}[phi]; !ok {
		return b.unsupported("phi %q is not known", phi)
	}
	op.Causal = b.flag("causal") || b.Case.Op == "delta_rule"
	normalize, eps := b.flag("normalize"), b.number("eps", 0)
	if normalize {
		op.Norm, op.Eps = vkattn.NormSum, vkattn.Num(eps)
	}
	rule := b.text("update_rule")
	switch rule {
	case "", "gated":
	case "delta", "gated_delta":
		op.Rule = vkattn.RuleDelta
	default:
		return b.unsupported("update_rule %q is not known", rule)
	}
	decay := b.text("decay")
	if op.Decay, ok = map[string]vkattn.Decay{"": vkattn.DecayNone, "none": vkattn.DecayNone, "const": vkattn.DecayHead,
		"head": vkattn.DecayToken, "channel": vkattn.DecayChannel}[decay]; !ok {
		return b.unsupported("decay %q is not known", decay)
	}
	b.ignore("initial_state", "q_heads", "kv_heads")
	if a := b.input("g"); a != nil {
		args.Decay = rightPadded(a)
	}
	if a := b.input("beta"); a != nil {
		args.Beta = rightPadded(a)
	}
	return b.linear(op, "out", b.input("state_in"), b.input("z_in"), "state_out", "z_out")
}

// rightPadded views a gate: [H] as one number a head, and other shapes with axes of size 1 behind.
func rightPadded(a *tensorio.Array) vkattn.Tensor {
	if len(a.Shape) == 1 {
		return vkattn.Vector(floats(a), a.Shape[0])
	}
	s := [4]int{1, 1, 1, 1}
	copy(s[:], a.Shape)
	return vkattn.BHSD(floats(a), s[0], s[1], s[2], s[3])
}

// onnxLinearAttention maps ONNX LinearAttention (opset 27): [B,T,H*D], a scale of 0 is 1/sqrt(Dk), and the rule
// says which gates there are.
func onnxLinearAttention(b *builder) error {
	op, args := vkattn.Linear{Causal: true}, &b.Runs[0].Args
	headsQ, headsK := int(b.number("q_num_heads", 0)), int(b.number("kv_num_heads", 0))
	if scale := b.number("scale", 0); scale != 0 {
		op.Scale = vkattn.Num(scale)
	}
	rule := b.text("update_rule")
	if rule == "" {
		rule = "gated_delta"
	}
	b.ignore("opset", "chunk_size")
	if headsQ < 1 || headsK < 1 {
		return b.bad("%d query and %d key heads", headsQ, headsK)
	}
	// view splits the last axis into heads.
	view := func(name string, heads int) (vkattn.Tensor, error) {
		a := b.input(name)
		switch {
		case a == nil:
			return vkattn.Tensor{}, b.bad("%s is missing", name)
		case a.DType != tensorio.F32 && a.DType != tensorio.F16: // which becomes float32
			return vkattn.Tensor{}, b.unsupported("%s has elements of type %v", name, a.DType)
		case len(a.Shape) != 3 || a.Shape[2]%heads != 0:
			return vkattn.Tensor{}, b.bad("%s has shape %v with %d heads", name, a.Shape, heads)
		}
		return vkattn.BSHD(floats(a), a.Shape[0], a.Shape[1], heads, a.Shape[2]/heads), nil
	}
	var err error
	for _, t := range []struct {
		name  string
		heads int
		to    *vkattn.Tensor
	}{{"query", headsQ, &args.Q}, {"key", headsK, &args.K}, {"value", headsK, &args.V}} {
		if *t.to, err = view(t.name, t.heads); err != nil {
			return err
		}
	}
	if rule == "gated" || rule == "gated_delta" {
		if args.Decay, err = view("decay", headsK); err != nil {
			return err
		}
		op.Decay = vkattn.DecayToken
		if args.Decay.Shape[3] > 1 || args.Q.Shape[3] == 1 {
			op.Decay = vkattn.DecayChannel
		}
	}
	if rule == "delta" || rule == "gated_delta" {
		op.Rule = vkattn.RuleDelta
		heads := headsK
		if a := b.Case.Tensors["beta"]; len(a.Shape) == 3 && a.Shape[2] == 1 {
			heads = 1
		}
		if args.Beta, err = view("beta", heads); err != nil {
			return err
		}
	} else if rule != "linear" && rule != "gated" {
		return b.unsupported("update_rule %q is not known", rule)
	}
	return b.linear(op, "output", b.input("past_state"), nil, "present_state", "")
}

// linear fills in the sizes, the output and the states, of which z is the last column where the op has one. Without such
// a column a second run gives z.
func (b *builder) linear(op vkattn.Linear, out string, state, z *tensorio.Array, stateOut, zOut string) error {
	run := &b.Runs[0]
	args := &run.Args
	q, k, v := args.Q.Shape, args.K.Shape, args.V.Shape
	op.Batch, op.HeadsQ, op.HeadsK, op.HeadsV = q[0], q[1], k[1], v[1]
	op.SeqQ, op.SeqK, op.HeadDim, op.ValueDim = q[2], k[2], q[3], v[3]
	for _, t := range []*vkattn.Tensor{&args.Decay, &args.Beta} {
		if t.Given() {
			*t = t.Broadcast(t.Shape[0], op.States(), t.Shape[2], t.Shape[3])
		}
	}
	op.StateIn, op.StateOut = state != nil, b.Case.Tensors[stateOut].Role == Expected
	shape := op.StateShape(op.Batch)
	columns, dv := shape[3], op.ValueDim
	rows := shape[0] * shape[1] * shape[2]
	states := func(x []float32) vkattn.Tensor {
		return vkattn.BHSD(vkattn.Float32s(x), shape[0], shape[1], shape[2], shape[3])
	}
	if state != nil {
		from := state.Float32s()
		if len(from) != rows*dv || z != nil && (len(z.Float32s()) != rows || columns == dv) {
			return b.bad("the state before has shape %v", state.Shape)
		}
		in := make([]float32, rows*columns)
		for r := range rows {
			copy(in[r*columns:], from[r*dv:(r+1)*dv])
			if z != nil {
				in[r*columns+dv] = z.Float32s()[r]
			}
		}
		args.StateIn = states(in)
	}
	n := q[0] * op.Heads() * q[2] * dv
	result := poisoned(n)
	layout := vkattn.BHSD(vkattn.Float32s(result), q[0], op.Heads(), q[2], dv)
	if strings.HasPrefix(b.Case.Op, "onnx.") {
		layout = vkattn.BSHD(vkattn.Float32s(result), q[0], q[2], op.Heads(), dv)
	}
	args.Out = layout
	if b.expect(out, func() []float32 { return result }) {
		run.Gives = append(run.Gives, out)
	}
	after := poisoned(rows * columns)
	if op.StateOut {
		args.StateOut = states(after)
		b.expect(stateOut, func() []float32 { return cut(after, columns, 0, dv) })
		run.Gives = append(run.Gives, stateOut)
	}
	run.Op = op
	if b.Case.Tensors[zOut].Role != Expected {
		return nil
	}
	if columns == dv { // z is in the state of the normalised call
		second := Run{Args: *args}
		op.Norm = vkattn.NormSum
		columns++
		shape[3]++
		after = poisoned(rows * columns)
		second.Op, second.Args.StateOut = op, states(after)
		second.Args.Out = vkattn.BHSD(vkattn.Float32s(poisoned(n)), q[0], op.Heads(), q[2], dv)
		b.Runs = append(b.Runs, second)
		run = &b.Runs[1]
	}
	b.expect(zOut, func() []float32 { return cut(after, columns, dv, columns) })
	run.Gives = append(run.Gives, zOut)
	return nil
}

// cut is columns [lo, hi) of rows of so many columns.
func cut(x []float32, columns, lo, hi int) []float32 {
	var out []float32
	for r := 0; r < len(x); r += columns {
		out = append(out, x[r+lo:r+hi]...)
	}
	return out
}
