package main

import (
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// The exponential: x = k ln 2 + r with |r| <= ln 2 / 2, e^x = 2^k (1 + r + r^2 q(r)).
var (
	log2e    = constant("log2e", math.Log2E)
	magic    = constant("magic", 0x1.8p23)    // adding it leaves the nearest integer in the low bits
	ln2High  = constant("ln2High", 0x1.63p-1) // 9 bits, so that x - k ln2High is exact
	ln2Low   = constant("ln2Low", math.Ln2-0x1.63p-1)
	one      = constant("one", 1)
	least    = constant("least", -127*math.Ln2) // gives k = -127, whose 2^k is 0
	infinity = constant("minusInfinity", math.Inf(-1))
	// q by a minimax fit of e^r: its relative error is 3.1e-9.
	q = []func() Mem{
		constant("q0", 0.49999993411448834), constant("q1", 0.16666520084728406), constant("q2", 0.041668394283365474),
		constant("q3", 0.008368783225542218), constant("q4", 0.0013814476907555093),
	}
)

// constant is eight times x in memory, made when first asked for.
func constant(name string, x float64) func() Mem {
	var m *Mem
	return func() Mem {
		if m == nil {
			g := GLOBL(name, RODATA|NOPTR)
			for i := range lanes {
				DATA(4*i, U32(math.Float32bits(float32(x)))) // text knows no infinity
			}
			m = &g
		}
		return *m
	}
}

// softmaxRows is two passes over each row: the maximum, then the weights and their sum.
func softmaxRows() {
	const equal = 0
	function("softmaxRows", "func(s *float32, stride, rows, pairs int, scale float32, old, new, sum *float32)",
		"softmaxRows takes rows of 16*pairs scores, which lie stride apart. For each it sets new to the maximum",
		"of old and of scale*s, NaN left out, s to exp(scale*s-new), and sum to the sum of those. With a",
		"maximum of -inf, 0 stands in for new in the exponent. NaN stays NaN, -inf gives 0.")
	s, stride, rows, n := arg("s"), floats("stride"), arg("rows"), arg("pairs")
	scale := YMM()
	VBROADCASTSS(memory("scale"), scale)
	old, new, sum := arg("old"), arg("new"), arg("sum")
	SHLQ(Imm(6), n) // bytes
	Label("row")
	m := YMM()
	VBROADCASTSS(Mem{Base: old}, m)
	i := GP64()
	XORQ(i, i)
	Label("max")
	for half := range 2 {
		x := YMM()
		VMULPS(Mem{Base: s, Index: i, Scale: 1, Disp: 32 * half}, scale, x)
		VMAXPS(m, x, m) // gives its first operand, m, when x is NaN
	}
	ADDQ(U32(64), i)
	CMPQ(i, n)
	JNE(LabelRef("max"))
	t := YMM()
	VPERM2F128(Imm(1), m, m, t)
	VMAXPS(m, t, m)
	VPERMILPS(Imm(0x4e), m, t)
	VMAXPS(m, t, m)
	VPERMILPS(Imm(0xb1), m, t)
	VMAXPS(m, t, m)
	VMOVSS(m.AsX(), Mem{Base: new})
	VCMPPS(Imm(equal), infinity(), m, t)
	VANDNPS(m, t, m) // 0 for -inf

	total := YMM()
	zero(total)
	XORQ(i, i)
	Label("exp")
	weights(Mem{Base: s, Index: i, Scale: 1}, scale, m, total)
	ADDQ(U32(64), i)
	CMPQ(i, n)
	JNE(LabelRef("exp"))
	u := XMM()
	VEXTRACTF128(Imm(1), total, u)
	VADDPS(u, total.AsX(), u)
	VHADDPS(u, u, u)
	VHADDPS(u, u, u)
	VMOVSS(u, Mem{Base: sum})
	for _, p := range []reg.GPVirtual{old, new, sum} {
		ADDQ(U32(4), p)
	}
	ADDQ(stride, s)
	DECQ(rows)
	JNZ(LabelRef("row"))
	VZEROUPPER()
	RET()
}

// weights replaces 16 scores by their weights, and adds those to total. The chain of dependent steps is
// long: two vectors go through it together.
func weights(s Mem, scale, m, total reg.VecVirtual) {
	var d, y, k, high, r, lead, rest, p [2]reg.VecVirtual
	both := func(step func(i int)) {
		step(0)
		step(1)
	}
	load := func(v *[2]reg.VecVirtual, c func() Mem) {
		both(func(i int) {
			v[i] = YMM()
			VMOVUPS(c(), v[i])
		})
	}
	both(func(i int) {
		d[i] = YMM()
		VMULPS(s.Offset(32*i), scale, d[i])
	})
	both(func(i int) { VSUBPS(m, d[i], d[i]) })
	both(func(i int) {
		x := YMM()
		VMOVUPS(least(), x)
		VMAXPS(d[i], x, d[i]) // gives its first operand, d, when that is NaN
	})
	load(&y, magic)
	both(func(i int) { VFMADD231PS(log2e(), d[i], y[i]) })
	both(func(i int) {
		k[i] = YMM()
		VSUBPS(magic(), y[i], k[i])
	})
	both(func(i int) {
		high[i] = d[i]
		VFNMADD231PS(ln2High(), k[i], high[i]) // exact
	})
	both(func(i int) {
		r[i] = YMM()
		VMOVAPS(high[i], r[i])
		VFNMADD231PS(ln2Low(), k[i], r[i])
	})
	both(func(i int) { // 1 + r in two parts
		lead[i], rest[i] = YMM(), YMM()
		VADDPS(one(), high[i], lead[i])
		VSUBPS(one(), lead[i], rest[i])
	})
	both(func(i int) {
		VSUBPS(rest[i], high[i], rest[i])
		VFNMADD231PS(ln2Low(), k[i], rest[i])
	})
	load(&p, q[4])
	for n := 3; n >= 0; n-- {
		both(func(i int) { VFMADD213PS(q[n](), r[i], p[i]) })
	}
	both(func(i int) {
		VMULPS(r[i], r[i], r[i])
		VPSLLD(Imm(23), y[i], y[i])
		VPADDD(one(), y[i], y[i]) // 2^k
	})
	both(func(i int) { VFMADD231PS(r[i], p[i], rest[i]) })
	both(func(i int) { VADDPS(rest[i], lead[i], rest[i]) })
	both(func(i int) { VMULPS(y[i], rest[i], rest[i]) })
	both(func(i int) {
		VADDPS(rest[i], total, total)
		VMOVUPS(rest[i], s.Offset(32*i))
	})
}
