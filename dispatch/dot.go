package dispatch

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/cpu"
	"github.com/vkattn/vkattn/vk"
)

// dotVariant is the build of the subgroup rung that multiplies keys of q8_0 and q4_0 by integer dot products. It serves few
// rows where the device accelerates them, and wherever Config.Kernel names it.
const dotVariant = "flash_dot"

// integerDot is the name by which Config.Disable turns dotVariant off.
const integerDot = "integer-dot"

// dotKeys are the keys of one of its steps, which the lanes of a group share out: KEYS of flash.comp.
const dotKeys = 4

// limbs is the number of bytes that an element of a query takes. Two are enough where queries and outputs have 16 bits or fewer,
// but not for answers in float32, as an LSE is.
func limbs(op vkattn.Attention) uint32 {
	if op.TypeQ.Size() == 2 && op.TypeOut != vkattn.Float32 && !op.With.Has(vkattn.WithLSE) {
		return 2
	}
	return 3
}

// dotQuery is how many vec4 of registers the queries of a row take in a lane, in runs of 16 elements with a step each.
func dotQuery(key kernelKey) uint32 { return (key.Dim4*(4*key.Limbs+1) + 3) / 4 }

// dotGroups is how many groups of so many lanes a subgroup has. They share few rows out, and read the same keys.
func dotGroups(caps *vk.Caps, lanes uint32) uint32 {
	smallest, _, _ := subgroups(caps.Subgroup, 2)
	return max(1, prevPow2(smallest)/lanes)
}

// chooseDot puts dotVariant into c where it is to serve, and reports whether it is.
func (p *planner) chooseDot(caps *vk.Caps, c *choice, kernel string, disabled map[string]string) bool {
	if c.op.TypeK != vkattn.Q8_0 && c.op.TypeK != vkattn.Q4_0 {
		return false
	}
	why := cmp.Or(p.refuseDot(caps, c.op, kernel), disabled[rungSubgroup])
	var key kernelKey
	var pack, shared int
	if why == "" {
		key, pack, shared, why = p.fitFlash(caps, c.op, rungSubgroup, dotVariant)
	}
	if why == "" && kernel != dotVariant {
		if rows := key.Rows * dotGroups(caps, key.Lanes); int(rows) < p.few(c.op) {
			why = fmt.Sprintf("a subgroup has registers for the queries of %d rows, not %d", rows, p.few(c.op))
		}
	}
	if why != "" {
		c.notFor = append(c.notFor, vkattn.Refusal{Kernel: dotVariant, Reason: why})
		return false
	}
	if off, is := disabled[integerDot]; is {
		c.refused = append(c.refused, vkattn.Refusal{Kernel: dotVariant, Reason: off})
		return false
	}
	c.path, c.key, c.pack, c.shared = rungSubgroup, key, pack, shared
	c.notes = append(c.notes, fmt.Sprintf("queries in fixed point, %d bytes an element; their products with keys are exact integers", key.Limbs))
	return true
}

// refuseDot says why a device or a problem is not for integer dot products, or "".
func (p *planner) refuseDot(caps *vk.Caps, op vkattn.Attention, kernel string) string {
	switch {
	case !caps.Features.IntegerDotProduct:
		return "the device has no integer dot products"
	case kernel == dotVariant:
		return ""
	case kernel == "flash":
		return "flash was asked for"
	case caps.DeviceType == "cpu" || !caps.Features.DotAcceleratedSigned:
		return "the device does not accelerate dot products of four signed bytes"
	case p.few(op) == 0:
		return fmt.Sprintf("for at most %d rows that share 512 keys or more", fewRows[len(fewRows)-1])
	}
	return ""
}

// withoutDot are the rungs of disabled and dotVariant.
func withoutDot(disabled map[string]string, why string) map[string]string {
	all := maps.Clone(disabled)
	if all == nil {
		all = map[string]string{}
	}
	if all[integerDot] == "" {
		all[integerDot] = why
	}
	return all
}

// testDot computes two small problems, of queries of three limbs and of two, in narrow groups and in wide ones. It returns why dotVariant may not serve, or "".
func (b *Backend) testDot(ctx context.Context) (reason string, err error) {
	const heads, keys = 4, 523
	for _, t := range []struct {
		q, k    vkattn.Type
		d       int
		limbs   uint32
		allowed float64
	}{{vkattn.Float32, vkattn.Q8_0, 32, 3, 5e-6}, {vkattn.Float16, vkattn.Q4_0, 128, 2, 1e-4}} {
		d := t.d
		op := vkattn.Attention{Batch: 1, HeadsQ: heads, HeadsK: 1, SeqQ: 1, SeqK: keys, HeadDim: d, Causal: true, TypeQ: t.q, TypeK: t.k}.Canonical()
		test := &choice{op: op, pack: 1}
		if !b.planner.chooseDot(&b.caps, test, dotVariant, nil) {
			return test.notFor[0].Reason, nil
		}
		test.key.Limbs = t.limbs
		rng := rand.New(rand.NewPCG(1, 2))
		out := make([]float32, heads*d)
		args := vkattn.Args{V: vkattn.BHSD(vkattn.Float32s(numbers(keys*d, rng.NormFloat64)), 1, 1, keys, d),
			Out: vkattn.BHSD(vkattn.Float32s(out), 1, heads, 1, d)}
		if args.Q, err = vkattn.BHSD(vkattn.Float32s(numbers(heads*d, rng.NormFloat64)), 1, heads, 1, d).To(t.q); err != nil {
			return "", err
		}
		if args.K, err = vkattn.BHSD(vkattn.Float32s(numbers(keys*d, rng.NormFloat64)), 1, 1, keys, d).To(t.k); err != nil {
			return "", err
		}
		want, err := cpu.Oracle(op, &args)
		if err != nil {
			return "", err
		}
		if reason, err := b.missed(ctx, test, args, t.allowed, known{got: out, want: want.Out}); reason != "" || err != nil {
			return reason, err
		}
	}
	return "", nil
}
