package llama

import (
	"fmt"
)

// Config is the sizes of a model.
type Config struct {
	Dim     int // of the residual stream
	Hidden  int // of the feed-forward layers
	Layers  int
	Heads   int // of queries
	KVHeads int // of keys and values, divides Heads
	Vocab   int
	Context int  // longest sequence
	Shared  bool // the embedding is the classifier, too
}

// HeadDim is the size of a head.
func (c Config) HeadDim() int { return c.Dim / c.Heads }

// kvDim is the size of all keys, or values, of a token.
func (c Config) kvDim() int { return c.KVHeads * c.HeadDim() }

// No model of these layers is beyond these sizes, and no product of them overflows.
const maxDim, maxHidden, maxLayers, maxVocab, maxContext = 1 << 16, 1 << 18, 1 << 10, 1 << 20, 1 << 20

// check refuses sizes that cannot be those of a model.
func (c Config) check() error {
	for _, f := range []struct {
		name   string
		n, max int
	}{
		{"dim", c.Dim, maxDim}, {"hidden_dim", c.Hidden, maxHidden}, {"n_layers", c.Layers, maxLayers}, {"n_heads", c.Heads, c.Dim},
		{"n_kv_heads", c.KVHeads, c.Heads}, {"vocab_size", c.Vocab, maxVocab}, {"seq_len", c.Context, maxContext},
	} {
		if f.n < 1 || f.n > f.max {
			return fmt.Errorf("%s is %d, want 1 to %d", f.name, f.n, f.max)
		}
	}
	switch {
	case c.Dim%c.Heads != 0:
		return fmt.Errorf("dim %d is no multiple of n_heads %d", c.Dim, c.Heads)
	case c.HeadDim()%2 != 0:
		return fmt.Errorf("heads have %d numbers, rotary positions need an even number", c.HeadDim())
	case c.Heads%c.KVHeads != 0:
		return fmt.Errorf("n_heads %d is no multiple of n_kv_heads %d", c.Heads, c.KVHeads)
	}
	return nil
}

// numbers is how many float32 numbers the weights of such a model are in a file.
func (c Config) numbers() int64 {
	d, h, l, kv, v := int64(c.Dim), int64(c.Hidden), int64(c.Layers), int64(c.kvDim()), int64(c.Vocab)
	n := v*d + l*(2*d+2*d*d+2*d*kv+3*d*h) + d + int64(c.angles())
	if !c.Shared {
		n += v * d
	}
	return n
}

// angles is the length of the two tables of rotary positions in a file, which nothing reads: package vkattn makes
// better ones.
func (c Config) angles() int { return 2 * (c.Context * c.HeadDim() / 2) }
