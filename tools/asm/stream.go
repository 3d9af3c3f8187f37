package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// together is how many keys or values are read at once. More are up to 5% slower where memory binds: the
// prefetchers of the processor see less of a stream.
const together = 2

// streamScores multiplies a few rows with keys that are read once, where they lie. Each score is one chain of
// FMAs per lane, or two where there is a single row and little else in flight, then a sum over lanes, in the same
// order for every key. Meanwhile as many rows at next, which are needed soon, come into the cache.
func streamScores(nrows int) {
	name := fmt.Sprintf("streamScores%d", nrows)
	function(name, "func(s *float32, sStride int, q *float32, qStride int, k *float32, kStride, n, d int, next *float32, offset, run, jump int)",
		fmt.Sprintf("%s sets the %d rows of n scores at s to the products of the rows of d numbers at q, which", name, nrows),
		"are zero up to a multiple of 8, with the n rows at k. It prefetches n d",
		"numbers from offset numbers behind next, with a jump after each run; those two are in bytes.")
	to := newRows(arg("s"), strideOf("sStride", nrows), nrows)
	keyRows := newRows(arg("k"), floats("kStride"), together)
	ahead := newAhead()
	qStride := strideOf("qStride", nrows)
	qRows := newRows(GP64(), qStride, nrows)
	n := arg("n")
	mask := YMM()
	{
		d := arg("d")
		ANDQ(U32(lanes-1), d)
		VMOVUPS(maskAddress(d), mask)
	}
	for _, keys := range []int{together, 1} {
		part := fmt.Sprintf("by%d", keys)
		next := "done"
		if keys > 1 {
			next = "by1"
		}
		Label(part)
		CMPQ(n, U32(keys))
		JL(LabelRef(next))
		acc := vectors(nrows * keys) // [rows][keys]
		zero(acc...)
		odd := acc // the sums of every other vector
		if nrows == 1 {
			odd = vectors(keys)
			zero(odd...)
		}
		Load(Param("q"), qRows.base)
		left := arg("d")
		step := func(at int, acc []reg.VecVirtual, get func(m Mem, x reg.VecVirtual)) {
			kx := make([]reg.VecVirtual, keys)
			key := func(j int) reg.VecVirtual {
				x := YMM()
				get(keyRows.at(j, 32*at), x)
				return x
			}
			if nrows > 1 {
				for j := range kx {
					kx[j] = key(j)
				}
			}
			for r := range nrows {
				qx := YMM()
				VMOVUPS(qRows.at(r, 32*at), qx)
				for j := range keys {
					x := kx[j]
					if nrows == 1 {
						x = key(j)
					}
					VFMADD231PS(x, qx, acc[r*keys+j])
				}
			}
		}
		whole := func(m Mem, x reg.VecVirtual) { VMOVUPS(m, x) }
		advance := func(bytes int) {
			keyRows.advance(U32(bytes))
			qRows.advance(U32(bytes))
		}
		SUBQ(U32(2*lanes), left)
		JL(LabelRef(part + "last"))
		Label(part + "loop")
		ahead.lines(part, keys)
		step(0, acc, whole)
		step(1, odd, whole)
		advance(64)
		SUBQ(U32(2*lanes), left)
		JGE(LabelRef(part + "loop"))
		Label(part + "last")
		ADDQ(U32(2*lanes), left)
		CMPQ(left, U32(lanes))
		JL(LabelRef(part + "tail"))
		step(0, acc, whole)
		advance(32)
		Label(part + "tail")
		TESTQ(U32(lanes-1), left)
		JZ(LabelRef(part + "sum"))
		step(0, acc, func(m Mem, x reg.VecVirtual) { VMASKMOVPS(m, mask, x) })
		Label(part + "sum")
		if nrows == 1 {
			for j := range acc {
				VADDPS(odd[j], acc[j], acc[j])
			}
		}
		for r := 0; r < len(acc); r += 4 {
			four := acc[r:min(r+4, len(acc))]
			x := sumLanes(four)
			switch {
			case keys == 2:
				VMOVLPS(x, to.at(r/2, 0))
				if len(four) > 2 {
					VMOVHPS(x, to.at(r/2+1, 0))
				}
			default:
				for i := range four {
					if i > 0 {
						VPERMILPS(Imm(0x39), x, x) // the next lane
					}
					VMOVSS(x, to.at(r+i, 0))
				}
			}
		}
		to.advance(U32(4 * keys))
		onward("d", keys, keyRows)
		SUBQ(U32(keys), n)
		JMP(LabelRef(part))
	}
	Label("done")
	VZEROUPPER()
	RET()
}

// strideOf is a parameter that only several rows need.
func strideOf(name string, nrows int) reg.GPVirtual {
	if nrows == 1 {
		return nil
	}
	return floats(name)
}

// sumLanes is the sums of the lanes of up to four vectors. The order of the additions is the same for each.
func sumLanes(v []reg.VecVirtual) reg.VecVirtual {
	at := func(i int) reg.VecVirtual { return v[i%len(v)] }
	a, b, x := YMM(), YMM(), XMM()
	VHADDPS(at(1), at(0), a)
	VHADDPS(at(3), at(2), b)
	VHADDPS(b, a, a)
	VEXTRACTF128(Imm(1), a, x)
	VADDPS(x, a.AsX(), x)
	return x
}

// ahead walks over memory that is needed soon, in the order of its cache lines. It may lie beyond the
// caller's memory.
type ahead struct {
	at, left reg.GPVirtual // address, bytes to the end of the run
}

