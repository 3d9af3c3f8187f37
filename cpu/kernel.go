package cpu

import (
	"github.com/vkattn/vkattn"
	"gonum.org/v1/gonum/blas/blas32"
)

// kernelName is what reports call the algorithm, whatever its inner loops run on.
const kernelName = "flash-cpu"

// Key tiles never cross a multiple of partKeys, where the softmax state is merged into a running one: that
// bounds rounding over long rows, and lets several workers share one row with the same bits.
const partKeys = 4096

// blockRows is the granularity of row ranges. A kernel may compute and throw away rows up to a multiple.
const blockRows = 6

// Panels are packed columns, so many beside each other; rows that are packed are often a multiple of vectorLen long.
const (
	panelCols = 16
	vectorLen = 8
)

// kernel is the inner loops over the tiles of one unit: all that is worth writing in assembly. Each worker
// has its own. Matrices are row-major float32. Row ranges begin at a multiple of blockRows and end at one, or at
// the last row.
type kernel interface {
	// name says what the loops run on.
	name() string
	// tile is how many rows and keys a tile takes at most; keys divide partKeys.
	tile() (rows, keys int)
	// scratchBytes is the memory that the kernel holds for heads of d and dv columns.
	scratchBytes(d, dv int) int64
	// queries takes the rows of a unit, which the caller leaves alone until the next call.
	queries(q blas32.General)
	// ahead tells before a tile what will be read soon: its values, and, if more is true, keys right after its
	// own. It is a hint; no values end the unit.
	ahead(v blas32.General, more bool)
	// scores sets rows [r0, r1) of s = q kᵀ, for k [keys, D]. Each score depends on one row of q and one
	// of k alone. The rows of k may lie at any stride.
	scores(s, k blas32.General, r0, r1 int)
	// softmax turns rows [r0, r1) of scores into weights, after multiplying them with scale, which is positive
	// and finite, and takes them into m and l of t. Hidden scores are -inf.
	softmax(t *state, s blas32.General, scale float32, r0, r1 int)
	// accumulate brings rows [r0, r1) of the sums of t to the maximum that softmax found, if they are not at it yet,
	// and adds p v, for the weights p and v [keys, Dv], whose rows may lie at any stride. It does so, and returns
	// true, if all of v is finite. Else t stays as it is.
	accumulate(t *state, p, v blas32.General, r0, r1 int) bool
	// decode writes the values of all elements of src, of type t, to dst.
	decode(dst []float32, t vkattn.Type, src []byte)
	panels
	maps
}

// panels multiplies matrices panel by panel: what linear attention needs. Whoever calls leaves room behind rows, up to a
// multiple of blockRows; what comes to lie there is undefined.
type panels interface {
	// transpose sets dst [m.Rows/16][m.Cols up to a multiple of vectorLen][16] to panels of rows of m, of which there
	// are a multiple of 16.
	transpose(dst []float32, m blas32.General)
	// packPanel sets dst [v.Rows][16] to the columns of v, at most 16, with zeros beyond, and reports whether all is finite.
	packPanel(dst []float32, v blas32.General) bool
	// product replaces the 16 columns of o by w o + p v, for one factor w per row, and v [p.Cols][16].
	product(o, p blas32.General, v, w []float32)
	// finite reports whether all of x is.
	finite(x []float32) bool
}

// maps are functions of many numbers, computed in float64 and rounded once: what feature maps need. NaN stays NaN.
type maps interface {
	// exp replaces every x by exp(x-m) and returns their sum. -inf gives 0, and x far above m +inf.
	exp(x []float32, m float64) float64
	// elu replaces every x by x+1 if it is above 0, else by exp(x).
	elu(x []float32)
	// silu replaces every x by x / (1 + exp(-x)).
	silu(x []float32)
}

// roundUp is n up to a multiple of m.
func roundUp(n, m int) int { return (n + m - 1) / m * m }
