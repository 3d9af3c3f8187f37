package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// packKeys transposes keys, 8 by 8 numbers at a time.
func packKeys() {
	function("packKeys", "func(dst, src *float32, stride, d, panels int)",
		"packKeys sets dst [panels][d up to a multiple of 8][16] to panels of 16 rows of d numbers at src, which",
		"lie stride apart. What it adds to d is zero.")
	dst, src, stride, d, panels := arg("dst"), arg("src"), floats("stride"), arg("d"), arg("panels")
	tail := copyOf(d)
	ANDQ(U32(lanes-1), tail)
	mask := maskOf(tail)
	Label("panel")
	for half := range 2 {
		name := []string{"low", "high"}[half]
		to, from, n := GP64(), copyOf(src), copyOf(d)
		LEAQ(Mem{Base: dst, Disp: 32 * half}, to)
		r := newRows(from, stride, lanes)
		SHRQ(Imm(3), n)
		JZ(LabelRef(name + "Tail"))
		Label(name)
		x := vectors(lanes)
		for i := range x {
			VMOVUPS(r.at(i, 0), x[i])
		}
		storeTransposed(x, to)
		r.advance(U32(32))
		ADDQ(U32(64*lanes), to)
		DECQ(n)
		JNZ(LabelRef(name))
		Label(name + "Tail")
		TESTQ(tail, tail)
		JZ(LabelRef(name + "Done"))
		x = vectors(lanes)
		for i := range x {
			VMASKMOVPS(r.at(i, 0), mask, x[i])
		}
		storeTransposed(x, to)
		ADDQ(U32(64*lanes), to)
		Label(name + "Done")
		LEAQ(Mem{Base: src, Index: stride, Scale: 8}, src)
		if half == 1 {
			LEAQ(Mem{Base: to, Disp: -32}, dst)
		}
	}
	DECQ(panels)
	JNZ(LabelRef("panel"))
	VZEROUPPER()
	RET()
}

// storeTransposed stores the columns of x, 64 bytes apart.
func storeTransposed(x []reg.VecVirtual, to reg.GPVirtual) {
	var pairs, quads [lanes]reg.VecVirtual
	for i := 0; i < lanes; i += 2 {
		pairs[i], pairs[i+1] = YMM(), YMM()
		VUNPCKLPS(x[i+1], x[i], pairs[i])
		VUNPCKHPS(x[i+1], x[i], pairs[i+1])
	}
	for i := 0; i < lanes; i += 4 {
		for j := range 2 {
			low, high := pairs[i+j], pairs[i+2+j]
			quads[i+2*j], quads[i+2*j+1] = YMM(), YMM()
			VSHUFPS(Imm(0x44), high, low, quads[i+2*j])
			VSHUFPS(Imm(0xee), high, low, quads[i+2*j+1])
		}
	}
	for i := range 4 {
		y := YMM()
		VINSERTF128(Imm(1), quads[i+4].AsX(), quads[i], y)
		VMOVUPS(y, Mem{Base: to, Disp: 64 * i})
		z := YMM()
		VPERM2F128(Imm(0x31), quads[i+4], quads[i], z)
		VMOVUPS(z, Mem{Base: to, Disp: 64 * (i + 4)})
	}
}

