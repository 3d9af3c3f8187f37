package vkattn

import "fmt"

// BlockMask lists, per row block of the Sq x Sk grid, the key blocks that its rows may see. Blocks are
// BlockQ rows by BlockK keys; the last block of each axis may be partial. Every block in a list is
// either full (no boolean or tree mask hides anything in it, so a kernel need not look) or partial.
// Closed-form masks (causal, window, ...) apply on top of both.
//
// Lists are per (batch, head): Batch and Heads are 1 or the size in the problem. The list of row block
// r of (b, h) is Keys[Start[n]:Start[n+1]] with n = (b*Heads+h)*RowBlocks + r, in ascending order;
// Full has one flag for each entry of Keys. A BlockMask is immutable once it is used.
type BlockMask struct {
	BlockQ, BlockK       int
	Batch, Heads         int
	RowBlocks, KeyBlocks int
	Start                []int32
	Keys                 []int32
	Full                 []bool
}

// NewBlockMask builds a block mask of sq x sk tokens by asking block once for every block of the grid.
// A block that crosses sq or sk is stored as partial even when block says full.
func NewBlockMask(batch, heads, sq, sk, blockQ, blockK int, block func(b, h, row, key int) (listed, full bool)) (*BlockMask, error) {
	if err := checkBlockSize(blockQ, blockK); err != nil {
		return nil, err
	}
	m := &BlockMask{BlockQ: blockQ, BlockK: blockK, Batch: batch, Heads: heads,
		RowBlocks: ceilDiv(sq, blockQ), KeyBlocks: ceilDiv(sk, blockK), Start: []int32{0}}
	for b := range batch {
		for h := range heads {
			for r := range m.RowBlocks {
				for c := range m.KeyBlocks {
					listed, full := block(b, h, r, c)
					if !listed {
						continue
					}
					m.Keys = append(m.Keys, int32(c))
					m.Full = append(m.Full, full && (r+1)*blockQ <= sq && (c+1)*blockK <= sk)
				}
				m.Start = append(m.Start, int32(len(m.Keys)))
			}
		}
	}
	return m, nil
}

// List is the list of row block r for (b, h), with broadcasting over batch and heads.
func (m *BlockMask) List(b, h, r int) (keys []int32, full []bool) {
	n := (min(b, m.Batch-1)*m.Heads+min(h, m.Heads-1))*m.RowBlocks + r
	lo, hi := m.Start[n], m.Start[n+1]
	return m.Keys[lo:hi], m.Full[lo:hi]
}

// Listed reports whether row i of (b, h) lists the block of key j.
func (m *BlockMask) Listed(b, h, i, j int) bool {
	keys, _ := m.List(b, h, i/m.BlockQ)
	want := int32(j / m.BlockK)
	lo, hi := 0, len(keys)
	for lo < hi {
		if mid := (lo + hi) / 2; keys[mid] < want {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo < len(keys) && keys[lo] == want
}

// check validates the lists against the problem's sizes.
func (m *BlockMask) check(batch, heads, sq, sk int) error {
	if m == nil {
		return &ArgError{"Blocks", "missing"}
	}
	if err := checkBlockSize(m.BlockQ, m.BlockK); err != nil {
		return err
	}
	if m.Batch != 1 && m.Batch != batch {
		return &ShapeError{"Blocks", "batch", m.Batch, fmt.Sprintf("1 or %d", batch)}
	}
	if m.Heads != 1 && m.Heads != heads {
		return &ShapeError{"Blocks", "heads", m.Heads, fmt.Sprintf("1 or %d", heads)}
	}
	if want := ceilDiv(sq, m.BlockQ); m.RowBlocks != want {
		return &ShapeError{"Blocks", "row blocks", m.RowBlocks, fmt.Sprint(want)}
	}
	if want := ceilDiv(sk, m.BlockK); m.KeyBlocks != want {
		return &ShapeError{"Blocks", "key blocks", m.KeyBlocks, fmt.Sprint(want)}
	}
	lists := m.Batch * m.Heads * m.RowBlocks
	if want := float64(m.Batch)*float64(m.Heads)*float64(m.RowBlocks) + 1; float64(len(m.Start)) != want {
		return &ShapeError{"Blocks", "length of Start", len(m.Start), fmt.Sprintf("%.0f", want)}
	}
	if len(m.Full) != len(m.Keys) || m.Start[0] != 0 || int(m.Start[lists]) != len(m.Keys) {
		return &ArgError{"Blocks", "Start, Keys and Full do not agree"}
	}
	for n := range lists {
		lo, hi := m.Start[n], m.Start[n+1]
		if hi < lo || int(hi) > len(m.Keys) {
			return &ArgError{"Blocks", fmt.Sprintf("Start falls at list %d", n)}
		}
		rowEdge := (n%m.RowBlocks+1)*m.BlockQ > sq
		for e := lo; e < hi; e++ {
			k := m.Keys[e]
			if k < 0 || int(k) >= m.KeyBlocks || e > lo && k <= m.Keys[e-1] {
				return &ArgError{"Blocks", fmt.Sprintf("list %d: key block %d is out of order or out of range 0 to %d", n, k, m.KeyBlocks-1)}
			}
			if m.Full[e] && (rowEdge || (int(k)+1)*m.BlockK > sk) {
				return &ArgError{"Blocks", fmt.Sprintf("list %d: key block %d crosses the edge and must be partial", n, k)}
			}
		}
	}
	return nil
}

func checkBlockSize(blockQ, blockK int) error {
	if blockQ < 1 || blockQ > MaxSequence || blockK < 1 || blockK > MaxSequence {
		return &ShapeError{"Blocks", "block size", [2]int{blockQ, blockK}, fmt.Sprintf("1 to %d", MaxSequence)}
	}
	return nil
}

func ceilDiv(a, b int) int { return (a + b - 1) / b }
