package main

import (
	"fmt"
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// The exponential in float64: x = (k + f) ln 2 with |f| <= 1/2, e^x = 2^k 2^f, and 2^f by its Taylor polynomial.
var (
	wideLog2e = wide("wideLog2e", math.Log2E)
	wideMagic = wide("wideMagic", 0x1.8p52) // adding it leaves the nearest integer in the low bits
	wideOne   = wide("wideOne", 1)
	wideLeast = wide("wideLeast", -104) // below half the smallest float32
	wideMost  = wide("wideMost", 710)   // gives k = 1024, whose 2^k is infinite
	taylor    = func() (c [8]func() Mem) {
		x := 1.0
		for n := range c {
			c[n] = wide(fmt.Sprintf("taylor%d", n), x)
			x *= math.Ln2 / float64(n+1)
		}
		return c
	}()
)

// wide is four times x in memory, made when first asked for.
func wide(name string, x float64) func() Mem {
	var m *Mem
	return func() Mem {
		if m == nil {
			g := GLOBL(name, RODATA|NOPTR)
			for i := range lanes / 2 {
				DATA(8*i, U64(math.Float64bits(x)))
			}
			m = &g
		}
		return *m
	}
}

// wideExp is e^d for four numbers: 0 below -104, +Inf far above the range of float32, NaN for NaN.
func wideExp(d reg.VecVirtual) reg.VecVirtual {
	const notLess = 5 // true of NaN
	keep, y, k, p := YMM(), YMM(), YMM(), YMM()
	VCMPPD(Imm(notLess), wideLeast(), d, keep)
	VMOVUPD(wideMost(), p)
	VMINPD(d, p, d) // gives its first operand, d, when that is NaN
	VMOVUPD(wideMagic(), y)
	VFMADD231PD(wideLog2e(), d, y)
	VSUBPD(wideMagic(), y, k)
	f := k
	VFMSUB231PD(wideLog2e(), d, f)
	VMOVUPD(taylor[7](), p)
	for n := 6; n >= 0; n-- {
		VFMADD213PD(taylor[n](), f, p)
	}
	VPSLLQ(Imm(52), y, y)
	VPADDQ(wideOne(), y, y) // 2^k
	VMULPD(y, p, p)
	VANDPD(keep, p, p)
	return p
}

// mapFloats is a routine that replaces each of n numbers at x by a function of it, computed in float64, four at
// a time. total, if there is one, gathers the results.
func mapFloats(of func(x reg.VecVirtual) reg.VecVirtual, total reg.VecVirtual) {
	x, n := arg("x"), arg("n")
	step := func(v, mask reg.VecVirtual) {
		var half [2]reg.VecVirtual
		high := XMM()
		VEXTRACTF128(Imm(1), v, high)
		for i, part := range []reg.VecVirtual{v.AsX().(reg.VecVirtual), high} {
			wide := YMM()
			VCVTPS2PD(part, wide)
			half[i] = of(wide)
		}
		low := XMM()
		VCVTPD2PSY(half[0], low)
		VCVTPD2PSY(half[1], high)
		VINSERTF128(Imm(1), high, low.AsY(), v)
		if total == nil {
			return
		}
		counted := v
		if mask != nil {
			counted = YMM()
			VANDPS(mask, v, counted)
		}
		VEXTRACTF128(Imm(1), counted, high)
		for _, part := range []reg.VecVirtual{counted.AsX().(reg.VecVirtual), high} {
			wide := YMM()
			VCVTPS2PD(part, wide)
			VADDPD(wide, total, total)
		}
	}
	v := YMM()
	JMP(LabelRef("next"))
	Label("loop")
	VMOVUPS(Mem{Base: x}, v)
	step(v, nil)
	VMOVUPS(v, Mem{Base: x})
	ADDQ(U32(4*lanes), x)
	SUBQ(U32(lanes), n)
	Label("next")
	CMPQ(n, U32(lanes))
	JGE(LabelRef("loop"))
	TESTQ(n, n)
	JZ(LabelRef("done"))
	mask := maskOf(n)
	VMASKMOVPS(Mem{Base: x}, mask, v)
	step(v, mask)
	VMASKMOVPS(v, mask, Mem{Base: x})
	Label("done")
}

// expFloats is the exponential map, and what softmax takes.
func expFloats() {
	function("expFloats", "func(x *float32, n int, m float64) float64",
		"expFloats replaces each of n numbers x by exp(x-m) and returns their sum. -Inf gives 0, NaN stays NaN.")
	m, total := YMM(), YMM()
	VBROADCASTSD(memory("m"), m)
	VXORPD(total, total, total)
	mapFloats(func(x reg.VecVirtual) reg.VecVirtual {
		VSUBPD(m, x, x)
		return wideExp(x)
	}, total)
	half := XMM()
	VEXTRACTF128(Imm(1), total, half)
	VADDPD(half, total.AsX(), half)
	VHADDPD(half, half, half)
	Store(half, ReturnIndex(0))
	VZEROUPPER()
	RET()
}

// eluFloats is e^min(x, 0) + max(x, 0), of which one is a constant.
func eluFloats() {
	function("eluFloats", "func(x *float32, n int)",
		"eluFloats replaces each of n numbers x by x+1 if it is above 0, else by exp(x). NaN stays NaN.")
	none := YMM()
	VXORPD(none, none, none)
	mapFloats(func(x reg.VecVirtual) reg.VecVirtual {
		below := YMM()
		VMINPD(x, none, below) // gives its first operand, x, when that is NaN
		y := wideExp(below)
		VMAXPD(x, none, x)
		VADDPD(x, y, y)
		return y
	}, nil)
	VZEROUPPER()
	RET()
}

// siluFloats is x / (1 + e^-x).
func siluFloats() {
	function("siluFloats", "func(x *float32, n int)",
		"siluFloats replaces each of n numbers x by x / (1 + exp(-x)). -Inf gives NaN, NaN stays NaN.")
	none := YMM()
	VXORPD(none, none, none)
	mapFloats(func(x reg.VecVirtual) reg.VecVirtual {
		minus := YMM()
		VSUBPD(x, none, minus)
		y := wideExp(minus)
		VADDPD(wideOne(), y, y)
		VDIVPD(y, x, y)
		return y
	}, nil)
	VZEROUPPER()
	RET()
}
