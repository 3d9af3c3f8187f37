package vkattn

import "context"

// Roofs are the rates that a device reaches with nothing but one kind of work, measured on it. A kernel is judged
// by the share that it reaches of the one that binds it. A rate that was not measured is 0.
type Roofs struct {
	ReadGBps  float64 `json:"read_gb_s"`         // 1e9 bytes read from the device's memory per second, from more than its caches hold
	CopyGBps  float64 `json:"copy_gb_s"`         // 1e9 bytes per second of a copy within it, reads and writes counted both
	CopyBy    string  `json:"copy_by,omitempty"` // "kernel" or "command", the driver's own, by whichever was faster; "" where there is one way
	FMATFLOPs float64 `json:"fma_tflops"`        // 1e12 float32 operations per second outside matrix units, a multiply-add is two
	// Matrix is the rate of the matrix units in 1e12 operations per second, by type of the factors ("f16",
	// "bf16"); nil where there are none.
	Matrix map[string]float64 `json:"matrix_tflops,omitempty"`
}

// RoofMeasurer is a Backend that can measure its roofs.
type RoofMeasurer interface {
	// Roofs measures, which takes around a second and the whole device. It returns ctx's error when ctx ends first.
	Roofs(ctx context.Context) (Roofs, error)
}
