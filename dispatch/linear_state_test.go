package dispatch_test

import (
	"context"
	"errors"
	"testing"

	"github.com/vkattn/vkattn"
)

// TestLinearState: a prompt and single tokens, appended, are the whole; forks go their own ways; what was saved goes on.
func TestLinearState(t *testing.T) {
	b := open(t, lowered(nil))
	for _, op := range []vkattn.Linear{
		{Batch: 2, HeadsQ: 4, HeadsK: 2, SeqQ: 40, HeadDim: 40, Causal: true, Norm: vkattn.NormSum, Map: vkattn.MapELU, Decay: vkattn.DecayToken},
		{Batch: 1, HeadsQ: 2, SeqQ: 40, HeadDim: 40, Causal: true, Map: vkattn.MapFavor, Features: 48, Norm: vkattn.NormSum},
		{Batch: 1, HeadsQ: 2, SeqQ: 40, HeadDim: 40, Causal: true, Rule: vkattn.RuleDelta},
	} {
		args := linearArgs(op, nil, 9, 0.1, false)
		run(t, b, op, args)
		want := linearResults(&args)
		part := func(lo, hi int) vkattn.Args {
			a := args
			for _, x := range []*vkattn.Tensor{&a.Q, &a.K, &a.V, &a.Out, &a.Decay, &a.Beta} {
				if x.Given() && x.Shape[2] > 1 {
					*x = x.Slice(2, lo, hi)
				}
			}
			return a
		}
		s, err := b.NewLinearState(t.Context(), op, op.Batch)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		blankLinear(&args)
		at := 0
		for _, n := range []int{0, 17, 1, 1, 1} {
			if _, err := s.Append(t.Context(), part(at, at+n)); err != nil {
				t.Fatal(err)
			}
			at += n
		}
		fork, err := s.Fork(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer fork.Close()
		saved, err := s.Save(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		s.Close()
		if _, err := s.Append(t.Context(), part(at, 40)); !errors.Is(err, vkattn.ErrClosed) {
			t.Errorf("append after close: %v", err)
		}
		loaded, err := b.LoadLinearState(t.Context(), op, saved)
		if err != nil {
			t.Fatal(err)
		}
		defer loaded.Close()
		for name, x := range map[string]interface {
			Append(context.Context, vkattn.Args) (vkattn.Report, error)
			Tokens() int64
		}{"fork": fork, "loaded": loaded} {
			if x.Tokens() != int64(at) {
				t.Errorf("%s has %d tokens, want %d", name, x.Tokens(), at)
			}
			if _, err := x.Append(t.Context(), part(at, 40)); err != nil {
				t.Fatal(err)
			}
			if err := sameBits(linearResults(&args), want); err != nil {
				t.Errorf("%v: %s: %v", op, name, err)
			}
		}
		// Nothing that was changed on the way is taken.
		for i := range saved {
			if i%97 != 0 && i > 40 {
				continue
			}
			bad := append([]byte(nil), saved...)
			bad[i] ^= 0x10
			if _, err := b.LoadLinearState(t.Context(), op, bad); !errors.Is(err, vkattn.ErrInvalid) {
				t.Fatalf("byte %d changed: %v", i, err)
			}
		}
		for _, n := range []int{0, 7, 15, 23, len(saved) - 1} {
			if _, err := b.LoadLinearState(t.Context(), op, saved[:n]); !errors.Is(err, vkattn.ErrInvalid) {
				t.Errorf("%d bytes: %v", n, err)
			}
		}
		other := op
		other.Scale = vkattn.Num(3)
		if _, err := b.LoadLinearState(t.Context(), other, saved); !errors.Is(err, vkattn.ErrInvalid) {
			t.Errorf("another op: %v", err)
		}
	}
}

// TestLinearStateBroken: states that an append has left undefined are not used.
func TestLinearStateBroken(t *testing.T) {
	b := open(t, lowered(nil))
	op := vkattn.Linear{Batch: 1, HeadsQ: 1, SeqQ: 8, HeadDim: 40, Causal: true}
	s, err := b.NewLinearState(t.Context(), op, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	args := linearArgs(op, nil, 1, 0, false)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Append(ended, args); !errors.Is(err, context.Canceled) {
		t.Fatalf("append with a context that has ended: %v", err)
	}
	if _, err := s.Append(t.Context(), args); !errors.Is(err, context.Canceled) {
		t.Errorf("append to undefined states: %v", err)
	}
	if _, err := b.NewLinearState(t.Context(), vkattn.Linear{HeadsQ: 1, SeqQ: 8, HeadDim: 40}, 1); !errors.Is(err, vkattn.ErrInvalid) {
		t.Errorf("not causal: %v", err)
	}
	if _, err := b.NewLinearState(t.Context(), op, -1); !errors.Is(err, vkattn.ErrInvalid) {
		t.Errorf("a batch of -1: %v", err)
	}
}
