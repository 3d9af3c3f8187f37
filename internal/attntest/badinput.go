package attntest

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/vkattn/vkattn"
)

// BadInput is a wrong call: a good one and what spoils it.
type BadInput struct {
	Name string
	// Args are the arguments that the error may name, separated by spaces.
	Args string
	// Op spoils the op, or chooses one that Call needs. Unless Call is set, Supports and Plan must refuse it.
	Op func(*vkattn.Attention)
	// Call spoils the arguments. Record and Run must refuse them.
	Call func(*vkattn.Args)
}

// foreign is memory of a backend that nobody has heard of.
type foreign struct{ bytes int64 }

func (f *foreign) Size() int64  { return f.bytes }
func (f *foreign) Close() error { return nil }

// goodCall is what the wrong calls start from: two sequences, 4 query heads over 2, 16 rows, 24 keys.
func goodCall(with vkattn.With) (vkattn.Attention, vkattn.Args) {
	const b, hq, hk, sq, sk, d = 2, 4, 2, 16, 24, 8
	op := vkattn.Attention{Batch: b, HeadsQ: hq, HeadsK: hk, SeqQ: sq, SeqK: sk, HeadDim: d, Causal: true, With: with | vkattn.WithLSE}
	tensor := func(b, h, s, d int) vkattn.Tensor {
		return vkattn.BHSD(vkattn.Float32s(make([]float32, b*h*s*d)), b, h, s, d)
	}
	args := vkattn.Args{Q: tensor(b, hq, sq, d), K: tensor(b, hk, sk, d), V: tensor(b, hk, sk, d),
		Out: tensor(b, hq, sq, d), LSE: tensor(b, hq, sq, 1)}
	if with.Has(vkattn.WithBias) {
		args.Bias = tensor(b, hq, sq, sk)
	}
	yes := slices.Repeat([]bool{true}, b*hq*sq*sk)
	if with.Has(vkattn.WithMask) {
		args.Mask = vkattn.BHSD(vkattn.Bools(yes), b, hq, sq, sk).As(vkattn.Bool)
	}
	if with.Has(vkattn.WithTree) {
		args.Tree = vkattn.BHSD(vkattn.Bools(yes[:b*sq*sk]), b, 1, sq, sk).As(vkattn.Bool)
	}
	if with.Has(vkattn.WithALiBi) {
		args.Slopes = vkattn.Vector(vkattn.Float32s(make([]float32, hq)), hq)
	}
	if with.Has(vkattn.WithSinkLogits) {
		args.SinkLogits = vkattn.Vector(vkattn.Float32s(make([]float32, hq)), hq)
	}
	if with.Has(vkattn.WithRelative) {
		args.Relative = vkattn.BHSD(vkattn.Float32s(make([]float32, hq*5)), 1, hq, 1, 5)
	}
	if with.Has(vkattn.WithKeyLengths) {
		args.KeyLengths = []int32{24, 10}
	}
	if with.Has(vkattn.WithPrefix) {
		args.Prefix = []int32{3}
	}
	if with.Has(vkattn.WithGlobal) {
		op.Window = vkattn.Window{Left: vkattn.Tokens(4)}
		args.Global = []int32{1, 5}
	}
	if with.Has(vkattn.WithBlocks) {
		args.Blocks, _ = vkattn.NewBlockMask(1, 1, sq, sk, 8, 8, func(_, _, _, _ int) (bool, bool) { return true, true })
	}
	return op, args
}

// packedCall makes the good call a packed one: sequences of 10 and 6 rows over 14 and 10 keys.
func packedCall(op *vkattn.Attention) {
	op.Packed, op.Batch, op.TotalQ, op.TotalK = true, 2, 16, 24
}

func packedArgs(a *vkattn.Args) {
	for _, t := range []*vkattn.Tensor{&a.Q, &a.K, &a.V, &a.Out, &a.LSE} {
		*t = t.Slice(0, 0, 1)
	}
	a.CuSeqQ, a.CuSeqK = []int32{0, 10, 16}, []int32{0, 14, 24}
}

func with(w vkattn.With) func(*vkattn.Attention) {
	return func(op *vkattn.Attention) { op.With |= w }
}

