package vkattn

import "fmt"

// Longformer keeps a window of so many keys on both sides and the global tokens, which see all keys and which
// all rows see:
//
//	|i+off-j| <= window  or  j in global  or  i+off in global
//
// global has ascending positions. attention_window of a model's configuration is both sides together: window is half
// of it. The pattern alone is here: global rows of the paper have projections of their own, which take a second call.
// For a dilated window take the Union with Window. Source: Beltagy et al., "Longformer" (2020), allenai/longformer.
func (g MaskGrid) Longformer(window int, global []int32) (*BlockMask, error) {
	return g.shared(func(g MaskGrid) (pattern, error) {
		if err := inRange("window", window, 0, MaxSequence); err != nil {
			return nil, err
		}
		if err := checkGlobal(global); err != nil {
			return nil, err
		}
		p := g.closed()
		p.Window, p.Global = Window{Tokens(window), Tokens(window)}, global
		return p, nil
	})
}

func checkGlobal(global []int32) error {
	for i := 1; i < len(global); i++ {
		if global[i] <= global[i-1] {
			return &ArgError{"Global", fmt.Sprintf("position %d follows %d, want ascending positions", global[i], global[i-1])}
		}
	}
	return nil
}
