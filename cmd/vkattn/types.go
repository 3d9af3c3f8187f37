package main

import (
	"math"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/internal/tensorio"
)

// typeFlags is the types of tensors.
type typeFlags struct{ typ, typeK, typeV, typeOut, descale string }

func (f *typeFlags) registerTypes(cmd *cobra.Command) {
	group(cmd, "Types", func(s *pflag.FlagSet) {
		s.StringVar(&f.typ, "type", "f32", "`TYPE` of q, k, v and the output: f32, f16, bf16, f8_e4m3 or f8_e5m2; data are rounded to it")
		s.StringVar(&f.typeK, "type-k", "", "`TYPE` of the keys, also q8_0 or q4_0 (default --type)")
		s.StringVar(&f.typeV, "type-v", "", "`TYPE` of the values, also q8_0 or q4_0 (default --type)")
		s.StringVar(&f.typeOut, "type-out", "", "`TYPE` of the output (default --type, or bf16 where that has 8 bits)")
		s.StringVar(&f.descale, "descale", "none", "factors that bring 8-bit floats into range: `PER` is none, tensor, head, or a number of tokens")
	})
}

// types sets the types of op.
func (f *typeFlags) types(op *vkattn.Attention) error {
	parse := func(flag, text string, fallback vkattn.Type, blocks bool) (t vkattn.Type, err error) {
		if text == "" {
			return fallback, nil
		}
		if err := t.UnmarshalText([]byte(text)); err != nil || t == vkattn.Bool {
			return t, usagef("--%s %s: want f32, f16, bf16, f8_e4m3, f8_e5m2, q8_0 or q4_0", flag, text)
		}
		if t.Size() == 0 && !blocks {
			return t, usagef("--%s %s: only keys and values come in blocks; see --type-k and --type-v", flag, text)
		}
		return t, nil
	}
	var err error
	if op.TypeQ, err = parse("type", f.typ, vkattn.Float32, false); err != nil {
		return err
	}
	if op.TypeK, err = parse("type-k", f.typeK, op.TypeQ, true); err != nil {
		return err
	}
	if op.TypeV, err = parse("type-v", f.typeV, op.TypeQ, true); err != nil {
		return err
	}
	out := op.TypeQ
	if out.Size() == 1 {
		out = vkattn.BFloat16
	}
	if op.TypeOut, err = parse("type-out", f.typeOut, out, false); err != nil {
		return err
	}
	return f.descales(op)
}

// descales names the factors of 8-bit floats in With.
func (f *typeFlags) descales(op *vkattn.Attention) error {
	switch f.descale {
	case "none":
		return nil
	case "tensor", "head":
	default:
		var err error
		if op.DescaleBlock, err = one("descale", f.descale); err != nil || op.DescaleBlock < 1 {
			return usagef("--descale %s: want none, tensor, head or a number of tokens", f.descale)
		}
	}
	before := op.With
	for i, t := range []vkattn.Type{op.TypeQ, op.TypeK, op.TypeV} {
		if t == vkattn.F8E4M3 || t == vkattn.F8E5M2 {
			op.With |= []vkattn.With{vkattn.WithDescaleQ, vkattn.WithDescaleK, vkattn.WithDescaleV}[i]
		}
	}
	if op.With == before {
		return usagef("--descale goes with 8-bit floats; see --type")
	}
	return nil
}

