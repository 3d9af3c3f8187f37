package vkattn

import (
	"errors"
	"testing"
)

// Most wrong calls are in the table of internal/attntest, which runs on every backend. These are about
// what Check returns.

func smallCall() (Attention, Args) {
	op := Attention{Batch: 3, HeadsQ: 2, HeadsK: 1, SeqQ: 5, SeqK: 7, HeadDim: 4}
	tensor := func(b, h, s, d int) Tensor { return BHSD(Float32s(make([]float32, b*h*s*d)), b, h, s, d) }
	return op, Args{Q: tensor(3, 2, 5, 4), K: tensor(3, 1, 7, 4), V: tensor(3, 1, 7, 4), Out: tensor(3, 2, 5, 4)}
}

func TestCheckSequences(t *testing.T) {
	op, args := smallCall()
	op.With, op.Causal = WithKeyLengths, true
	args.KeyLengths = []int32{7, 0, 3}
	args.QBase, args.KBase = 100, 90
	seqs, err := op.Check(&args)
	if err != nil || len(seqs) != 3 {
		t.Fatal(err, len(seqs))
	}
	for b, s := range seqs {
		off := int(args.KeyLengths[b]) - 5
		if s.Index != b || s.Batch != b || s.Sq != 5 || s.Sk != int(args.KeyLengths[b]) || s.Off != off || s.Rel != off+10 || s.KBase != 90 || !s.Causal {
			t.Errorf("sequence %d: %+v", b, s)
		}
	}

	op, args = smallCall()
	op.Align, op.Chunk = AlignOffset, 4
	args.Offset = []int{5, -6, 7}
	if seqs, err = op.Check(&args); err != nil {
		t.Fatal(err)
	}
	for b, want := range args.Offset {
		if seqs[b].Off != want || seqs[b].Chunk != 4 {
			t.Errorf("sequence %d: %+v", b, seqs[b])
		}
	}
	args.Offset = []int{9}
	if seqs, err = op.Check(&args); err != nil || seqs[2].Off != 9 {
		t.Errorf("one offset for all: %+v, %v", seqs, err)
	}
}

func TestCheckPacked(t *testing.T) {
	tensor := func(t, h, d int) Tensor { return THD(Float32s(make([]float32, t*h*d)), t, h, d) }
	op := Attention{Batch: 4, HeadsQ: 2, SeqQ: 6, SeqK: 9, Packed: true, TotalQ: 20, TotalK: 20, HeadDim: 4}
	args := Args{Q: tensor(11, 2, 4), K: tensor(14, 2, 4), V: tensor(14, 2, 4), Out: tensor(11, 2, 4),
		CuSeqQ: []int32{0, 4, 4, 10}, CuSeqK: []int32{0, 0, 9, 13}}
	seqs, err := op.Check(&args)
	if err != nil {
		t.Fatal(err)
	}
	for b, want := range []Sequence{{Sq: 4, Sk: 0}, {Q0: 4, Sq: 0, Sk: 9}, {Q0: 4, K0: 9, Sq: 6, Sk: 4}} {
		s := seqs[b]
		if s.Index != b || s.Batch != 0 || s.Q0 != want.Q0 || s.K0 != want.K0 || s.Sq != want.Sq || s.Sk != want.Sk || s.Off != want.Sk-want.Sq {
			t.Errorf("sequence %d: %+v", b, s)
		}
	}
	args.CuSeqQ, args.CuSeqK = []int32{0}, []int32{0}
	if seqs, err = op.Check(&args); err != nil || len(seqs) != 0 {
		t.Errorf("no sequences: %v, %v", seqs, err)
	}
}

// TestCheckDoesNotBroadcast: a per-head vector may have a batch of 1, nothing else may, whatever its shape.
func TestCheckDoesNotBroadcast(t *testing.T) {
	op := Attention{Batch: 3, HeadsQ: 2, SeqQ: 1, SeqK: 1, HeadDim: 1, With: WithLSE | WithBias | WithSinkLogits}
	tensor := func(b int) Tensor { return BHSD(Float32s(make([]float32, 2*b)), b, 2, 1, 1) }
	good := func() Args {
		return Args{Q: tensor(3), K: tensor(3), V: tensor(3), Out: tensor(3), LSE: tensor(3), Bias: tensor(3), SinkLogits: tensor(1)}
	}
	args := good()
	if _, err := op.Check(&args); err != nil {
		t.Fatal(err)
	}
	args.SinkLogits = tensor(3)
	if _, err := op.Check(&args); err != nil {
		t.Errorf("sink logits of each sequence: %v", err)
	}
	for name, edit := range map[string]func(*Args){
		"K": func(a *Args) { a.K = tensor(1) }, "V": func(a *Args) { a.V = tensor(1) }, "Out": func(a *Args) { a.Out = tensor(1) },
		"LSE": func(a *Args) { a.LSE = tensor(1) }, "Bias": func(a *Args) { a.Bias = tensor(1) }, "SinkLogits": func(a *Args) { a.SinkLogits = tensor(2) },
	} {
		args := good()
		edit(&args)
		var shape *ShapeError
		if _, err := op.Check(&args); !errors.As(err, &shape) || shape.Arg != name || shape.Axis != "batch" {
			t.Errorf("%s of batch 1: %v", name, err)
		}
	}
}

