package vkattn

import (
	"fmt"
	"math"
)

// T5Buckets puts distances into buckets that grow with the distance, and T5 learns one bias for each
// bucket and head (Raffel et al., 2020, _relative_position_bucket). With n the distance in question and b
// the number of buckets there are for it,
//
//	bucket = n                                                             for n < b/2
//	bucket = min(b-1, b/2 + floor(ln(n/(b/2)) / ln(MaxDistance/(b/2)) * (b - b/2)))  beyond
//
// in integer division of b. Causal: n = max(i-j, 0), b = Buckets. Bidirectional: n = |j-i|, b = Buckets/2, and b is
// added for keys behind the row, j > i.
//
// T5 does not scale its scores: the Scale of the attention is Num(1).
type T5Buckets struct {
	Bidirectional bool // of an encoder; a decoder has false
	Buckets       int  // 0: 32
	MaxDistance   int  // 0: 128; above b/2
}

// maxDistance is the largest MaxDistance: up to there float32 has every integer, so the published logarithm
// means what it says.
const maxDistance = 1 << 24

// sizes is b, the first distance that shares its bucket, and MaxDistance.
func (t T5Buckets) sizes() (buckets, exact, far int, err error) {
	buckets, far = orDefault(t.Buckets, 32), orDefault(t.MaxDistance, 128)
	least := 2
	if t.Bidirectional {
		least = 4
	}
	if buckets < least || buckets > maxDistance {
		return 0, 0, 0, &ShapeError{"Buckets", "", buckets, fmt.Sprintf("%d to %d", least, maxDistance)}
	}
	if t.Bidirectional {
		buckets /= 2
	}
	exact = buckets / 2
	if far <= exact || far > maxDistance {
		return 0, 0, 0, &ShapeError{"MaxDistance", "", far, fmt.Sprintf("%d to %d", exact+1, maxDistance)}
	}
	return buckets, exact, far, nil
}

// Table has the bucket of every distance, [2*MaxDistance+1]: entry RelativeIndex(j-i, MaxDistance) is that of
// key j for row i. All distances from MaxDistance on share a bucket. The logarithm is float32, as
// published. Errors are *ShapeError and name the field.
func (t T5Buckets) Table() ([]int32, error) {
	buckets, exact, far, err := t.sizes()
	if err != nil {
		return nil, err
	}
	bucket := func(n int) int {
		if n < exact {
			return n
		}
		x := float32(math.Log(float64(float32(n) / float32(exact))))
		x = x / float32(math.Log(float64(far)/float64(exact))) * float32(buckets-exact)
		return min(buckets-1, exact+int(x))
	}
	table := make([]int32, 2*far+1)
	for n := range far + 1 {
		past := bucket(n)
		table[far-n] = int32(past)
		if n > 0 && t.Bidirectional {
			table[far+n] = int32(buckets + past)
		}
	}
	return table, nil
}

// Bias is the bias of T5 with the learned weights [heads, Buckets], contiguous. Hugging Face stores the
// transpose, [Buckets, heads]. All layers of a T5 stack share one bias.
func (t T5Buckets) Bias(weights []float32, heads int) (RelativeBias, error) {
	_, _, far, err := t.sizes()
	if err != nil {
		return RelativeBias{}, err
	}
	if heads < 1 || heads > maxHeads {
		return RelativeBias{}, &ShapeError{"Heads", "", heads, fmt.Sprintf("1 to %d", maxHeads)}
	}
	buckets := orDefault(t.Buckets, 32)
	if want := heads * buckets; len(weights) != want {
		return RelativeBias{}, &ShapeError{"Weights", "length", len(weights), fmt.Sprintf("%d: %d heads of %d buckets", want, heads, buckets)}
	}
	if err := checkTable(heads, 2*far+1); err != nil {
		return RelativeBias{}, err
	}
	table, err := t.Table()
	if err != nil {
		return RelativeBias{}, err
	}
	r := RelativeBias{Heads: heads, K: far, Table: make([]float32, 0, heads*len(table))}
	for h := range heads {
		for _, bucket := range table {
			r.Table = append(r.Table, weights[h*buckets+int(bucket)])
		}
	}
	return r, nil
}
