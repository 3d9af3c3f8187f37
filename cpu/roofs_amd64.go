package cpu

// peakRead reads x, whose length is a multiple of readUnit.
func peakRead(x []float32) float32 {
	if !hasAVX2 || len(x) == 0 {
		return readGo(x)
	}
	readFloats(&x[0], len(x))
	return 0
}

// peakFMA does n steps, a multiple of 4, of perStep independent multiply-adds. sum is of some of the results.
func peakFMA(n int) (sum float32, perStep int) {
	if !hasAVX2 {
		return multiplyAddsGo(n, 0.5), 8
	}
	return multiplyAdds(n, 0.5), 96
}