// narrow brings q, k and v, which were made or read as float32, to the types of the op, with the factors that it names.
func (f *typeFlags) narrow(pr *problem) error {
	a, op := &pr.args, &pr.op
	keys := a.K
	for _, t := range []struct {
		t       *vkattn.Tensor
		typ     vkattn.Type
		with    vkattn.With
		factors *vkattn.Tensor
	}{{&a.Q, op.TypeQ, vkattn.WithDescaleQ, &a.DescaleQ}, {&a.K, op.TypeK, vkattn.WithDescaleK, &a.DescaleK}, {&a.V, op.TypeV, vkattn.WithDescaleV, &a.DescaleV}} {
		if t.typ == vkattn.Float32 {
			continue
		}
		if t.t == &a.V && a.V.Mem == keys.Mem && op.TypeV == op.TypeK { // stays a part of the keys
			a.V.Mem, a.V.Type, a.DescaleV = a.K.Mem, t.typ, a.DescaleK
			continue
		}
		elements, _ := t.typ.Block()
		if n := t.t.Shape[3]; n%elements != 0 {
			return usagef("heads of %d numbers do not fill blocks of %d, in which %s comes", n, elements, t.typ)
		}
		to := view(nil, pr.layout, t.t.Shape[0], t.t.Shape[1], t.t.Shape[2], t.t.Shape[3]).As(t.typ)
		to.Mem = vkattn.Bytes(make([]byte, t.typ.Bytes(to.Len())))
		how := vkattn.Conversion{DescaleBlock: op.DescaleBlock}
		if op.With.Has(t.with) {
			if op.Packed && op.DescaleBlock > 0 {
				return usagef("--descale %s: packed sequences have factors per tensor or per head", f.descale)
			}
			var err error
			if how.Descale, err = vkattn.DescaleFactors(*t.t, t.typ, f.descale != "tensor", op.DescaleBlock, how); err != nil {
				return err
			}
			*t.factors = how.Descale
		}
		if err := vkattn.Convert(to, *t.t, how); err != nil {
			return err
		}
		*t.t = to
	}
	return nil
}

// outMemory is room for the output of one run, float32 or not, and for the same numbers in float32.
func (pr *problem) outMemory(n int) (out []float32, m vkattn.Memory) {
	out = make([]float32, n)
	if pr.op.TypeOut == vkattn.Float32 {
		return out, vkattn.Float32s(out)
	}
	return out, vkattn.Bytes(make([]byte, pr.op.TypeOut.Bytes(n)))
}

// unpack brings the output of a run to the float32 numbers that go with it.
func (pr *problem) unpack(out []float32, args *vkattn.Args) error {
	if args.Out.Type == vkattn.Float32 {
		return nil
	}
	return args.Out.Type.Decode(out, args.Out.Mem.(*vkattn.Host).Bytes())
}

// outArray is the output for a file: in its own type where the format has that, else in float32, which holds it exactly.
func (pr *problem) outArray(path string, shape []int, out []float32) *tensorio.Array {
	d := map[vkattn.Type]tensorio.DType{vkattn.Float16: tensorio.F16, vkattn.BFloat16: tensorio.BF16, vkattn.F8E4M3: tensorio.F8E4M3, vkattn.F8E5M2: tensorio.F8E5M2}[pr.op.TypeOut]
	if pr.linear != nil || d == tensorio.Invalid || d != tensorio.F16 && !strings.EqualFold(filepath.Ext(path), ".safetensors") {
		return tensorio.NewFloat32("out", shape, out)
	}
	return tensorio.NewNarrow("out", d, shape, out)
}

// rounding is what rounding the output to its type may add to the relative L2 error of a row of n numbers and of the
// norm that it is measured by: half a unit of each number, of the smallest where numbers are below the normal ones.
func rounding(t vkattn.Type, n int, norm float64) float64 {
	unit, smallest := 0.0, 0.0
	switch t {
	case vkattn.Float16:
		unit, smallest = 0x1p-11, 0x1p-24
	case vkattn.BFloat16:
		unit = 0x1p-8
	case vkattn.F8E4M3:
		unit, smallest = 0x1p-4, 0x1p-9
	case vkattn.F8E5M2:
		unit, smallest = 0x1p-3, 0x1p-16
	default:
		return 0
	}
	if norm > 0 {
		unit += smallest / 2 * math.Sqrt(float64(n)) / norm
	}
	return unit
}
