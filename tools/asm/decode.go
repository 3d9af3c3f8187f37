package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// everywhere is a vector of one 32-bit constant.
func everywhere(bits uint32) reg.VecVirtual {
	r, v := GP32(), YMM()
	MOVL(U32(bits), r)
	VMOVD(r, v.AsX())
	VPBROADCASTD(v.AsX(), v)
	return v
}

// decode starts a function that turns n units of size bytes at src into elements numbers each at dst; body does one.
func decode(name, unit string, size, elements int, constants func() []reg.VecVirtual, body func(dst, src reg.GPVirtual, c []reg.VecVirtual)) {
	function(name, "func(dst *float32, src *byte, n int)", name+" sets dst to the values of the n "+unit+" at src.")
	dst, src, n := arg("dst"), arg("src"), arg("n")
	var c []reg.VecVirtual
	if constants != nil {
		c = constants()
	}
	TESTQ(n, n)
	JZ(LabelRef("done"))
	Label("loop")
	body(dst, src, c)
	ADDQ(U32(4*elements), dst)
	ADDQ(U32(size), src)
	DECQ(n)
	JNZ(LabelRef("loop"))
	Label("done")
	VZEROUPPER()
	RET()
}

func decoders() {
	decode("decodeFloat16", "times 8 binary16 numbers", 16, lanes, nil, func(dst, src reg.GPVirtual, _ []reg.VecVirtual) {
		x := YMM()
		VCVTPH2PS(Mem{Base: src}, x)
		VMOVUPS(x, Mem{Base: dst})
	})
	decode("decodeBFloat16", "times 8 bfloat16 numbers", 16, lanes, nil, func(dst, src reg.GPVirtual, _ []reg.VecVirtual) {
		x := YMM()
		VPMOVZXWD(Mem{Base: src}, x)
		VPSLLD(Imm(16), x, x)
		VMOVUPS(x, Mem{Base: dst})
	})
	decode("decodeFloat8E5M2", "times 8 E5M2 numbers", 8, lanes, nil, func(dst, src reg.GPVirtual, _ []reg.VecVirtual) {
		h, x := XMM(), YMM()
		VPMOVZXBW(Mem{Base: src}, h)
		VPSLLW(Imm(8), h, h) // the upper byte of a binary16
		VCVTPH2PS(h, x)
		VMOVUPS(x, Mem{Base: dst})
	})
	// With its sign in place and its other bits at the top of a binary16's, an E4M3 number is a 256th of itself, but for
	// the NaN, which would be 480.
	decode("decodeFloat8E4M3", "times 8 E4M3 numbers", 8, lanes, func() []reg.VecVirtual {
		return []reg.VecVirtual{everywhere(0xbfffbfff), everywhere(0x43800000), everywhere(0x7fffffff), everywhere(0x43f00000)}
	}, func(dst, src reg.GPVirtual, c []reg.VecVirtual) {
		const equal = 0
		h, x, nan := XMM(), YMM(), YMM()
		VPMOVZXBW(Mem{Base: src}, h)
		VPSLLW(Imm(8), h, h)
		VPSRAW(Imm(1), h, h)
		VPAND(c[0].AsX(), h, h)
		VCVTPH2PS(h, x)
		VMULPS(c[1], x, x)
		VANDPS(c[2], x, nan)
		VCMPPS(Imm(equal), c[3], nan, nan)
		VORPS(nan, x, x)
		VMOVUPS(x, Mem{Base: dst})
	})
	scaleOf := func(src reg.GPVirtual) reg.VecVirtual {
		h, scale := XMM(), YMM()
		VPBROADCASTW(Mem{Base: src}, h)
		VCVTPH2PS(h, scale)
		return scale
	}
	scaled := func(q Op, scale reg.VecVirtual, dst reg.GPVirtual, at int) {
		x := YMM()
		VPMOVSXBD(q, x)
		VCVTDQ2PS(x, x)
		VMULPS(scale, x, x)
		VMOVUPS(x, Mem{Base: dst, Disp: 4 * at})
	}
	decode("decodeQ8_0", "q8_0 blocks", 34, 32, nil, func(dst, src reg.GPVirtual, _ []reg.VecVirtual) {
		scale := scaleOf(src)
		for at := 0; at < 32; at += lanes {
			scaled(Mem{Base: src, Disp: 2 + at}, scale, dst, at)
		}
	})
	decode("decodeQ4_0", "q4_0 blocks", 18, 32, func() []reg.VecVirtual {
		return []reg.VecVirtual{everywhere(0x0f0f0f0f), everywhere(0x08080808)}
	}, func(dst, src reg.GPVirtual, c []reg.VecVirtual) {
		scale, low, high := scaleOf(src), XMM(), XMM()
		VMOVDQU(Mem{Base: src, Disp: 2}, low)
		VPSRLW(Imm(4), low, high)
		for half, q := range []reg.VecVirtual{low, high} {
			VPAND(c[0].AsX(), q, q)
			VPSUBB(c[1].AsX(), q, q)
			scaled(q, scale, dst, 16*half)
			VPSRLDQ(Imm(8), q, q)
			scaled(q, scale, dst, 16*half+8)
		}
	})
}

// hasF16C asks the processor for the conversions of binary16.
func hasF16C() {
	TEXT("hasF16C", NOSPLIT, "func() bool")
	Doc("hasF16C reports whether the processor converts binary16 numbers.")
	MOVL(U32(1), reg.EAX)
	XORL(reg.ECX, reg.ECX)
	CPUID()
	SHRL(Imm(29), reg.ECX)
	ANDL(Imm(1), reg.ECX)
	Store(reg.CL, ReturnIndex(0))
	RET()
}
