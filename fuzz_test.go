package vkattn

import (
	"encoding/binary"
	"errors"
	"math"
	"runtime"
	"testing"
)

// fuzzSource turns bytes into the numbers of a call: small ones, edges and anything.
type fuzzSource struct{ data []byte }

func (f *fuzzSource) byte() byte {
	if len(f.data) == 0 {
		return 0
	}
	b := f.data[0]
	f.data = f.data[1:]
	return b
}

var fuzzEdges = [...]int{-1, math.MaxInt, math.MinInt, math.MaxInt32, math.MinInt32, MaxSequence, MaxSequence + 1, 1 << 16, 1 << 20,
	1 << 31, 1 << 40, 1 << 62, -1 << 62, math.MaxInt / 4, math.MaxInt/16 - 1}

func (f *fuzzSource) int() int {
	switch b := f.byte(); {
	case b < 240:
		return int(b % 25)
	case b < 252:
		return fuzzEdges[int(b)%len(fuzzEdges)]
	default:
		var raw [8]byte
		n := copy(raw[:], f.data)
		f.data = f.data[n:]
		return int(binary.LittleEndian.Uint64(raw[:]))
	}
}

func (f *fuzzSource) bool() bool { return f.byte()%2 == 1 }

func (f *fuzzSource) upTo(n int) int { return int(f.byte()) % (n + 1) }

func (f *fuzzSource) float() float64 {
	switch f.byte() % 8 {
	case 0:
		return math.Copysign(0, -1)
	case 1:
		return math.Float64frombits(uint64(f.int()))
	case 2:
		return math.NaN()
	}
	return float64(f.int()) / 8
}

// list is a list of n numbers up to most, now and then of others.
func (f *fuzzSource) list(n, most int) []int32 {
	var out []int32
	for range n {
		out = append(out, int32(f.upTo(max(most, 0))))
	}
	if f.byte()%8 == 0 {
		out = append(out, int32(f.int()))
	}
	if f.byte()%8 == 0 && len(out) > 0 {
		out[f.upTo(len(out)-1)] = int32(f.int())
	}
	return out
}

// cumulative is an exclusive prefix sum, mostly.
func (f *fuzzSource) cumulative(n, total int) []int32 {
	out := []int32{0}
	for range n {
		out = append(out, out[len(out)-1]+int32(f.upTo(max(total/max(n, 1), 0))))
	}
	if f.byte()%8 == 0 {
		out[f.upTo(len(out)-1)] = int32(f.int())
	}
	return out
}

// op is a valid op with up to three mistakes.
func (f *fuzzSource) op() Attention {
	a := Attention{Batch: f.upTo(4), HeadsK: 1 + f.upTo(3), SeqQ: f.upTo(20), SeqK: f.upTo(20), HeadDim: 1 + f.upTo(8), ValueDim: f.upTo(8),
		HeadMap: HeadMap(f.upTo(1)), Packed: f.bool(), Scale: Number{f.bool(), float64(f.byte()) / 8}, Softcap: float64(f.upTo(3)),
		Causal: f.bool(), Align: Align(f.upTo(2)), Window: Window{Bound{f.bool(), f.upTo(9) - 2}, Bound{f.bool(), f.upTo(9) - 2}},
		Chunk: f.upTo(9), SinkTokens: f.upTo(3), MaskBlock: f.upTo(5), With: With(f.byte()) | With(f.byte()%4)<<8}
	a.HeadsQ = a.HeadsK * (1 + f.upTo(3))
	if a.Packed {
		a.TotalQ, a.TotalK, a.With = f.upTo(40), f.upTo(40), a.With&^WithKeyLengths
	}
	ints := []*int{&a.Batch, &a.HeadsQ, &a.HeadsK, &a.HeadsV, &a.SeqQ, &a.SeqK, &a.TotalQ, &a.TotalK, &a.HeadDim, &a.ValueDim,
		&a.Window.Left.N, &a.Window.Right.N, &a.Chunk, &a.SinkTokens, &a.MaskBlock}
	for range max(0, f.upTo(7)-4) {
		switch k := f.upTo(len(ints) + 5); k {
		case len(ints):
			a.Scale = Number{f.bool(), f.float()}
		case len(ints) + 1:
			a.Softcap = f.float()
		case len(ints) + 2:
			a.HeadMap, a.Align = HeadMap(f.byte()), Align(f.byte())
		case len(ints) + 3:
			a.TypeK, a.TypeOut = Type(f.upTo(10)), Type(f.upTo(10))
			a.DescaleBlock, a.With = f.upTo(5), a.With|With(f.byte()%8)<<11
		case len(ints) + 4:
			a.With = With(f.byte()) | With(f.byte())<<8
		case len(ints) + 5:
			a.Packed = !a.Packed
		default:
			*ints[k] = f.int()
		}
	}
	return a
}