func badOps() []BadInput {
	nan, inf := math.NaN(), math.Inf(1)
	list := []BadInput{}
	op := func(name, arg string, f func(*vkattn.Attention)) {
		list = append(list, BadInput{Name: name, Args: arg, Op: f})
	}
	op("negative batch", "Batch", func(a *vkattn.Attention) { a.Batch = -1 })
	op("no query heads", "HeadsQ", func(a *vkattn.Attention) { a.HeadsQ = 0 })
	op("absurd number of heads", "HeadsQ", func(a *vkattn.Attention) { a.HeadsQ, a.HeadsK = 1<<40, 1<<40 })
	op("key heads do not divide", "HeadsK", func(a *vkattn.Attention) { a.HeadsK = 3 })
	op("negative key heads", "HeadsK", func(a *vkattn.Attention) { a.HeadsK = -2 })
	op("value heads do not divide", "HeadsV", func(a *vkattn.Attention) { a.HeadsV = 3 })
	op("more key heads than query heads", "HeadsK", func(a *vkattn.Attention) { a.HeadsK = 8 })
	op("negative rows", "SeqQ", func(a *vkattn.Attention) { a.SeqQ = -1 })
	op("too many keys", "SeqK", func(a *vkattn.Attention) { a.SeqK = vkattn.MaxSequence + 1 })
	op("overflowing keys", "SeqK", func(a *vkattn.Attention) { a.SeqK = math.MaxInt })
	op("head size 0", "HeadDim", func(a *vkattn.Attention) { a.HeadDim = 0 })
	op("negative head size", "HeadDim", func(a *vkattn.Attention) { a.HeadDim = -8 })
	op("absurd value size", "ValueDim", func(a *vkattn.Attention) { a.ValueDim = math.MaxInt })
	op("scale NaN", "Scale", func(a *vkattn.Attention) { a.Scale = vkattn.Num(nan) })
	op("scale infinite", "Scale", func(a *vkattn.Attention) { a.Scale = vkattn.Num(-inf) })
	op("scale beyond float32", "Scale", func(a *vkattn.Attention) { a.Scale = vkattn.Num(1e300) })
	op("scale beyond float32 to base 2", "Scale", func(a *vkattn.Attention) { a.Scale = vkattn.Num(-3e38) })
	op("softcap negative", "Softcap", func(a *vkattn.Attention) { a.Softcap = -1 })
	op("softcap NaN", "Softcap", func(a *vkattn.Attention) { a.Softcap = nan })
	op("softcap infinite", "Softcap", func(a *vkattn.Attention) { a.Softcap = inf })
	op("negative chunk", "Chunk", func(a *vkattn.Attention) { a.Chunk = -4 })
	op("negative sink tokens", "SinkTokens", func(a *vkattn.Attention) { a.SinkTokens = -1 })
	op("window out of range", "Window.Left", func(a *vkattn.Attention) { a.Window.Left = vkattn.Tokens(math.MinInt) })
	op("unknown input", "With", func(a *vkattn.Attention) { a.With = 1 << 15 })
	op("unknown align", "Align", func(a *vkattn.Attention) { a.Align = 9 })
	op("unknown head map", "HeadMap", func(a *vkattn.Attention) { a.HeadMap = 7 })
	op("unknown type", "TypeK", func(a *vkattn.Attention) { a.TypeK = 99 })
	op("queries of type bool", "TypeQ", func(a *vkattn.Attention) { a.TypeQ = vkattn.Bool })
	op("packed with key lengths", "KeyLengths", func(a *vkattn.Attention) { packedCall(a); a.With |= vkattn.WithKeyLengths })
	op("totals without packing", "TotalQ", func(a *vkattn.Attention) { a.TotalQ = 5 })
	return list
}

