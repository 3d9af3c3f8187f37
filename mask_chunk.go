package vkattn

// Chunk keeps the keys of the row's own chunk of so many tokens, DiagAttention of TransNormer (chunk 64), and with
// causal those up to the diagonal, chunked attention of Llama 4 (chunk 8192):
//
//	floor((i+off)/chunk) == floor(j/chunk)  and  (not causal or j <= i+off)
//
// Source: Qin et al., "The Devil in Linear Transformer" (2022).
func (g MaskGrid) Chunk(chunk int, causal bool) (*BlockMask, error) {
	return g.shared(func(g MaskGrid) (pattern, error) {
		if err := inRange("chunk", chunk, 1, MaxSequence); err != nil {
			return nil, err
		}
		p := g.closed()
		p.Chunk, p.Causal = chunk, causal
		return p, nil
	})
}