func newAhead() ahead {
	at, base := floats("offset"), arg("next")
	ADDQ(base, at)
	return ahead{at, arg("run")}
}

// lines prefetches n cache lines into the second cache: more reads of memory are on their way at once than the first
// cache has room to wait for (on Zen 4, 0.96 of the bandwidth of a plain read loop instead of 0.75).
func (a ahead) lines(name string, n int) {
	for i := range n {
		PREFETCHT1(Mem{Base: a.at, Disp: 64 * i})
	}
	ADDQ(U32(64*n), a.at)
	SUBQ(U32(64*n), a.left)
	JG(LabelRef(name + "run"))
	ADDQ(memory("run"), a.left)
	ADDQ(memory("jump"), a.at)
	Label(name + "run")
}

// memory is a parameter where it lies.
func memory(param string) Mem {
	c, err := Param(param).Resolve()
	if err != nil {
		panic(err)
	}
	return c.Addr
}

// streamValues adds values that are read once, where they lie, to a few rows, whose sums stay in the first
// cache and whose weights are in registers.
func streamValues(nrows int) {
	name := fmt.Sprintf("streamValues%d", nrows)
	function(name, "func(o *float32, oStride int, p *float32, pStride int, v *float32, vStride, n, cols int, next *float32, offset, run, jump int)",
		fmt.Sprintf("%s adds p v to the %d rows of cols sums at o, for the n weights of each row at p and the n", name, nrows),
		"rows at v. Sums up to a multiple of 8 are touched. It prefetches n cols numbers, like streamScores.")
	to := newRows(arg("o"), strideOf("oStride", nrows), nrows)
	weights := newRows(arg("p"), strideOf("pStride", nrows), nrows)
	values := newRows(arg("v"), floats("vStride"), together)
	ahead := newAhead()
	n := arg("n")
	for _, keys := range []int{together, 1} {
		part := fmt.Sprintf("by%d", keys)
		done := "done"
		if keys > 1 {
			done = "by1"
		}
		Label(part)
		CMPQ(n, U32(keys))
		JL(LabelRef(done))
		p := vectors(nrows * keys) // [rows][keys]
		for r := range nrows {
			for j := range keys {
				VBROADCASTSS(weights.at(r, 4*j), p[r*keys+j])
			}
		}
		weights.advance(U32(4 * keys))
		Load(Param("o"), to.base)
		left := arg("cols")
		step := func(at int, get func(m Mem) Op) {
			x := make([]Op, keys)
			if nrows > 1 {
				for j := range x {
					x[j] = get(values.at(j, 32*at))
				}
			}
			for r := range nrows {
				sum := YMM()
				VMOVUPS(to.at(r, 32*at), sum)
				for j := range keys {
					if nrows == 1 {
						x[j] = get(values.at(j, 32*at))
					}
					VFMADD231PS(x[j], p[r*keys+j], sum)
				}
				VMOVUPS(sum, to.at(r, 32*at))
			}
		}
		whole := func(m Mem) Op {
			if nrows == 1 {
				return m
			}
			x := YMM()
			VMOVUPS(m, x)
			return x
		}
		advance := func(bytes int) {
			values.advance(U32(bytes))
			to.advance(U32(bytes))
		}
		SUBQ(U32(2*lanes), left)
		JL(LabelRef(part + "last"))
		Label(part + "loop")
		ahead.lines(part, keys)
		step(0, whole)
		step(1, whole)
		advance(64)
		SUBQ(U32(2*lanes), left)
		JGE(LabelRef(part + "loop"))
		Label(part + "last")
		ADDQ(U32(2*lanes), left)
		CMPQ(left, U32(lanes))
		JL(LabelRef(part + "tail"))
		step(0, whole)
		advance(32)
		Label(part + "tail")
		ANDQ(U32(lanes-1), left)
		JZ(LabelRef(part + "next"))
		mask := maskOf(left)
		step(0, func(m Mem) Op {
			x := YMM()
			VMASKMOVPS(m, mask, x)
			return x
		})
		Label(part + "next")
		onward("cols", keys, values)
		SUBQ(U32(keys), n)
		JMP(LabelRef(part))
	}
	Label("done")
	VZEROUPPER()
	RET()
}

// onward moves rows, which have gone through the whole vectors of the length that param tells, back to
// their beginning and on by keys rows.
func onward(param string, keys int, r rows) {
	back, skip := arg(param), GP64()
	SHLQ(Imm(2), back)
	ANDQ(I32(-32), back)
	IMUL3Q(U32(keys), r.stride, skip)
	SUBQ(back, skip)
	r.advance(skip)
}

// scaleRows brings the sums of a few rows to another maximum.
func scaleRows() {
	function("scaleRows", "func(o *float32, stride, rows, cols int, w *float32)",
		"scaleRows multiplies the rows of cols numbers at o, which lie stride apart, by one factor w per row.",
		"Numbers up to a multiple of 8 are touched.")
	o, stride, n, w := arg("o"), floats("stride"), arg("rows"), arg("w")
	Label("row")
	x, at, left := YMM(), copyOf(o), arg("cols")
	VBROADCASTSS(Mem{Base: w}, x)
	Label("loop")
	y := YMM()
	VMULPS(Mem{Base: at}, x, y)
	VMOVUPS(y, Mem{Base: at})
	ADDQ(U32(32), at)
	SUBQ(U32(lanes), left)
	JG(LabelRef("loop"))
	ADDQ(stride, o)
	ADDQ(U32(4), w)
	DECQ(n)
	JNZ(LabelRef("row"))
	VZEROUPPER()
	RET()
}
