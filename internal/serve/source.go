package serve

import (
	"math/rand/v2"

	"github.com/vkattn/vkattn"
)

// sourceRows is how many different tokens a source has, a prime.
const sourceRows = 251

// source gives every token of every sequence one of a few rows of random numbers, by its place alone.
type source struct {
	heads, dim int
	numbers    []float32 // [sourceRows, heads, dim]
	step       []float32 // of the tokens of a step
}

func newSource(r *rand.Rand, heads, dim int) source {
	s := source{heads: heads, dim: dim, numbers: make([]float32, sourceRows*heads*dim)}
	for i := range s.numbers {
		s.numbers[i] = float32(r.NormFloat64())
	}
	return s
}

// at is the row of a token.
func (s *source) at(seq vkattn.CacheSeq, position int) int {
	return int((uint64(seq)*0x9e3779b97f4a7c15>>32 + uint64(position)*97) % sourceRows)
}

// fill is the new tokens of a step, of sequences that are as long with them as length says.
func (s *source) fill(tokens []vkattn.CacheTokens, length func(vkattn.CacheSeq) int) vkattn.Tensor {
	s.step = s.step[:0]
	row, n := s.heads*s.dim, 0
	for _, t := range tokens {
		end := length(t.Seq)
		for p := end - t.N; p < end; p++ {
			from := s.at(t.Seq, p) * row
			s.step = append(s.step, s.numbers[from:from+row]...)
		}
		n += t.N
	}
	return vkattn.THD(vkattn.Float32s(s.step), n, s.heads, s.dim)
}

// history is tokens lo to hi-1 of a head of a sequence, [1, 1, hi-lo, dim].
func (s *source) history(seq vkattn.CacheSeq, head, lo, hi int) vkattn.Tensor {
	out := make([]float32, 0, (hi-lo)*s.dim)
	for p := lo; p < hi; p++ {
		from := (s.at(seq, p)*s.heads + head) * s.dim
		out = append(out, s.numbers[from:from+s.dim]...)
	}
	return vkattn.BHSD(vkattn.Float32s(out), 1, 1, hi-lo, s.dim)
}