func badCalls() []BadInput {
	list := []BadInput{}
	call := func(name, args string, f func(*vkattn.Args)) {
		list = append(list, BadInput{Name: name, Args: args, Call: f})
	}
	callWith := func(name, args string, w vkattn.With, f func(*vkattn.Args)) {
		list = append(list, BadInput{Name: name, Args: args, Op: with(w), Call: f})
	}
	packed := func(name, args string, f func(*vkattn.Args)) {
		list = append(list, BadInput{Name: name, Args: args, Op: packedCall, Call: func(a *vkattn.Args) { packedArgs(a); f(a) }})
	}
	host := func(n int) vkattn.Memory { return vkattn.Float32s(make([]float32, n)) }

	call("no Q", "Q", func(a *vkattn.Args) { a.Q = vkattn.Tensor{} })
	call("no K", "K", func(a *vkattn.Args) { a.K = vkattn.Tensor{} })
	call("no V", "V", func(a *vkattn.Args) { a.V = vkattn.Tensor{} })
	call("no Out", "Out", func(a *vkattn.Args) { a.Out = vkattn.Tensor{} })
	call("no LSE", "LSE", func(a *vkattn.Args) { a.LSE = vkattn.Tensor{} })
	call("batch of K differs", "K", func(a *vkattn.Args) { a.K = a.K.Slice(0, 0, 1) })
	call("heads of Q differ", "Q", func(a *vkattn.Args) { a.Q = a.Q.Slice(1, 0, 3) })
	call("keys of V differ", "V", func(a *vkattn.Args) { a.V = a.V.Slice(2, 0, 23) })
	call("head size of K differs", "K", func(a *vkattn.Args) { a.K = a.K.Slice(3, 0, 7) })
	call("rows of Out differ", "Out", func(a *vkattn.Args) { a.Out = a.Out.Slice(2, 0, 15) })
	call("rows of LSE differ", "LSE", func(a *vkattn.Args) { a.LSE = a.LSE.Slice(2, 0, 15) })
	call("more rows than the plan has", "Q", func(a *vkattn.Args) { a.Q = vkattn.BHSD(host(2*4*17*8), 2, 4, 17, 8) })
	call("more keys than the plan has", "K", func(a *vkattn.Args) { a.K = vkattn.BHSD(host(2*2*25*8), 2, 2, 25, 8) })
	call("larger batch than the plan has", "Q", func(a *vkattn.Args) { a.Q = vkattn.BHSD(host(3*4*16*8), 3, 4, 16, 8) })
	call("negative shape", "K", func(a *vkattn.Args) { a.K.Shape[2] = -1 })
	call("overflowing shape", "Q", func(a *vkattn.Args) { a.Q.Shape[0] = math.MaxInt })
	call("negative stride", "K", func(a *vkattn.Args) { a.K.Stride[2] = -8 })
	call("last axis not contiguous", "Q", func(a *vkattn.Args) { a.Q.Stride[3] = 2 })
	call("last axis broadcast", "V", func(a *vkattn.Args) { a.V.Stride[3] = 0 })
	call("negative offset", "V", func(a *vkattn.Args) { a.V.Offset = -1 })
	call("offset beyond the memory", "Q", func(a *vkattn.Args) { a.Q.Offset = 1 })
	call("overflowing offset", "Q", func(a *vkattn.Args) { a.Q.Offset = math.MaxInt })
	call("memory too short", "K", func(a *vkattn.Args) { a.K.Mem = host(2*2*24*8 - 1) })
	call("empty memory", "Out", func(a *vkattn.Args) { a.Out.Mem = host(0) })
	call("overflowing stride", "K", func(a *vkattn.Args) { a.K.Stride[0] = math.MaxInt })
	call("stride beyond the memory", "V", func(a *vkattn.Args) { a.V.Stride[1] = 1 << 40 })
	call("memory not aligned", "Q", func(a *vkattn.Args) {
		bytes := a.Q.Mem.(*vkattn.Host).Bytes()
		a.Q.Mem = vkattn.Bytes(append(bytes, make([]byte, 8)...)[1:])
	})
	call("half-precision Q", "Q", func(a *vkattn.Args) { a.Q.Type = vkattn.Float16 })
	call("half-precision LSE", "LSE", func(a *vkattn.Args) { a.LSE.Type = vkattn.BFloat16 })
	call("memory of another backend", "K", func(a *vkattn.Args) { a.K.Mem = &foreign{1 << 30} })
	call("output in memory of another backend", "Out", func(a *vkattn.Args) { a.Out.Mem = &foreign{1 << 30} })
	call("Out overlaps Q", "Out", func(a *vkattn.Args) { a.Out.Mem = a.Q.Mem })
	call("Out overlaps the end of V", "Out", func(a *vkattn.Args) {
		all := make([]float32, 2*2*24*8+2*4*16*8-1)
		a.V.Mem, a.Out.Mem = vkattn.Float32s(all[:2*2*24*8]), vkattn.Float32s(all[2*2*24*8-1:])
	})
	call("LSE overlaps Out", "LSE Out", func(a *vkattn.Args) { a.LSE.Mem, a.LSE.Offset = a.Out.Mem, 100 })
	call("LSE overlaps K", "LSE", func(a *vkattn.Args) { a.LSE.Mem = a.K.Mem })
	call("Out overlaps itself", "Out", func(a *vkattn.Args) { a.Out.Stride[1] = 0 })
	call("rows of Out overlap", "Out", func(a *vkattn.Args) { a.Out.Stride[2] = 4 })
	call("LSE overlaps itself", "LSE", func(a *vkattn.Args) { a.LSE.Stride[0] = 0 })

	call("extra bias", "Bias", func(a *vkattn.Args) { a.Bias = vkattn.BHSD(host(2*4*16*24), 2, 4, 16, 24) })
	call("extra mask", "Mask", func(a *vkattn.Args) {
		a.Mask = vkattn.BHSD(vkattn.Bools(make([]bool, 2*4*16*24)), 2, 4, 16, 24).As(vkattn.Bool)
	})
	call("extra sinks", "SinkLogits", func(a *vkattn.Args) { a.SinkLogits = vkattn.Vector(host(4), 4) })
	call("extra key lengths", "KeyLengths", func(a *vkattn.Args) { a.KeyLengths = []int32{1, 2} })
	call("extra prefix", "Prefix", func(a *vkattn.Args) { a.Prefix = []int32{1} })
	call("extra offset", "Offset", func(a *vkattn.Args) { a.Offset = []int{1} })
	call("extra CuSeq", "CuSeqQ", func(a *vkattn.Args) { a.CuSeqQ = []int32{0, 16} })
	call("extra blocks", "Blocks", func(a *vkattn.Args) { a.Blocks = &vkattn.BlockMask{} })
	call("QBase out of range", "QBase", func(a *vkattn.Args) { a.QBase = math.MaxInt })
	call("KBase out of range", "KBase", func(a *vkattn.Args) { a.KBase = math.MinInt })

	callWith("no bias", "Bias", vkattn.WithBias, func(a *vkattn.Args) { a.Bias = vkattn.Tensor{} })
	callWith("bias of one batch", "Bias", vkattn.WithBias, func(a *vkattn.Args) { a.Bias = a.Bias.Slice(0, 0, 1) })
	callWith("bias of too few keys", "Bias", vkattn.WithBias, func(a *vkattn.Args) { a.Bias = a.Bias.Slice(3, 0, 20) })
	callWith("bias of type bool", "Bias", vkattn.WithBias, func(a *vkattn.Args) { a.Bias.Type = vkattn.Bool })
	callWith("mask of type f32", "Mask", vkattn.WithMask, func(a *vkattn.Args) { a.Mask.Type = vkattn.Float32 })
	callWith("mask memory too short", "Mask", vkattn.WithMask, func(a *vkattn.Args) { a.Mask.Mem = vkattn.Bools(make([]bool, 3071)) })
	callWith("tree with heads", "Tree", vkattn.WithTree, func(a *vkattn.Args) {
		a.Tree = vkattn.BHSD(vkattn.Bools(make([]bool, 2*4*16*24)), 2, 4, 16, 24).As(vkattn.Bool)
	})
	callWith("slopes of too few heads", "Slopes", vkattn.WithALiBi, func(a *vkattn.Args) { a.Slopes = vkattn.Vector(host(3), 3) })
	callWith("bias of an even number of distances", "Relative", vkattn.WithRelative, func(a *vkattn.Args) { a.Relative.Shape[3] = 4 })
	callWith("bias of no distance", "Relative", vkattn.WithRelative, func(a *vkattn.Args) { a.Relative.Shape[3] = 0 })
	callWith("no bias by distance", "Relative", vkattn.WithRelative, func(a *vkattn.Args) { a.Relative = vkattn.Tensor{} })
	callWith("no sinks", "SinkLogits", vkattn.WithSinkLogits, func(a *vkattn.Args) { a.SinkLogits = vkattn.Tensor{} })
	callWith("key lengths of one sequence", "KeyLengths", vkattn.WithKeyLengths, func(a *vkattn.Args) { a.KeyLengths = []int32{4} })
	callWith("no key lengths", "KeyLengths", vkattn.WithKeyLengths, func(a *vkattn.Args) { a.KeyLengths = nil })
	callWith("negative key length", "KeyLengths", vkattn.WithKeyLengths, func(a *vkattn.Args) { a.KeyLengths[1] = -1 })
	callWith("key length beyond the keys", "KeyLengths", vkattn.WithKeyLengths, func(a *vkattn.Args) { a.KeyLengths[0] = 25 })
	callWith("no prefix", "Prefix", vkattn.WithPrefix, func(a *vkattn.Args) { a.Prefix = nil })
	callWith("too many prefixes", "Prefix", vkattn.WithPrefix, func(a *vkattn.Args) { a.Prefix = []int32{1, 2, 3} })
	list = append(list, BadInput{Name: "no offset", Args: "Offset", Op: func(a *vkattn.Attention) { a.Align = vkattn.AlignOffset }, Call: func(*vkattn.Args) {}})
	list = append(list, BadInput{Name: "too many offsets", Args: "Offset", Op: func(a *vkattn.Attention) { a.Align = vkattn.AlignOffset },
		Call: func(a *vkattn.Args) { a.Offset = []int{1, 2, 3} }})
	list = append(list, BadInput{Name: "offset out of range", Args: "Offset", Op: func(a *vkattn.Attention) { a.Align = vkattn.AlignOffset },
		Call: func(a *vkattn.Args) { a.Offset = []int{math.MinInt} }})
	globals := func(name string, g ...int32) {
		list = append(list, BadInput{Name: name, Args: "Global", Op: func(a *vkattn.Attention) {
			a.With, a.Window.Left = a.With|vkattn.WithGlobal, vkattn.Tokens(4)
		}, Call: func(a *vkattn.Args) { a.Global = g }})
	}
	globals("global tokens fall", 5, 1)
	globals("global token twice", 5, 5)

	packed("no CuSeqQ", "CuSeqQ", func(a *vkattn.Args) { a.CuSeqQ = nil })
	packed("CuSeqK of another length", "CuSeqK", func(a *vkattn.Args) { a.CuSeqK = []int32{0, 24} })
	packed("CuSeqQ does not start at 0", "CuSeqQ", func(a *vkattn.Args) { a.CuSeqQ = []int32{1, 10, 16} })
	packed("CuSeqK falls", "CuSeqK", func(a *vkattn.Args) { a.CuSeqK = []int32{0, 14, 10} })
	packed("CuSeqK beyond the tokens", "CuSeqK", func(a *vkattn.Args) { a.CuSeqK = []int32{0, 14, 25} })
	packed("CuSeqQ negative", "CuSeqQ", func(a *vkattn.Args) { a.CuSeqQ = []int32{0, -5, 16} })
	packed("CuSeqQ overflows", "CuSeqQ", func(a *vkattn.Args) { a.CuSeqQ = []int32{0, math.MaxInt32, math.MinInt32} })
	packed("too many sequences", "CuSeqQ", func(a *vkattn.Args) { a.CuSeqQ, a.CuSeqK = []int32{0, 1, 2, 3}, []int32{0, 1, 2, 3} })
	packed("packed with a batch axis", "Q", func(a *vkattn.Args) { a.Q.Shape[0] = 2 })

	block := func(name string, f func(*vkattn.BlockMask)) {
		callWith(name, "Blocks", vkattn.WithBlocks, func(a *vkattn.Args) { f(a.Blocks) })
	}
	callWith("no blocks", "Blocks", vkattn.WithBlocks, func(a *vkattn.Args) { a.Blocks = nil })
	block("block size 0", func(m *vkattn.BlockMask) { m.BlockQ = 0 })
	block("overflowing block size", func(m *vkattn.BlockMask) {
		m.BlockQ, m.RowBlocks, m.Start, m.Keys, m.Full = math.MaxInt, 0, []int32{0}, nil, nil
	})
	block("blocks of another grid", func(m *vkattn.BlockMask) { m.RowBlocks = 3 })
	block("blocks of too few keys", func(m *vkattn.BlockMask) { m.KeyBlocks = 2 })
	block("blocks of 3 heads", func(m *vkattn.BlockMask) { m.Heads = 3 })
	block("blocks of 0 batches", func(m *vkattn.BlockMask) { m.Batch = 0 })
	block("block lists fall", func(m *vkattn.BlockMask) { m.Start[1] = 9 })
	block("block list beyond the keys", func(m *vkattn.BlockMask) { m.Keys[2] = 3 })
	block("block list not ascending", func(m *vkattn.BlockMask) { m.Keys[0] = 1 })
	block("negative key block", func(m *vkattn.BlockMask) { m.Keys[0] = -1 })
	block("block flags missing", func(m *vkattn.BlockMask) { m.Full = m.Full[:5] })
	partial := func(m *vkattn.BlockMask, tile int32, words int) {
		clear(m.Full)
		m.Tile, m.Bits = make([]int32, len(m.Keys)), make([]uint32, words)
		m.Tile[0] = tile
	}
	block("block tile beyond the bits", func(m *vkattn.BlockMask) { partial(m, 1, 8) })
	block("negative block tile", func(m *vkattn.BlockMask) { partial(m, -2, 8) })
	block("block bits cut off", func(m *vkattn.BlockMask) { partial(m, 0, 7) })
	block("block tiles missing", func(m *vkattn.BlockMask) { partial(m, 0, 8); m.Tile = m.Tile[1:] })
	block("full block with a tile", func(m *vkattn.BlockMask) { partial(m, 0, 8); m.Full[0] = true })
	block("block starts missing", func(m *vkattn.BlockMask) { m.Start = m.Start[:2] })
	callWith("full block that the mask opposes", "Blocks", vkattn.WithBlocks|vkattn.WithMask, func(a *vkattn.Args) {
		a.Mask.Mem.(*vkattn.Host).Bytes()[a.Mask.Index(1, 3, 15, 23)] = 0
	})
	callWith("full block that the tree opposes", "Blocks", vkattn.WithBlocks|vkattn.WithTree, func(a *vkattn.Args) {
		a.Tree.Mem.(*vkattn.Host).Bytes()[a.Tree.Index(1, 0, 15, 23)] = 0
	})
	// One key of one number: as large as a tensor of one number per head, and still no such thing.
	single := func(op *vkattn.Attention) { op.HeadsK, op.SeqQ, op.SeqK, op.HeadDim = 4, 1, 1, 1 }
	singleArgs := func(a *vkattn.Args) {
		for _, t := range []*vkattn.Tensor{&a.Q, &a.K, &a.V, &a.Out, &a.LSE} {
			*t = vkattn.BHSD(host(8), 2, 4, 1, 1)
		}
	}
	list = append(list, BadInput{Name: "one key, batch of K differs", Args: "K", Op: single,
		Call: func(a *vkattn.Args) { singleArgs(a); a.K = a.K.Slice(0, 0, 1) }})
	list = append(list, BadInput{Name: "one key, batch of LSE differs", Args: "LSE", Op: single,
		Call: func(a *vkattn.Args) { singleArgs(a); a.LSE = a.LSE.Slice(0, 0, 1) }})
	return list
}

