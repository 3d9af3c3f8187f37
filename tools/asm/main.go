// Command asm writes the AVX2 and FMA routines of package cpu, as Go assembly, with avo. Run it by
// go generate in package cpu; what it writes is committed.
//
// It is a module of its own, so that avo is no dependency of the library.
package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// Sizes that package cpu knows as well: its tests fail where they differ.
const (
	blockRows = 6  // rows of a register tile
	panelCols = 16 // columns of a register tile: two vectors
	lanes     = 8  // float32 numbers in a vector
)

func main() {
	scoresPanel()
	accumulatePanel()
	packKeys()
	packValues()
	softmaxRows()
	expFloats()
	eluFloats()
	siluFloats()
	for _, rows := range []int{1, 2, 4} {
		streamScores(rows)
		streamValues(rows)
	}
	scaleRows()
	allFinite()
	readFloats()
	multiplyAdds()
	decoders()
	hasF16C()
	Generate()
}

// function starts an assembly function whose pointers do not escape.
func function(name, signature string, doc ...string) {
	TEXT(name, NOSPLIT, signature)
	Pragma("noescape")
	Doc(doc...)
}

func arg(name string) reg.GPVirtual { return Load(Param(name), GP64()).(reg.GPVirtual) }

// floats is a parameter that counts float32 numbers, in bytes.
func floats(name string) reg.GPVirtual {
	r := arg(name)
	SHLQ(Imm(2), r)
	return r
}

func copyOf(r reg.GPVirtual) reg.GPVirtual {
	c := GP64()
	MOVQ(r, c)
	return c
}

func times3(r reg.GPVirtual) reg.GPVirtual {
	c := GP64()
	LEAQ(Mem{Base: r, Index: r, Scale: 2}, c)
	return c
}

func vectors(n int) []reg.VecVirtual {
	v := make([]reg.VecVirtual, n)
	for i := range v {
		v[i] = YMM()
	}
	return v
}

func zero(v ...reg.VecVirtual) {
	for _, x := range v {
		VXORPS(x, x, x)
	}
}

// rows addresses up to 8 rows that lie stride bytes apart.
type rows struct {
	base, base4     reg.GPVirtual // rows 0 and 4
	stride, stride3 reg.GPVirtual
}

func newRows(base, stride reg.GPVirtual, n int) rows {
	r := rows{base: base, stride: stride}
	if n > 3 {
		r.stride3 = times3(stride)
	}
	if n > 4 {
		r.base4 = GP64()
		LEAQ(Mem{Base: base, Index: stride, Scale: 4}, r.base4)
	}
	return r
}

// at is the address disp bytes into row n.
func (r rows) at(n, disp int) Mem {
	base := r.base
	if n >= 4 {
		base, n = r.base4, n-4
	}
	m := Mem{Base: base, Disp: disp}
	switch n {
	case 1, 2:
		m.Index, m.Scale = r.stride, uint8(n)
	case 3:
		m.Index, m.Scale = r.stride3, 1
	}
	return m
}

// advance moves all rows by bytes.
func (r rows) advance(bytes Op) {
	ADDQ(bytes, r.base)
	if r.base4 != nil {
		ADDQ(bytes, r.base4)
	}
}

// table is eight times -1 and eight times 0: a mask of n lanes starts at its element 8-n.
func table() Mem {
	if maskTable != nil {
		return *maskTable
	}
	m := GLOBL("masks", RODATA|NOPTR)
	for i := range 2 * lanes {
		x := U32(0)
		if i < lanes {
			x = 0xffffffff
		}
		DATA(4*i, x)
	}
	maskTable = &m
	return m
}

var maskTable *Mem

// maskOf is the mask of the first n lanes; n is from 0 to 8.
func maskOf(n reg.GPVirtual) reg.VecVirtual {
	m := YMM()
	VMOVDQU(maskAddress(n), m)
	return m
}

func maskAddress(n reg.GPVirtual) Mem {
	at, from := GP64(), GP64()
	LEAQ(table(), at)
	MOVQ(U32(lanes), from)
	SUBQ(n, from)
	return Mem{Base: at, Index: from, Scale: 4}
}
