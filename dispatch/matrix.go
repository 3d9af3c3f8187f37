package dispatch

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/cpu"
	"github.com/vkattn/vkattn/vk"
)

// The rungs on matrix units: exact attention whose products the device does in matrices, for tensors of sixteen bits or
// fewer. They stand above those of flash.comp.

// matrixRung is one of them. fit sizes its kernel for a device and a problem, or says why it cannot.
type matrixRung struct {
	rung
	fit func(p *planner, caps *vk.Caps, op vkattn.Attention, operand vkattn.Type, disabled map[string]string) (f fitting, why string)
}

// fitting is a kernel that fits.
type fitting struct {
	key    tiledKey
	pack   int // query heads whose rows a tile takes together
	shared int // bytes of shared memory of one workgroup
}

// matrixRungs are the rungs on matrix units, best first.
var matrixRungs = []matrixRung{
	{rung{"matrix2", "flash_matrix2"}, (*planner).fitMatrix2},
	{rung{rungMatrix, "flash_matrix"}, (*planner).fitMatrix},
}

// fewestMatrixRows is the fewest rows (heads packed with them counted) that are worth a matrix: with fewer, reading the
// keys is all there is, and most of every product is padding.
const fewestMatrixRows = 16

// matrixOperand is the type of the elements that a matrix unit multiplies for op, or why it cannot.
func matrixOperand(op vkattn.Attention) (t vkattn.Type, why string) {
	switch op.TypeQ {
	case vkattn.Float16, vkattn.BFloat16:
	default:
		return 0, fmt.Sprintf("q is %s, matrix units multiply f16 and bf16", op.TypeQ)
	}
	for i, t := range []vkattn.Type{op.TypeK, op.TypeV} {
		if t != op.TypeQ && t <= vkattn.BFloat16 { // 8-bit floats become operands without loss
			return 0, fmt.Sprintf("%s is %s and q is %s, matrix units multiply equals", typeNames[1+i], t, op.TypeQ)
		}
	}
	if op.TypeK.Size() == 0 && op.With.Has(vkattn.WithLSE) {
		return 0, fmt.Sprintf("keys of %s lose bits as %s, which the LSE shows", op.TypeK, op.TypeQ)
	}
	if op.With&(vkattn.WithDescaleQ|vkattn.WithDescaleK|vkattn.WithDescaleV) != 0 {
		return 0, "factors of 8-bit types are not applied to matrices"
	}
	if n := op.SeqQ * sharing(op); n < fewestMatrixRows {
		return 0, fmt.Sprintf("%d rows share their keys, a matrix takes %d", n, fewestMatrixRows)
	}
	return op.TypeQ, ""
}

// chooseMatrix puts the best rung on matrix units into c, and reports whether there is one. What only does not
// concern the problem or the device goes to notFor: not to take it is no fallback.
func (p *planner) chooseMatrix(caps *vk.Caps, c *choice, disabled map[string]string) bool {
	operand, why := matrixOperand(c.op)
	if _, off := disabled[rungMatrix]; why == "" && !off && rangeRefuses(c.op) == "" {
		// Where it serves, flash_range.comp is the best of all.
		f, reason := p.fitMatrix(caps, c.op, operand, disabled)
		if reason == "" && f.key.(matrixKey).Range {
			c.path, c.matrix, c.pack, c.shared = rungMatrix, f.key, f.pack, f.shared
			return true
		}
		if off, is := disabled[rangeRung]; is && reason == "" {
			c.refused = append(c.refused, vkattn.Refusal{Kernel: "flash_range", Reason: off})
		}
	}
	for _, r := range matrixRungs {
		if off, is := disabled[r.path]; is && why == "" {
			c.refused = append(c.refused, vkattn.Refusal{Kernel: r.variant, Reason: off})
			continue
		}
		f, reason := fitting{}, why
		if reason == "" {
			f, reason = r.fit(p, caps, c.op, operand, disabled)
		}
		if reason != "" {
			c.notFor = append(c.notFor, vkattn.Refusal{Kernel: r.variant, Reason: reason})
			continue
		}
		c.path, c.matrix, c.pack, c.shared = r.path, f.key, f.pack, f.shared
		return true
	}
	return false
}