// BadInputTable is every wrong call.
func BadInputTable() []BadInput { return append(badOps(), badCalls()...) }

// BadInputs makes sure that b refuses every wrong call with a typed error that names the argument, before
// it writes anything, and that it works afterwards.
func BadInputs(t *testing.T, b vkattn.Backend) {
	for _, bad := range BadInputTable() {
		t.Run(strings.ReplaceAll(bad.Name, " ", "-"), func(t *testing.T) { refuses(t, b, bad) })
	}
	t.Run("objects", func(t *testing.T) { badObjects(t, b) })
	t.Run("tensors", func(t *testing.T) { badTensors(t, b) })
	t.Run("works-afterwards", func(t *testing.T) {
		op, args := goodCall(0)
		plan, err := b.Plan(t.Context(), op)
		if err != nil {
			t.Fatal(err)
		}
		defer plan.Close()
		if _, err := plan.Run(t.Context(), args); err != nil {
			t.Fatal(err)
		}
	})
}

func refuses(t *testing.T, b vkattn.Backend, bad BadInput) {
	ctx := t.Context()
	op, _ := goodCall(0)
	if bad.Op != nil {
		bad.Op(&op)
	}
	if bad.Call == nil {
		wantError(t, "Supports", b.Supports(op), bad.Args)
		plan, err := b.Plan(ctx, op)
		if wantError(t, "Plan", err, bad.Args); plan != nil && err == nil {
			plan.Close()
		}
		return
	}
	plan, err := b.Plan(ctx, op)
	if errors.Is(err, vkattn.ErrUnsupported) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatalf("Plan of the good op: %v", err)
	}
	defer plan.Close()
	_, args := goodCall(op.With)
	bad.Call(&args)
	outputs := [][]float32{memory(args.Out), memory(args.LSE)}
	var before [][]float32
	for _, o := range outputs {
		for i := range o {
			o[i] = outputFill(zeroPattern, 0, i)
		}
		before = append(before, slices.Clone(o))
	}
	batch := b.NewBatch()
	wantError(t, "Record", plan.Record(batch, args), bad.Args)
	if batch.Len() != 0 {
		t.Errorf("Record: the batch holds %d calls after a refused one", batch.Len())
	}
	_, err = plan.Run(ctx, args)
	wantError(t, "Run", err, bad.Args)
	for n, o := range outputs {
		for i := range o {
			if math.Float32bits(o[i]) != math.Float32bits(before[n][i]) {
				t.Fatalf("a refused call wrote to its outputs")
			}
		}
	}
}