// tensor is one of the wanted shape with a few mistakes, or anything.
func (f *fuzzSource) tensor(want [4]int, typ Type) Tensor {
	if f.byte() == 1 {
		return Tensor{}
	}
	t := Tensor{Type: typ, Shape: want, Stride: [4]int{0, 0, 0, 1}, Mem: Bytes(make([]byte, 1<<14))}
	if f.byte()%8 != 1 {
		step := want[3]
		for a := 2; a >= 0; a-- {
			t.Stride[a] = step
			step *= want[a]
		}
	}
	for f.byte()%16 == 1 {
		switch a := f.byte() % 4; f.byte() % 4 {
		case 0:
			t.Shape[a] = f.int()
		case 1:
			t.Stride[a] = f.int()
		case 2:
			t.Offset = f.int()
		case 3:
			t.Type = Type(f.byte() % 10)
		}
	}
	return t
}

// args are arguments that fit a, with mistakes here and there.
func (f *fuzzSource) args(a Attention) Args {
	c := a.Canonical()
	b, sq, sk := max(0, min(c.Batch, f.upTo(4))), max(0, min(c.SeqQ, f.upTo(20))), max(0, min(c.SeqK, f.upTo(20)))
	n, score := b, [4]int{b, c.HeadsQ, sq, sk}
	if a.Packed {
		sq, sk = max(0, min(c.TotalQ, 40)), max(0, min(c.TotalK, 40))
		b, score = 1, [4]int{n, c.HeadsQ, c.SeqQ, c.SeqK}
	}
	args := Args{Q: f.tensor([4]int{b, c.HeadsQ, sq, c.HeadDim}, c.TypeQ), K: f.tensor([4]int{b, c.HeadsK, sk, c.HeadDim}, c.TypeK),
		V: f.tensor([4]int{b, c.HeadsV, sk, c.ValueDim}, c.TypeV), Out: f.tensor([4]int{b, c.HeadsQ, sq, c.ValueDim}, c.TypeOut)}
	// given is true when the op asks for something, and now and then when it does not.
	given := func(on bool) bool { return on != (f.byte() == 1) }
	give := func(w With, t *Tensor, shape [4]int, typ Type) {
		if given(c.With.Has(w)) {
			*t = f.tensor(shape, typ)
		}
	}
	give(WithLSE, &args.LSE, [4]int{b, c.HeadsQ, sq, 1}, Float32)
	give(WithBias, &args.Bias, score, Float32)
	mask := score
	mask[3] = ceilDiv(mask[3], max(c.MaskBlock, 1))
	give(WithMask, &args.Mask, mask, Bool)
	give(WithTree, &args.Tree, [4]int{score[0], 1, score[2], score[3]}, Bool)
	give(WithALiBi, &args.Slopes, [4]int{1, c.HeadsQ, 1, 1}, Float32)
	give(WithSinkLogits, &args.SinkLogits, [4]int{score[0], c.HeadsQ, 1, 1}, Float32)
	for n, t := range []*Tensor{&args.DescaleQ, &args.DescaleK, &args.DescaleV} {
		heads, tokens := []int{c.HeadsQ, c.HeadsK, c.HeadsV}[n], []int{score[2], score[3], score[3]}[n]
		give(WithDescaleQ<<n, t, c.descaleShape(score[0], heads, max(tokens, 0)), Float32)
	}
	if given(a.Packed) {
		args.CuSeqQ, args.CuSeqK = f.cumulative(n, sq), f.cumulative(n, sk)
	}
	if given(c.With.Has(WithKeyLengths)) {
		args.KeyLengths = f.list(n, sk)
	}
	if given(a.Align == AlignOffset) {
		for range max(1, n*f.upTo(1)) {
			args.Offset = append(args.Offset, f.int())
		}
	}
	if given(c.With.Has(WithPrefix)) {
		args.Prefix = f.list(max(1, n*f.upTo(1)), 30)
	}
	if given(c.With.Has(WithGlobal)) {
		args.Global = f.cumulative(f.upTo(4), 30)
	}
	if given(c.With.Has(WithBlocks)) {
		args.Blocks = f.blocks(score)
	}
	args.QBase, args.KBase = f.int(), f.int()
	return args
}