// withoutMatrix are the rungs of disabled and all on matrix units, which do not look pages up.
func withoutMatrix(disabled map[string]string) map[string]string {
	all := maps.Clone(disabled)
	if all == nil {
		all = map[string]string{}
	}
	for _, r := range matrixRungs {
		all[r.path] = "does not read caches"
	}
	return all
}

// rung is what a matrix rung, dotVariant or fewVariant is tested under when the first plan wants it; the rungs of flash.comp were by Open.
func (c *choice) rung() (variant, path, name string) {
	switch {
	case c.key.Variant == dotVariant:
		return dotVariant, c.path, integerDot
	case c.key.Variant == fewVariant:
		return fewVariant, c.path, fewRung
	case c.matrix == nil:
		return "", "", ""
	}
	path = c.path
	switch k := c.matrix.(type) {
	case decodeKey:
		return k.Variant, path, decodeRung
	case matrixKey:
		path += ", " + k.way() // which differs by what a probe found
		if k.Range {
			return k.variant(), path, rangeRung
		}
	}
	return c.matrix.variant(), path, c.path
}

// selfTest computes a small problem of the same elements by the same variant.
func (c *choice) selfTest(ctx context.Context, b *Backend) (reason string, err error) {
	switch {
	case c.key.Variant == fewVariant:
		return b.testFew(ctx)
	case c.matrix == nil:
		return b.testDot(ctx)
	}
	heads, rows, keys := 2, 37, 101
	t, d, dv := c.op.TypeQ, 20, 28
	if wide, _ := c.matrix.padded(); wide > widestMatrix2 {
		d, dv = 260, 276
	}
	out := vkattn.Float32
	if k, is := c.matrix.(matrixKey); is && k.Range {
		d, dv, out = 64, 48, t
	}
	decode := false
	if k, is := c.matrix.(decodeKey); is {
		heads, rows, keys, d, dv, out, decode = int(k.Rows), 1, 523, 72, 40, t, true
	}
	op := vkattn.Attention{Batch: 1, HeadsQ: heads, HeadsK: 1, SeqQ: rows, SeqK: keys, HeadDim: d, ValueDim: dv, Causal: true, With: vkattn.WithLSE,
		TypeQ: t, TypeK: t, TypeV: t, TypeOut: out}.Canonical()
	test := &choice{op: op, pack: 1}
	off := allBut(rungsOf(matrixRungs), c.path)
	if out == vkattn.Float32 {
		off[rangeRung] = "another kernel is tested"
	}
	take := b.planner.chooseMatrix
	if decode {
		take = b.planner.chooseDecode
	}
	if !take(&b.caps, test, off) {
		return test.notFor[0].Reason, nil
	}
	if v := test.matrix.variant(); v != c.matrix.variant() {
		return "", fmt.Errorf("dispatch: the self-test of %s takes %s", c.matrix.variant(), v)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	lse := make([]float32, heads*rows)
	args := vkattn.Args{LSE: vkattn.BHSD(vkattn.Float32s(lse), 1, heads, rows, 1)}
	if args.Out, err = vkattn.BHSD(vkattn.Float32s(make([]float32, heads*rows*dv)), 1, heads, rows, dv).To(out); err != nil {
		return "", err
	}
	for _, in := range []struct {
		to          *vkattn.Tensor
		heads, s, n int
	}{{&args.Q, heads, rows, d}, {&args.K, 1, keys, d}, {&args.V, 1, keys, dv}} {
		x := vkattn.BHSD(vkattn.Float32s(numbers(in.heads*in.s*in.n, rng.NormFloat64)), 1, in.heads, in.s, in.n)
		if *in.to, err = x.To(t); err != nil {
			return "", err
		}
	}
	want, err := cpu.Oracle(op, &args)
	if err != nil {
		return "", err
	}
	allowed := 4e-3 // weights are rounded to the type, whose neighbours are 2^-10 apart
	if t == vkattn.BFloat16 {
		allowed *= 8
	}
	return b.missed(ctx, test, args, allowed, known{tensor: &args.Out, want: want.Out}, known{got: lse, want: want.LSE})
}

func rungsOf(list []matrixRung) (r []rung) {
	for _, m := range list {
		r = append(r, m.rung)
	}
	return r
}
