package bench

import (
	"github.com/vkattn/vkattn"
)

// Roof is the fastest that a problem can go on a device by one of its measured roofs, and how near a kernel came.
type Roof struct {
	// Binds is "compute", "matrix" or "bandwidth": what the device would run out of first.
	Binds string `json:"binds"`
	// TFLOPS is min(compute roof, bandwidth roof * Intensity).
	TFLOPS    float64 `json:"tflops"`
	Intensity float64 `json:"intensity"` // operations per byte: exact FLOPs over every input and output once
	// Percent of TFLOPS that the median reached. Above 100 means that the inputs came out of a cache.
	Percent float64 `json:"percent"`
}

// findRoof is nil when the device's roofs are unknown.
func (r *Record) findRoof() *Roof {
	w := r.Report.Work
	if r.Roofs == nil || w.FLOPs <= 0 || w.Bytes <= 0 {
		return nil
	}
	roof := Roof{Intensity: w.FLOPs / float64(w.Bytes)}
	roof.TFLOPS, roof.Binds = Ceiling(r.Roofs, r.matrix(), roof.Intensity)
	if roof.TFLOPS <= 0 {
		return nil
	}
	roof.Percent = 100 * r.TFLOPS / roof.TFLOPS
	return &roof
}

// Ceiling is the roof at an intensity in operations per byte. matrix is the type of the matrix units that the kernel
// uses, "" for none. An unmeasured roof does not bind; 0 says that none was measured.
func Ceiling(roofs *vkattn.Roofs, matrix string, intensity float64) (tflops float64, binds string) {
	if tflops, binds = roofs.FMATFLOPs, "compute"; matrix != "" {
		tflops, binds = roofs.Matrix[matrix], "matrix"
	}
	if bandwidth := Bandwidth(roofs) * intensity / 1e3; bandwidth > 0 && (tflops <= 0 || bandwidth < tflops) {
		return bandwidth, "bandwidth"
	}
	return tflops, binds
}

// Bandwidth is in GB/s: attention reads far more than it writes, so reading counts where it was measured.
func Bandwidth(roofs *vkattn.Roofs) float64 {
	if roofs.ReadGBps > 0 {
		return roofs.ReadGBps
	}
	return roofs.CopyGBps
}

// matrix is the type that the kernel's matrix units multiply, or "".
func (r *Record) matrix() string {
	if o := r.Op.Shape(); o != nil && vkattn.MatrixUnits(r.Report.Path) {
		return o.TypeQ.String()
	}
	return ""
}
