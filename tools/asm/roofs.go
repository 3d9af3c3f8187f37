package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
)

// readFloats is for measuring the bandwidth of memory.
func readFloats() {
	function("readFloats", "func(src *float32, n int)",
		"readFloats loads n numbers, a multiple of 64, and forgets them.")
	src, n := arg("src"), arg("n")
	acc := vectors(4)
	Label("loop")
	for i := range 8 {
		VMOVUPS(Mem{Base: src, Disp: 32 * i}, acc[i%4])
	}
	ADDQ(U32(256), src)
	SUBQ(U32(64), n)
	JNZ(LabelRef("loop"))
	VZEROUPPER()
	RET()
}

// chains is how many vectors of multiply-adds are in flight, more than two FMA units of 4 or 5 cycles need.
const chains = 12

// multiplyAdds is for measuring the rate of multiply-adds. It keeps to registers.
func multiplyAdds() {
	function("multiplyAdds", "func(n int, x float32) float32",
		fmt.Sprintf("multiplyAdds replaces %d numbers, zero at first, by themselves times x plus x, n times over, and", chains*lanes),
		fmt.Sprintf("returns the sum of %d of them. n is a multiple of %d.", chains, unroll))
	n := arg("n")
	x := YMM()
	VBROADCASTSS(memory("x"), x)
	acc := vectors(chains)
	zero(acc...)
	Label("loop")
	for range unroll {
		for _, a := range acc {
			VFMADD213PS(x, x, a)
		}
	}
	SUBQ(U32(unroll), n)
	JNZ(LabelRef("loop"))
	for _, a := range acc[1:] {
		VADDPS(a, acc[0], acc[0])
	}
	Store(acc[0].AsX(), ReturnIndex(0))
	VZEROUPPER()
	RET()
}
