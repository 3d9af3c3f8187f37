// Package sparse says which calls of attention MoBA and NSA consist of, the same for every backend.
package sparse

import "github.com/vkattn/vkattn"

// Chosen is attention over the blocks that the rows of a canonical MoBA have chosen: Args.Mask says which, [B, HeadsQ, Sq, blocks].
func Chosen(m vkattn.MoBA) vkattn.Attention { return byBlocks(m.Attention, m.Block) }

func byBlocks(a vkattn.Attention, block int) vkattn.Attention {
	a.With |= vkattn.WithMask
	a.MaskBlock = block
	return a.Canonical()
}

// Branches are the three branches of a canonical NSA. compressed has the rows of one sequence of the batch, by Phases; the
// mask of selected is shared by a group of heads, [B, HeadsK, Sq, blocks].
func Branches(n vkattn.NSA) (compressed, selected, window vkattn.Attention) {
	a := n.Attention
	window = a
	window.Window = Window(n)
	compressed = a
	compressed.Batch, compressed.SeqQ, compressed.SeqK = n.Stride, (a.SeqQ+n.Stride-1)/n.Stride, n.Compressed(a.SeqK)
	compressed.Align, compressed.With = vkattn.AlignOffset, vkattn.WithLSE
	compressed.TypeK, compressed.TypeV = vkattn.Float32, vkattn.Float32
	selected = byBlocks(a, n.Select)
	for _, b := range []*vkattn.Attention{&compressed, &selected, &window} {
		b.TypeOut = vkattn.Float32 // until they are summed
	}
	return compressed.Canonical(), selected, window.Canonical()
}

// Window is the window of an NSA.
func Window(n vkattn.NSA) vkattn.Window { return vkattn.Window{Left: vkattn.Tokens(n.Window - 1)} }

// Windowed are sequences with a window.
func Windowed(seqs []vkattn.Sequence, w vkattn.Window) []vkattn.Sequence {
	seqs = append([]vkattn.Sequence(nil), seqs...)
	for i := range seqs {
		seqs[i].Window = w
	}
	return seqs
}

// Rows is the part of a call that is not packed with rows [lo, hi) of each sequence.
func Rows(args vkattn.Args, seqs []vkattn.Sequence, lo, hi int) (vkattn.Args, []vkattn.Sequence) {
	for _, t := range []*vkattn.Tensor{&args.Q, &args.Out, &args.LSE, &args.Bias, &args.Gates} {
		if t.Given() {
			*t = t.Slice(2, lo, hi)
		}
	}
	seqs = append([]vkattn.Sequence(nil), seqs...)
	for i := range seqs {
		s := &seqs[i]
		s.Sq, s.Off, s.Rel = hi-lo, s.Off+lo, s.Rel+lo
	}
	return args, seqs
}

// Phases makes causal attention of the compression branch of one sequence. Row i, at position t = i+off, sees the compressed
// keys c with c d + l - 1 <= t. Of every d-th row from p on, i = a d + p, that is c <= a + floor((off + p - l + 1)/d): a
// diagonal. So the rows are d sequences, row a of sequence p being row a d + p, with the same keys.
func Phases(n vkattn.NSA, s *vkattn.Sequence) []vkattn.Sequence {
	var seqs []vkattn.Sequence
	for p := range min(n.Stride, s.Sq) {
		f := *s
		f.Index, f.Batch = p, p
		f.Sq, f.Sk = (s.Sq-p+n.Stride-1)/n.Stride, n.Compressed(s.Sk)
		f.Off = floorDiv(s.Off+p-n.Compress+1, n.Stride)
		f.Rel = f.Off
		seqs = append(seqs, f)
	}
	return seqs
}

// Phased is a tensor with rows, of sequence b, as Phases counts them. Rows beyond the last lie outside of it.
func Phased(t vkattn.Tensor, b, stride int) vkattn.Tensor {
	rows := t.Shape[2]
	t = t.Slice(0, b, b+1)
	t.Shape[0], t.Shape[2] = min(stride, rows), (rows+stride-1)/stride
	t.Stride[0], t.Stride[2] = t.Stride[2], stride*t.Stride[2]
	return t
}

// Shared is a tensor of keys, of sequence b, for all phases.
func Shared(t vkattn.Tensor, b, phases int) vkattn.Tensor {
	t = t.Slice(0, b, b+1)
	t.Shape[0], t.Stride[0] = phases, 0
	return t
}

func floorDiv(a, b int) int {
	q := a / b
	if a%b != 0 && a < 0 {
		q--
	}
	return q
}
