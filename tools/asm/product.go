package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

const unroll = 4

// steps runs body for n steps, four at a time and then one by one. body gets how many steps it is to do.
func steps(name string, n reg.GPVirtual, body func(count int)) {
	Label(name + "4")
	CMPQ(n, U32(unroll))
	JL(LabelRef(name + "1"))
	body(unroll)
	SUBQ(U32(unroll), n)
	JMP(LabelRef(name + "4"))
	Label(name + "1")
	TESTQ(n, n)
	JZ(LabelRef(name + "0"))
	body(1)
	DECQ(n)
	JMP(LabelRef(name + "1"))
	Label(name + "0")
}

// scoresPanel multiplies blocks of 6 rows with a panel of 16 keys. Both are packed so that one step
// of the loop over d reads 6 and 16 numbers that lie together. Each score is one chain of FMAs over d.
func scoresPanel() {
	function("scoresPanel", "func(s *float32, stride int, q, k *float32, d, blocks int)",
		"scoresPanel sets the 6*blocks rows of 16 scores at s, which lie stride apart, to the products of q",
		"[blocks][d][6] with k [d][16].")
	s, stride, q, k, d, blocks := arg("s"), floats("stride"), arg("q"), arg("k"), arg("d"), arg("blocks")
	stride3 := times3(stride)
	acc := vectors(2 * blockRows)
	Label("block")
	zero(acc...)
	at, n := copyOf(k), copyOf(d)
	steps("step", n, func(count int) {
		for i := range count {
			k0, k1 := YMM(), YMM()
			VMOVUPS(Mem{Base: at, Disp: 64 * i}, k0)
			VMOVUPS(Mem{Base: at, Disp: 64*i + 32}, k1)
			for r := range blockRows {
				x := YMM()
				VBROADCASTSS(Mem{Base: q, Disp: 4 * (blockRows*i + r)}, x)
				VFMADD231PS(k0, x, acc[2*r])
				VFMADD231PS(k1, x, acc[2*r+1])
			}
		}
		ADDQ(U32(4*blockRows*count), q)
		ADDQ(U32(64*count), at)
	})
	half := GP64() // rows 3 to 5
	LEAQ(Mem{Base: s, Index: stride3, Scale: 1}, half)
	for r := range blockRows {
		to := sixRows(s, half, stride, r)
		VMOVUPS(acc[2*r], to)
		VMOVUPS(acc[2*r+1], to.Offset(32))
	}
	LEAQ(Mem{Base: half, Index: stride3, Scale: 1}, s)
	DECQ(blocks)
	JNZ(LabelRef("block"))
	VZEROUPPER()
	RET()
}

// sixRows is the address of row r of six, of which base and half are rows 0 and 3.
func sixRows(base, half, stride reg.GPVirtual, r int) Mem {
	if r >= 3 {
		base, r = half, r-3
	}
	m := Mem{Base: base}
	if r > 0 {
		m.Index, m.Scale = stride, uint8(r)
	}
	return m
}

// accumulatePanel multiplies blocks of 6 rows of weights with a panel of 16 columns of values.
func accumulatePanel() {
	function("accumulatePanel", "func(o *float32, oStride int, p *float32, pStride int, v *float32, n int, w *float32, blocks int)",
		"accumulatePanel replaces the 6*blocks rows of 16 sums at o by w o + p v, for one factor w per row,",
		"the n weights of each row at p, and v [n][16].")
	o, oStride, p, pStride := arg("o"), floats("oStride"), arg("p"), floats("pStride")
	v, n, w, blocks := arg("v"), arg("n"), arg("w"), arg("blocks")
	acc := vectors(2 * blockRows)
	Label("block")
	half := GP64()
	LEAQ(Mem{Base: oStride, Index: oStride, Scale: 2}, half)
	ADDQ(o, half)
	for r := range blockRows {
		from := sixRows(o, half, oStride, r)
		x := YMM()
		VBROADCASTSS(Mem{Base: w, Disp: 4 * r}, x)
		VMULPS(from, x, acc[2*r])
		VMULPS(from.Offset(32), x, acc[2*r+1])
	}
	at, p0, p3, left := copyOf(v), copyOf(p), GP64(), copyOf(n)
	LEAQ(Mem{Base: pStride, Index: pStride, Scale: 2}, p3)
	ADDQ(p, p3)
	steps("step", left, func(count int) {
		for i := range count {
			v0, v1 := YMM(), YMM()
			VMOVUPS(Mem{Base: at, Disp: 64 * i}, v0)
			VMOVUPS(Mem{Base: at, Disp: 64*i + 32}, v1)
			for r := range blockRows {
				x := YMM()
				VBROADCASTSS(sixRows(p0, p3, pStride, r).Offset(4*i), x)
				VFMADD231PS(v0, x, acc[2*r])
				VFMADD231PS(v1, x, acc[2*r+1])
			}
		}
		ADDQ(U32(4*count), p0)
		ADDQ(U32(4*count), p3)
		ADDQ(U32(64*count), at)
	})
	for r := range blockRows {
		to := sixRows(o, half, oStride, r)
		VMOVUPS(acc[2*r], to)
		VMOVUPS(acc[2*r+1], to.Offset(32))
	}
	LEAQ(Mem{Base: oStride, Index: oStride, Scale: 2}, half)
	LEAQ(Mem{Base: o, Index: half, Scale: 2}, o)
	LEAQ(Mem{Base: pStride, Index: pStride, Scale: 2}, half)
	LEAQ(Mem{Base: p, Index: half, Scale: 2}, p)
	ADDQ(U32(4*blockRows), w)
	DECQ(blocks)
	JNZ(LabelRef("block"))
	VZEROUPPER()
	RET()
}
