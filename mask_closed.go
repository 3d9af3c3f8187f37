package vkattn

import "fmt"

// closedPattern is a pattern of masks that a Sequence knows in closed form.
type closedPattern struct{ Sequence }

// closed is the Sequence of a grid without any mask.
func (g MaskGrid) closed() *closedPattern {
	off := g.off()
	return &closedPattern{Sequence{Sq: g.SeqQ, Sk: g.SeqK, Off: off, Rel: off, SinkTokens: far / 2, Prefix: far / 2}}
}

func (p *closedPattern) repeats(i0, j0, rows, keys int) (key blockKey, ok bool) {
	first := i0 + p.Rel
	last := first + rows - 1
	has := func(lo, hi int) bool {
		n := p.firstGlobal(lo)
		return n < len(p.Global) && int(p.Global[n]) < hi
	}
	if has(first, last+1) || has(j0, j0+keys) {
		return nil, false
	}
	k := [5]int{j0 - first, min(max(p.Prefix-j0, 0), keys), min(max(p.SinkTokens-j0, 0), keys)}
	w := p.Window
	switch {
	case p.Chunk > 0:
		k[3], k[4] = first-floorDiv(first, p.Chunk)*p.Chunk, j0%p.Chunk
	case w.Left.Set && w.Left.N >= 0 && j0+keys-1 < first-w.Left.N: // left of every row's window, and of the diagonal
		k[0] = far
	}
	return k, true
}

// Window keeps the keys beside the diagonal (local attention):
//
//	-Left*d <= j - (i+off) <= Right*d  and  (j - (i+off)) mod d == 0,   d = dilation
//
// Both sides count dilated steps and are inclusive; an unbounded side reaches to the edge. A causal window of W
// tokens, the row's own included, is Window{Tokens(W-1), Tokens(0)} (what others call sliding_window=W). dilation 1 is no
// dilation. Source: Beltagy et al., "Longformer" (2020), for the dilation.
func (g MaskGrid) Window(w Window, dilation int) (*BlockMask, error) {
	return g.shared(func(g MaskGrid) (pattern, error) {
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
}

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

func checkGlobal(global []int32) error {
	for i := 1; i < len(global); i++ {
		if global[i] <= global[i-1] {
			return &ArgError{"Global", fmt.Sprintf("position %d follows %d, want ascending positions", global[i], global[i-1])}
		}
	}
	return nil
}
