package cpu

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/vkattn/vkattn"
)

var _ vkattn.RoofMeasurer = (*Backend)(nil)

func TestRoofs(t *testing.T) {
	b := New(Config{Workers: 2})
	defer b.Close()
	roofs, err := b.Roofs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", roofs)
	if !(roofs.ReadGBps > 0 && roofs.CopyGBps > 0 && roofs.FMATFLOPs > 0) || roofs.Matrix != nil {
		t.Errorf("roofs %+v", roofs)
	}
}

func TestRoofsCancel(t *testing.T) {
	b := New(Config{Workers: 2})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.Roofs(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("a context that has ended gives %v", err)
	}
	ctx, cancel = context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if roofs, err := b.Roofs(ctx); !errors.Is(err, context.DeadlineExceeded) || roofs.ReadGBps != 0 {
		t.Errorf("a context that ends gives %+v, %v", roofs, err)
	}
	b.Close() // waits for its turn
	if _, err := b.Roofs(t.Context()); !errors.Is(err, vkattn.ErrClosed) {
		t.Errorf("a closed backend gives %v", err)
	}
}

// TestRoofLoops checks that the loops do what is counted.
func TestRoofLoops(t *testing.T) {
	x := make([]float32, readUnit)
	for i := range x {
		x[i] = float32(i)
	}
	if got := readGo(x); got != 63*64/2 {
		t.Errorf("readGo adds %v up to %v", x, got)
	}
	peakRead(x)
	const after2 = 0.75 // 0, 1/2, 3/4, 7/8, 15/16
	if got := multiplyAddsGo(2, 0.5); got != 8*after2 {
		t.Errorf("multiplyAddsGo gives %v", got)
	}
	if sum, n := peakFMA(4); sum != 8*0.9375 && sum != 12*0.9375 {
		t.Errorf("peakFMA gives %v, %d per step", sum, n)
	}
}
