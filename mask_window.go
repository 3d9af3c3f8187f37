package vkattn

// Window keeps the keys beside the diagonal (local attention):
//
//	-Left*d <= j - (i+off) <= Right*d  and  (j - (i+off)) mod d == 0,   d = dilation
//
// Both sides count dilated steps and are inclusive; an unbounded side reaches to the edge. A causal window of W
// tokens, the row's own included, is Window{Tokens(W-1), Tokens(0)} (what others call sliding_window=W). dilation 1 is no
// dilation. Source: Beltagy et al., "Longformer" (2020), for the dilation.
func (g MaskGrid) Window(w Window, dilation int) (*BlockMask, error) {
	m, err := g.shared(func(g MaskGrid) (pattern, error) {
		if err := checkWindow(w); err != nil {
			return nil, err
		}
		if err := inRange("dilation", dilation, 1, MaxSequence); err != nil {
			return nil, err
		}
		if dilation > 1 {
			return &dilatedPattern{sk: g.SeqK, off: g.off(), left: w.Left, right: w.Right, step: dilation}, nil
		}
		p := g.closed()
		p.Window = w
		return p, nil
	})
	if err != nil || dilation == 1 {
		return m, err
	}
	return m.withForm(MaskForm{Off: g.off(), Step: dilation, Steps: w}, nil), nil
}

func checkWindow(w Window) error {
	for _, side := range []Bound{w.Left, w.Right} {
		if side.Set {
			if err := inRange("window", side.N, -MaxSequence, MaxSequence); err != nil {
				return err
			}
		}
	}
	return nil
}