// TestCheckSharing: inputs may share memory, outputs may stand side by side in one.
func TestCheckSharing(t *testing.T) {
	op, args := smallCall()
	args.V = args.K
	args.Q.Mem = Float32s(make([]float32, 300))
	args.K.Mem, args.V.Mem = args.Q.Mem, args.Q.Mem
	if _, err := op.Check(&args); err != nil {
		t.Errorf("inputs in one memory: %v", err)
	}
	op.With = WithLSE
	all := make([]float32, 120+30)
	args.Out.Mem = Float32s(all[:120])
	args.LSE = BHSD(Float32s(all), 3, 2, 5, 1)
	args.LSE.Offset = 120
	if _, err := op.Check(&args); err != nil {
		t.Errorf("outputs side by side: %v", err)
	}
	args.LSE.Offset = 119
	var arg *ArgError
	if _, err := op.Check(&args); !errors.As(err, &arg) || arg.Arg != "LSE" {
		t.Errorf("outputs that overlap: %v", err)
	}
}

// TestCheckDescale: the shapes of factors, and what they may not be.
func TestCheckDescale(t *testing.T) {
	call := func() (Attention, Args) {
		op := Attention{Batch: 2, HeadsQ: 4, HeadsK: 2, SeqQ: 9, SeqK: 30, HeadDim: 8, TypeQ: F8E4M3, TypeK: F8E5M2, TypeV: F8E4M3, With: WithDescaleK}
		codes := func(h, s int) Tensor { return BHSD(Bytes(make([]byte, 2*h*s*8)), 2, h, s, 8) }
		return op, Args{Q: codes(4, 5).As(F8E4M3), K: codes(2, 21).As(F8E5M2), V: codes(2, 21).As(F8E4M3),
			Out: BHSD(Float32s(make([]float32, 2*4*5*8)), 2, 4, 5, 8), DescaleK: factorsOf(2, 2, 1)}
	}
	for name, c := range map[string]struct {
		edit func(*Attention, *Args)
		arg  string // "" is right
	}{
		"per head":              {func(*Attention, *Args) {}, ""},
		"per tensor":            {func(_ *Attention, a *Args) { a.DescaleK = factorsOf(1, 1, 1) }, ""},
		"per block of the call": {func(op *Attention, a *Args) { op.DescaleBlock, a.DescaleK = 10, factorsOf(1, 2, 3) }, ""},
		"one block":             {func(op *Attention, a *Args) { op.DescaleBlock, a.DescaleK = 100, factorsOf(2, 2, 1) }, ""},
		"of every tensor": {func(op *Attention, a *Args) {
			op.With |= WithDescaleQ | WithDescaleV
			a.DescaleQ, a.DescaleV = factorsOf(2, 4, 1), factorsOf(2, 1, 1)
		}, ""},
		"missing":              {func(_ *Attention, a *Args) { a.DescaleK = Tensor{} }, "DescaleK"},
		"not named":            {func(_ *Attention, a *Args) { a.DescaleV = factorsOf(1, 1, 1) }, "DescaleV"},
		"too many heads":       {func(_ *Attention, a *Args) { a.DescaleK = factorsOf(2, 4, 1) }, "DescaleK"},
		"too few blocks":       {func(op *Attention, a *Args) { op.DescaleBlock, a.DescaleK = 10, factorsOf(2, 2, 2) }, "DescaleK"},
		"blocks of a whole":    {func(_ *Attention, a *Args) { a.DescaleK = factorsOf(2, 2, 3) }, "DescaleK"},
		"of another type":      {func(_ *Attention, a *Args) { a.DescaleK.Type = Float16 }, "DescaleK"},
		"beyond the memory":    {func(_ *Attention, a *Args) { a.DescaleK.Offset = 1 }, "DescaleK"},
		"in the output":        {func(_ *Attention, a *Args) { a.DescaleK.Mem = a.Out.Mem }, "Out"},
		"of keys in q8_0":      {func(op *Attention, _ *Args) { op.TypeK, op.HeadDim = Q8_0, 32 }, "TypeK"},
		"heads of 8 in blocks": {func(op *Attention, _ *Args) { op.With, op.TypeV = 0, Q4_0 }, "ValueDim"},
	} {
		op, args := call()
		c.edit(&op, &args)
		_, err := op.Check(&args)
		var shape *ShapeError
		var arg *ArgError
		got := ""
		if errors.As(err, &shape) {
			got = shape.Arg
		} else if errors.As(err, &arg) {
			got = arg.Arg
		}
		if got != c.arg || (err == nil) != (c.arg == "") {
			t.Errorf("%s: %v, want an error about %q", name, err, c.arg)
		}
	}
	linear := Linear{Batch: 1, HeadsQ: 1, SeqQ: 1, SeqK: 1, HeadDim: 1}
	if _, err := linear.Check(&Args{DescaleQ: factorsOf(1, 1, 1)}); !errors.Is(err, ErrInvalid) {
		t.Errorf("linear attention with factors: %v", err)
	}
	op, args := call()
	seqs, err := op.Check(&args)
	if err != nil {
		t.Fatal(err)
	}
	with := op.Work(&args, seqs, false).Bytes
	op.With, args.DescaleK = 0, Tensor{}
	if without := op.Work(&args, seqs, false).Bytes; with != without+16 || without != 2*(4*5*8*(1+4)+2*2*21*8) {
		t.Errorf("a call of %d bytes, with 4 factors %d", without, with)
	}
}

func factorsOf(b, h, n int) Tensor { return BHSD(Float32s(make([]float32, b*h*n)), b, h, n, 1) }
