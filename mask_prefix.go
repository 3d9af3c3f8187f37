package vkattn

// Prefix keeps the first prefix keys and, causally, the rest (a prefix language model):
//
//	j < prefix  or  j <= i+off
//
// A prefix of 0 is the causal mask. Source: Raffel et al., "Exploring the Limits of Transfer Learning" (T5, 2019).
func (g MaskGrid) Prefix(prefix int) (*BlockMask, error) {
	return g.shared(func(g MaskGrid) (pattern, error) {
		if err := inRange("prefix", prefix, 0, MaxSequence); err != nil {
			return nil, err
		}
		p := g.closed()
		p.Causal, p.Prefix = true, prefix
		return p, nil
	})
}
