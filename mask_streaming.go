package vkattn

// Streaming keeps the first sinks keys and a causal window of so many tokens, the row's own included:
//
//	j <= i+off  and  (j < sinks or i+off-j < window)
//
// This is the mask alone: StreamingLLM also counts positions inside its cache, which is a matter of the rotary
// embedding. Source: Xiao et al., "Efficient Streaming Language Models with Attention Sinks" (2023).
func (g MaskGrid) Streaming(sinks, window int) (*BlockMask, error) {
	return g.shared(func(g MaskGrid) (pattern, error) {
		for _, x := range []struct {
			arg string
			n   int
		}{{"sinks", sinks}, {"window", window}} {
			if err := inRange(x.arg, x.n, 0, MaxSequence); err != nil {
				return nil, err
			}
		}
		p := g.closed()
		p.Causal, p.Window = true, Window{Left: Tokens(window - 1)}
		if sinks > 0 {
			p.SinkTokens = sinks
		}
		return p, nil
	})
}