func memory(t vkattn.Tensor) []float32 {
	if h, ok := t.Mem.(*vkattn.Host); ok {
		return h.Float32s()
	}
	return nil
}

// wantError checks that err is a typed error that names one of args.
func wantError(t *testing.T, what string, err error, args string) {
	t.Helper()
	var shape *vkattn.ShapeError
	var arg *vkattn.ArgError
	named := ""
	switch {
	case err == nil:
		t.Errorf("%s: no error, want one about %s", what, args)
		return
	case errors.As(err, &shape):
		named = shape.Arg
	case errors.As(err, &arg):
		named = arg.Arg
	default:
		t.Errorf("%s: %T %q, want *ShapeError or *ArgError", what, err, err)
		return
	}
	if !errors.Is(err, vkattn.ErrInvalid) {
		t.Errorf("%s: %q is no ErrInvalid", what, err)
	}
	if !slices.Contains(strings.Fields(args), named) {
		t.Errorf("%s: %q names %s, want %s", what, err, named, args)
	}
	if !strings.Contains(err.Error(), named) {
		t.Errorf("%s: %q does not name %s", what, err, named)
	}
}

// stranger is a batch of no backend.
type stranger struct{}

func (stranger) Len() int                                           { return 0 }
func (stranger) Submit(ctx context.Context) (vkattn.Pending, error) { return nil, ctx.Err() }

