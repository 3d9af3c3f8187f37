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