func (f *fuzzSource) blocks(score [4]int) *BlockMask {
	if f.byte()%8 != 1 && min(score[2], score[3]) >= 0 && max(score[2], score[3]) <= 100 {
		m, _ := NewBlockMask(1, 1, score[2], score[3], 1+f.upTo(30), 1+f.upTo(30), func(_, _, _, _ int) (bool, bool) { return f.bool(), f.byte()%16 == 1 })
		if f.byte()%8 == 1 {
			m.Start[f.upTo(len(m.Start)-1)] = int32(f.int())
		}
		if f.byte()%4 == 1 {
			m.Tile, m.Bits = f.list(len(m.Keys), 3), make([]uint32, f.upTo(3)*m.BlockQ)
		}
		return m
	}
	m := &BlockMask{BlockQ: f.int(), BlockK: f.int(), Batch: f.int(), Heads: f.int(), RowBlocks: f.int(), KeyBlocks: f.int(), Start: f.list(f.upTo(3), 4), Keys: f.list(f.upTo(3), 4), Tile: f.list(f.upTo(3), 4), Bits: make([]uint32, f.upTo(8))}
	for range f.byte() % 6 {
		m.Full = append(m.Full, f.bool())
	}
	return m
}

// addNoise adds seeds that look like nothing in particular.
func addNoise(f *testing.F) {
	for seed := range byte(40) {
		data := make([]byte, 400)
		state := uint32(seed)*2654435761 + 1
		for i := range data {
			state = state*1664525 + 1013904223
			data[i] = byte(state >> 24)
		}
		f.Add(data)
	}
}

// typed reports whether there is no error. One must have a type and a text.
func typed(t *testing.T, op Op, err error) bool {
	t.Helper()
	var shape *ShapeError
	var arg *ArgError
	if err != nil && (!errors.Is(err, ErrInvalid) || !errors.As(err, &shape) && !errors.As(err, &arg) || err.Error() == "") {
		t.Errorf("%+v: %T %v", op, err, err)
	}
	return err == nil
}

// FuzzValidate: no op and no arguments make Validate or Check panic, allocate without bound, or return
// an error without a type; and what they accept can be asked about.
func FuzzValidate(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte("\x01\x04\x02\x02\x00\x08\x09\x00\x00\x00\x08\x08\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00"))
	addNoise(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		src := &fuzzSource{data}
		op := src.op()
		if !typed(t, op, op.Validate()) {
			if _, again := op.Check(&Args{}); again == nil {
				t.Errorf("Validate refuses, Check accepts: %+v", op)
			}
			return
		}
		if c := op.Canonical(); c.Canonical() != c || c.Hash() != op.Hash() || op.String() == "" {
			t.Errorf("canonical form of %+v", op)
		}
		args := src.args(op)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		seqs, err := op.Check(&args)
		runtime.ReadMemStats(&after)
		// 200 bytes for each of 2^20 sequences, twice for growing the slice
		if grown := after.TotalAlloc - before.TotalAlloc; grown > 1<<30 {
			t.Errorf("Check allocates %d bytes: %+v", grown, op)
		}
		if !typed(t, op, err) || len(seqs) > 1<<10 {
			return
		}
		for i := range seqs {
			s := &seqs[i]
			for _, row := range []int{0, s.Sq / 2, s.Sq - 1} {
				for _, key := range []int{0, s.Sk / 2, s.Sk - 1} {
					visible := s.Visible(row, key)
					inside := false
					for _, span := range s.Spans(nil, row, row+1) {
						inside = inside || key >= span.Lo && key < span.Hi
					}
					if visible != inside {
						t.Errorf("row %d, key %d: visible %v, in a span %v: %+v", row, key, visible, inside, s)
					}
				}
			}
			if s.Sq > 1<<12 {
				return
			}
		}
		if w := op.Work(&args, seqs, false); w.Pairs < 0 || w.Bytes < 0 || w.FLOPs < 0 {
			t.Errorf("%+v: %+v", op, w)
		}
	})
}

