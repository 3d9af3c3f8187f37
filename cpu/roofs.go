package cpu

import (
	"bufio"
	"context"
	"math"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/vkattn/vkattn"
)

// Roofs measures what the backend's workers reach together with nothing but reads, copies, or multiply-adds;
// see vkattn.RoofMeasurer. It waits for what was submitted before, and holds two buffers meanwhile, of 128 MiB to
// 1 GiB each, less where memory is short. Reads and multiply-adds are AVX2 loops where the CPU has it. Elsewhere
// they are plain Go, which uses no vectors: what that reaches may be well below what the CPU can do.
func (b *Backend) Roofs(ctx context.Context) (vkattn.Roofs, error) {
	t, err := b.enqueue()
	if err != nil {
		return vkattn.Roofs{}, err
	}
	select {
	case <-t.ready:
		defer t.end()
	case <-ctx.Done():
		go func() { // those behind in the queue must still not overtake those before
			<-t.ready
			t.end()
		}()
		return vkattn.Roofs{}, ctx.Err()
	}
	return measureRoofs(ctx, len(b.workers))
}

func measureRoofs(ctx context.Context, workers int) (roofs vkattn.Roofs, err error) {
	n := roofBytes(workers) / 4 / workers / roofPieces &^ (readUnit - 1) // numbers in a piece
	source, target := make([][]float32, workers), make([][]float32, workers)
	for i := range workers {
		source[i], target[i] = make([]float32, n*roofPieces), make([]float32, n*roofPieces)
	}
	piece := func(buffer []float32, round int) []float32 { return buffer[round%roofPieces*n:][:n] }
	measure := func(rounds int, step func(worker, round int)) (best float64) {
		if err == nil {
			best, err = shortest(ctx, rounds, workers, step)
		}
		return best
	}
	_ = measure(roofPieces, func(i, round int) {
		touch(piece(source[i], round))
		touch(piece(target[i], round))
	})
	read := measure(roofRounds, func(i, round int) {
		peakRead(piece(source[i], round))
		peakRead(piece(target[i], round))
	})
	copied := measure(roofRounds, func(i, round int) { copy(piece(target[i], round), piece(source[i], round)) })
	const steps = 1 << 19
	perStep := make([]int, workers)
	fma := measure(roofRounds, func(i, round int) { target[i][0], perStep[i] = peakFMA(steps) })
	if err != nil {
		return vkattn.Roofs{}, err
	}
	bytes := 2 * float64(4*n*workers) // of two buffers, in a round
	return vkattn.Roofs{
		ReadGBps:  bytes / read / 1e9,
		CopyGBps:  bytes / copied / 1e9,
		FMATFLOPs: 2 * steps * float64(perStep[0]*workers) / fma / 1e12,
	}, nil
}

// Short rounds have a chance to meet no other work on the machine.
const (
	roofPieces = 4 // of the buffers; one of them in a round, the next in the next
	roofRounds = 100
	roofTime   = 200 * time.Millisecond // of all rounds
)

// shortest is the time of the shortest round, in seconds. A round is one call of step for each worker, side by
// side. There are up to so many rounds, less when they take longer than roofTime, but one for each piece.
func shortest(ctx context.Context, rounds, workers int, step func(worker, round int)) (float64, error) {
	best, began := math.Inf(1), time.Now()
	for n := 0; n < rounds && (n < roofPieces || time.Since(began) < roofTime); n++ {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		start := time.Now()
		var group sync.WaitGroup
		for i := range workers {
			group.Go(func() { step(i, n) })
		}
		group.Wait()
		best = min(best, time.Since(start).Seconds())
	}
	return best, nil
}

// roofBytes is the size of each of the two buffers: 16 MiB for each worker are more than its share of the
// last-level cache.
func roofBytes(workers int) int {
	size := min(max(128<<20, workers*16<<20), 1<<30)
	if free := freeMemory(); free > 0 {
		size = min(size, free/8)
	}
	return max(size, workers*1<<20)
}

// freeMemory is how many bytes may be allocated, as Linux tells it, or 0 where that is unknown.
func freeMemory() (free int) {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if size, ok := strings.CutPrefix(lines.Text(), "MemAvailable:"); ok {
			free, _ = strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(size, "kB")))
			free *= 1024
		}
	}
	if limit, err := os.ReadFile("/sys/fs/cgroup/memory.max"); err == nil { // of a container
		if n, err := strconv.Atoi(strings.TrimSpace(string(limit))); err == nil { // or "max"
			free = min(free, n)
		}
	}
	return free
}

// touch writes to each page of x, since untouched pages may all be the same page of zeros.
func touch(x []float32) {
	const page = 4096
	for i := 0; i < len(x); i += page / 4 {
		x[i] = 1
	}
}

// readUnit is how many numbers peakRead takes at once.
const readUnit = 64

// readGo reads x, whose length is a multiple of 8, and adds it up.
func readGo(x []float32) float32 {
	var a, b, c, d, e, f, g, h float32
	for ; len(x) >= 8; x = x[8:] {
		a, b, c, d = a+x[0], b+x[1], c+x[2], d+x[3]
		e, f, g, h = e+x[4], f+x[5], g+x[6], h+x[7]
	}
	return a + b + c + d + e + f + g + h
}

// multiplyAddsGo takes 8 numbers, zero at first, times x plus x, n times over, and returns their sum. Whether
// the compiler fuses each pair of operations depends on the architecture.
func multiplyAddsGo(n int, x float32) float32 {
	var a, b, c, d, e, f, g, h float32
	for range n {
		a, b, c, d = a*x+x, b*x+x, c*x+x, d*x+x
		e, f, g, h = e*x+x, f*x+x, g*x+x, h*x+x
	}
	return a + b + c + d + e + f + g + h
}