// packValues copies values panel by panel, and looks whether they are finite: 0 x is 0 for every finite x.
func packValues() {
	function("packValues", "func(dst, src *float32, stride, n, cols int) bool",
		"packValues sets dst [cols/16, rounded up][n][16] to the n rows of cols numbers at src, which lie stride",
		"apart, with zeros beyond cols, and reports whether all numbers are finite.")
	dst, src, stride, n, cols := arg("dst"), arg("src"), floats("stride"), arg("n"), arg("cols")
	none, seen := YMM(), YMM()
	zero(none, seen)
	Label("panel")
	CMPQ(cols, U32(panelCols))
	JL(LabelRef("last"))
	from, left := copyOf(src), copyOf(n)
	Label("row")
	x, y := YMM(), YMM()
	VMOVUPS(Mem{Base: from}, x)
	VMOVUPS(Mem{Base: from, Disp: 32}, y)
	VMOVUPS(x, Mem{Base: dst})
	VMOVUPS(y, Mem{Base: dst, Disp: 32})
	see(x, y, none, seen)
	ADDQ(stride, from)
	ADDQ(U32(64), dst)
	DECQ(left)
	JNZ(LabelRef("row"))
	ADDQ(U32(64), src)
	SUBQ(U32(panelCols), cols)
	JMP(LabelRef("panel"))

	Label("last")
	TESTQ(cols, cols)
	JZ(LabelRef("done"))
	first, second := GP64(), copyOf(cols)
	eight, nothing := GP64(), GP64()
	MOVQ(U32(lanes), eight)
	XORQ(nothing, nothing)
	MOVQ(cols, first)
	CMPQ(first, eight)
	CMOVQGT(eight, first)
	SUBQ(first, second)
	mask0, mask1 := maskOf(first), maskOf(second)
	Label("lastRow")
	x, y = YMM(), YMM()
	VMASKMOVPS(Mem{Base: src}, mask0, x)
	VMASKMOVPS(Mem{Base: src, Disp: 32}, mask1, y)
	VMOVUPS(x, Mem{Base: dst})
	VMOVUPS(y, Mem{Base: dst, Disp: 32})
	see(x, y, none, seen)
	ADDQ(stride, src)
	ADDQ(U32(64), dst)
	DECQ(n)
	JNZ(LabelRef("lastRow"))
	Label("done")
	storeFinite(seen)
}

// see marks the lanes of seen that are not finite in x or y. It uses x and y up.
func see(x, y, none, seen reg.VecVirtual) {
	for _, v := range []reg.VecVirtual{x, y} {
		VMULPS(none, v, v)
		VORPS(v, seen, seen)
	}
}

// allFinite reads values once, in the order of memory.
func allFinite() {
	function("allFinite", "func(src *float32, stride, n, cols int) bool",
		"allFinite reports whether the n rows of cols numbers at src, which lie stride apart, are all finite.")
	src, stride, n, cols := arg("src"), floats("stride"), arg("n"), arg("cols")
	none := YMM()
	seen := vectors(4)
	zero(none)
	zero(seen...)
	tail := copyOf(cols)
	ANDQ(U32(lanes-1), tail)
	mask := maskOf(tail)
	Label("row")
	from, left := copyOf(src), copyOf(cols)
	Label("wide")
	CMPQ(left, U32(4*lanes))
	JL(LabelRef("narrow"))
	for i := range seen {
		VFMADD231PS(Mem{Base: from, Disp: 32 * i}, none, seen[i])
	}
	ADDQ(U32(4*32), from)
	SUBQ(U32(4*lanes), left)
	JMP(LabelRef("wide"))
	Label("narrow")
	CMPQ(left, U32(lanes))
	JL(LabelRef("end"))
	VFMADD231PS(Mem{Base: from}, none, seen[0])
	ADDQ(U32(32), from)
	SUBQ(U32(lanes), left)
	JMP(LabelRef("narrow"))
	Label("end")
	TESTQ(tail, tail)
	JZ(LabelRef("next"))
	x := YMM()
	VMASKMOVPS(Mem{Base: from}, mask, x)
	VFMADD231PS(x, none, seen[1])
	Label("next")
	ADDQ(stride, src)
	DECQ(n)
	JNZ(LabelRef("row"))
	VADDPS(seen[1], seen[0], seen[0])
	VADDPS(seen[3], seen[2], seen[2])
	VADDPS(seen[2], seen[0], seen[0])
	storeFinite(seen[0])
}

// storeFinite returns whether seen, of zeros and NaNs, holds no NaN.
func storeFinite(seen reg.VecVirtual) {
	const unordered = 3
	bad, ok := GP32(), GP8()
	VCMPPS(Imm(unordered), seen, seen, seen)
	VMOVMSKPS(seen, bad)
	TESTL(bad, bad)
	SETEQ(ok)
	Store(ok, ReturnIndex(0))
	VZEROUPPER()
	RET()
}