// FuzzRope: no rope and no arguments make Check panic or return an error without a type; and every element
// that an accepted call addresses lies in its memory.
func FuzzRope(f *testing.F) {
	f.Add([]byte("\x02\x03\x05\x08\x04\x01\x00\x01"))
	f.Add([]byte("\x02\x03\x05\x08\x00\x00\x01\x00"))
	addNoise(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		src := &fuzzSource{data}
		op := Rope{Batch: src.int(), Heads: src.int(), Seq: src.int(), HeadDim: src.int(), RotaryDim: src.int(),
			Layout: RopeLayout(src.byte() % 3), Inverse: src.bool(), Positions: src.bool()}
		if !typed(t, op, op.Validate()) {
			if op.Check(&Args{}) == nil {
				t.Errorf("Validate refuses, Check accepts: %+v", op)
			}
			return
		}
		c := op.Canonical()
		if c.Canonical() != c || c.Hash() != op.Hash() || op.String() == "" {
			t.Errorf("canonical form of %+v", op)
		}
		rows := c.Seq
		if c.Positions {
			rows = src.upTo(20)
		}
		shape, table := [4]int{c.Batch, c.Heads, c.Seq, c.HeadDim}, [4]int{1, 1, rows, c.RotaryDim / 2}
		args := Args{Q: src.tensor(shape, Float32), Out: src.tensor(shape, Float32), Cos: src.tensor(table, Float32), Sin: src.tensor(table, Float32)}
		if src.bool() {
			args.Out = args.Q
		}
		if c.Positions && c.Seq < 1<<10 {
			args.Positions = src.list(c.Seq, rows-1)
		}
		if !typed(t, op, op.Check(&args)) {
			return
		}
		if w := op.Work(&args); w.FLOPs < 0 || w.Bytes < 0 {
			t.Errorf("%+v: %+v", op, w)
		}
		for b := range args.Q.Shape[0] {
			for h := range c.Heads {
				for s := range args.Q.Shape[2] {
					_ = args.Q.Mem.(*Host).Float32s()[args.Q.Index(b, h, s, c.HeadDim-1)]
					_ = args.Out.Mem.(*Host).Float32s()[args.Out.Index(b, h, s, c.HeadDim-1)]
					row := s
					if c.Positions {
						row = int(args.Positions[(b*args.Q.Shape[2]+s)%len(args.Positions)])
					}
					for _, x := range []Tensor{args.Cos, args.Sin} {
						_ = x.Mem.(*Host).Float32s()[x.Index(min(b, x.Shape[0]-1), 0, row, c.RotaryDim/2-1)]
					}
				}
			}
		}
	})
}

// FuzzConvert: any two tensors and any conversion give a converted copy or a typed error.
func FuzzConvert(f *testing.F) {
	f.Add([]byte("\x02\x03\x05\x20\x01\x05\x00\x00\x00"))
	f.Add([]byte("\x01\x02\x03\x40\x06\x03\x00\x01\x01\x01\x02"))
	addNoise(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		src := &fuzzSource{data}
		shape := [4]int{src.upTo(3), src.upTo(3), src.upTo(5), 32 * src.upTo(2)}
		if src.bool() {
			shape[3] = src.upTo(40)
		}
		from, to := src.tensor(shape, Type(src.byte()%9)), src.tensor(shape, Type(src.byte()%9))
		c := Conversion{Rotate: src.bool(), Seed: uint64(src.byte()), DescaleBlock: src.upTo(4)}
		if src.bool() {
			c.Mean = src.tensor([4]int{shape[0], shape[1], 1, shape[3]}, Float32)
		}
		if src.bool() {
			c.Descale = src.tensor(Attention{DescaleBlock: c.DescaleBlock}.descaleShape(shape[0], shape[1], shape[2]), Float32)
			for i, x := range c.Descale.floats() {
				c.Descale.floats()[i] = x + 1 + float32(i%3)
			}
		}
		if err := Convert(to, from, c); err != nil && !errors.Is(err, ErrInvalid) {
			t.Errorf("%T %v", err, err)
		}
	})
}

func (t Tensor) floats() []float32 {
	if h, ok := t.Mem.(*Host); ok {
		return h.Float32s()
	}
	return nil
}
