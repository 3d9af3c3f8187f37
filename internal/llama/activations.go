package llama

import "slices"

// activations are what a step computes on its way, kept from step to step.
type activations struct {
	x, y     []float32 // [rows, Dim]: the residual stream, and what is on its way into it
	q        []float32 // [rows, Heads, HeadDim]
	k, v     []float32 // [rows, KVHeads, HeadDim]
	wide     [3][]float32
	out      []float32 // [rows, Heads, width]
	gate, up []float32 // [rows, Hidden]
	logits   []float32 // [texts, Vocab]
}

// grow makes room for so many rows and texts.
func (a *activations) grow(m *Model, rows, texts int) *activations {
	for _, b := range []struct {
		s *[]float32
		n int
	}{{&a.x, m.Dim}, {&a.y, m.Dim}, {&a.q, m.Dim}, {&a.k, m.kvDim()}, {&a.v, m.kvDim()}, {&a.gate, m.Hidden}, {&a.up, m.Hidden}} {
		*b.s = sized(*b.s, rows*b.n)
	}
	a.logits = sized(a.logits, texts*m.Vocab)
	return a
}

// sized is s with n elements, of whatever values.
func sized(s []float32, n int) []float32 { return slices.Grow(s[:0], n)[:n] }

// widen fills up heads of dim numbers to width with zeros.
func widen(buffer *[]float32, x []float32, dim, width int) []float32 {
	heads := len(x) / dim
	*buffer = sized(*buffer, heads*width)
	clear(*buffer)
	for i := range heads {
		copy((*buffer)[i*width:], x[i*dim:(i+1)*dim])
	}
	return *buffer
}