// badObjects uses ops, batches, plans and contexts wrongly.
func badObjects(t *testing.T, b vkattn.Backend) {
	op, args := goodCall(0)
	wantError(t, "Supports(nil)", b.Supports(nil), "Op")
	if _, err := b.Plan(t.Context(), nil); true {
		wantError(t, "Plan(nil)", err, "Op")
	}
	grad := vkattn.AttentionGrad{Forward: op}
	if err := b.Supports(grad); !errors.Is(err, vkattn.ErrUnsupported) {
		t.Errorf("Supports(AttentionGrad): %v, want ErrUnsupported", err)
	}
	if _, err := b.Plan(t.Context(), grad); !errors.Is(err, vkattn.ErrUnsupported) {
		t.Errorf("Plan(AttentionGrad): %v, want ErrUnsupported", err)
	}
	bad := op
	bad.HeadDim = 0
	wantError(t, "Supports(AttentionGrad)", b.Supports(vkattn.AttentionGrad{Forward: bad}), "HeadDim")

	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.Plan(ended, op); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("Plan after the context ended: %v", err)
	}
	plan, err := b.Plan(t.Context(), op)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := plan.Run(ended, args); !errors.Is(err, context.Canceled) {
		t.Errorf("Run after the context ended: %v, want context.Canceled", err)
	}
	wantError(t, "Record into a batch of no backend", plan.Record(stranger{}, args), "Batch")
	wantError(t, "Record into no batch", plan.Record(nil, args), "Batch")

	batch := b.NewBatch()
	if err := plan.Record(batch, args); err != nil || batch.Len() != 1 {
		t.Fatalf("Record: %v, %d calls", err, batch.Len())
	}
	pending, err := batch.Submit(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pending.Wait(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := batch.Submit(t.Context()); !errors.Is(err, vkattn.ErrInvalid) && !errors.Is(err, vkattn.ErrClosed) {
		t.Errorf("second Submit: %v, want ErrInvalid or ErrClosed", err)
	}
	if err := plan.Record(batch, args); !errors.Is(err, vkattn.ErrInvalid) && !errors.Is(err, vkattn.ErrClosed) {
		t.Errorf("Record into a submitted batch: %v, want ErrInvalid or ErrClosed", err)
	}

	for range 2 {
		if err := plan.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	if _, err := plan.Run(t.Context(), args); !errors.Is(err, vkattn.ErrClosed) {
		t.Errorf("Run of a closed plan: %v, want ErrClosed", err)
	}
	if err := plan.Record(b.NewBatch(), args); !errors.Is(err, vkattn.ErrClosed) {
		t.Errorf("Record of a closed plan: %v, want ErrClosed", err)
	}
}

// badTensors allocates and copies wrongly.
func badTensors(t *testing.T, b vkattn.Backend) {
	for _, shape := range [][4]int{{-1, 1, 1, 1}, {1, 1, 1, math.MinInt}} {
		if _, err := b.NewTensor(vkattn.Float32, shape); !errors.Is(err, vkattn.ErrInvalid) {
			t.Errorf("NewTensor%v: %v, want ErrInvalid", shape, err)
		}
	}
	for _, shape := range [][4]int{{1 << 30, 1 << 30, 1 << 30, 1}, {math.MaxInt, 2, 1, 1}, {1, 1 << 31, 1 << 31, 4}} {
		if _, err := b.NewTensor(vkattn.Float32, shape); !errors.Is(err, vkattn.ErrInvalid) && !errors.Is(err, vkattn.ErrOutOfMemory) {
			t.Errorf("NewTensor%v: %v, want ErrInvalid or ErrOutOfMemory", shape, err)
		}
	}
	if _, err := b.NewTensor(vkattn.Type(77), [4]int{1, 1, 1, 1}); !errors.Is(err, vkattn.ErrInvalid) {
		t.Errorf("NewTensor of an unknown type: %v, want ErrInvalid", err)
	}
	host := vkattn.BHSD(vkattn.Float32s(make([]float32, 24)), 1, 2, 3, 4)
	own, err := b.NewTensor(vkattn.Float32, host.Shape)
	if err != nil {
		t.Fatal(err)
	}
	defer own.Mem.Close()
	strange := host
	strange.Mem = &foreign{96}
	short := host
	short.Mem = vkattn.Float32s(make([]float32, 23))
	negative := host
	negative.Stride[1] = -12
	for _, c := range []struct {
		name     string
		dst, src vkattn.Tensor
	}{
		{"shapes differ", own, host.Slice(2, 0, 2)}, {"types differ", own, host.As(vkattn.Float16)}, {"no source", own, vkattn.Tensor{}},
		{"no destination", vkattn.Tensor{}, host}, {"memory of another backend", own, strange}, {"to memory of another backend", strange, own},
		{"memory too short", short, own}, {"source too short", own, short}, {"negative stride", own, negative},
	} {
		if err := b.Copy(t.Context(), c.dst, c.src); !errors.Is(err, vkattn.ErrInvalid) {
			t.Errorf("Copy, %s: %v, want ErrInvalid", c.name, err)
		}
	}
	if err := b.Copy(t.Context(), own, host); err != nil {
		t.Errorf("good Copy: %v", err)
	}
}

// Closed closes b and makes sure that all of its objects say so, and that closing twice is no error.
func Closed(t *testing.T, b vkattn.Backend) {
	op, args := goodCall(0)
	plan, err := b.Plan(t.Context(), op)
	if err != nil {
		t.Fatal(err)
	}
	batch := b.NewBatch()
	if err := plan.Record(batch, args); err != nil {
		t.Fatal(err)
	}
	tensor, err := b.NewTensor(vkattn.Float32, args.Q.Shape)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Copy(t.Context(), tensor, args.Q); err != nil {
		t.Fatal(err)
	}
	if err := tensor.Mem.Close(); err != nil {
		t.Errorf("Close of a tensor: %v", err)
	}
	for range 2 {
		if err := b.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	want := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, vkattn.ErrClosed) {
			t.Errorf("%s after Close: %v, want ErrClosed", what, err)
		}
	}
	_, err = b.Plan(t.Context(), op)
	want("Plan", err)
	_, err = plan.Run(t.Context(), args)
	want("Run", err)
	want("Record", plan.Record(b.NewBatch(), args))
	_, err = batch.Submit(t.Context())
	want("Submit", err)
	_, err = b.NewTensor(vkattn.Float32, args.Q.Shape)
	want("NewTensor", err)
	want("Copy", b.Copy(t.Context(), args.Out, args.Q))
	if err := plan.Close(); err != nil {
		t.Errorf("Close of a plan after its backend: %v", err)
	}
}
