//go:build !amd64

package cpu

// peakRead reads x, whose length is a multiple of readUnit.
func peakRead(x []float32) float32 { return readGo(x) }

// peakFMA does n steps of perStep independent multiply-adds. sum is of their results.
func peakFMA(n int) (sum float32, perStep int) { return multiplyAddsGo(n, 0.5), 8 }
