package sparse

import (
	"fmt"

	"github.com/vkattn/vkattn"
)

// Formed is attention under a block mask of a known form (vkattn.MaskForm), as calls without one. Those of the part far from
// the rows come first. Strided: the positions of each residue modulo the step are a sequence, whose rows and keys are views
// of the same tensors, with a window of steps. Columns: the rows of each period are a sequence, and its keys are the columns
// before it, which all share. Then comes one call for the keys near the rows, if the form has them, which joins what those
// have left.
type Formed struct {
	Far    vkattn.Attention // canonical
	Near   vkattn.Attention // canonical; of no use unless Joined
	Joined bool             // the form has keys near the row
	Page   int              // of the far calls; 0: their keys lie as those of the call

	form vkattn.MaskForm
}

// Call is one call of attention: a checked one's arguments, and its sequences. Where keys are gathered in pages of so many,
// key j of every sequence is row Columns[j/page]*page + j%page of the keys.
type Call struct {
	Args    vkattn.Args
	Seqs    []vkattn.Sequence
	Columns []int32
}

// A row costs as much as so many more keys, for each call that it takes part in: its query is read, and its result written.
const rowKeys = 32

// ByForm says how a checked call of a canonical op under a block mask goes by the mask's form, or nil and why it visits
// the blocks that are listed. why is "" where nothing speaks for a form.
func ByForm(op vkattn.Attention, args *vkattn.Args, seqs []vkattn.Sequence) (f *Formed, why string) {
	form, known := args.Blocks.Form()
	if !known || form.Step < 2 && form.Period == 0 || len(seqs) == 0 || args.Q.Len() == 0 {
		return nil, ""
	}
	if why := beyondForm(op, seqs, form); why != "" {
		return nil, "the mask's blocks are visited, not its form: " + why
	}
	if op.Causal && form.Step > 0 && (!form.Steps.Right.Set || form.Steps.Right.N > 0) {
		form.Steps.Right = vkattn.Tokens(0)
	}
	f = &Formed{form: form, Joined: form.Near > 0 || form.Chunk > 0}
	sq, sk := args.Q.Shape[2], args.K.Shape[2]
	if m := args.Blocks; f.pairs(sq, sk)+float64(rowKeys*sq) >= float64(len(m.Keys))*float64(m.BlockQ)*float64(m.BlockK) {
		return nil, ""
	}
	near := op
	near.With &^= vkattn.WithBlocks | vkattn.WithKeyLengths
	near.Align = vkattn.AlignOffset
	far := near
	far.Causal = false
	if form.Step > 0 {
		far.Batch, far.SeqQ, far.SeqK, far.Window = form.Step, ceilDiv(sq, form.Step), ceilDiv(sk, form.Step), form.Steps
	} else {
		far.Batch, far.SeqQ, far.SeqK = 3*(ceilDiv(sq, form.Period)+1), min(sq, form.Period), max(1, len(f.columns(sk)))
		far.Window = vkattn.Window{Right: vkattn.Tokens(0)}
		f.Page = 1
		if page := gcd(gcd(form.Low, form.High), form.Period); page%4 == 0 && sk%page == 0 {
			f.Page = page // fewer entries, and keys beside each other
		}
	}
	if f.Joined {
		near.Causal, near.Chunk = true, form.Chunk
		if form.Near > 0 {
			near.Window = vkattn.Window{Left: vkattn.Tokens(form.Near - 1)}
			// What the near part has already is left out of the strided one.
			last := -((form.Near-1)/form.Step + 1)
			if r := &far.Window.Right; !r.Set || r.N > last {
				*r = vkattn.Tokens(last)
			}
		}
		f.Near = near.Canonical()
		far.With, far.TypeOut = far.With&^vkattn.WithSinkLogits|vkattn.WithLSE, vkattn.Float32
	}
	f.Far = far.Canonical()
	return f, ""
}

// String says what runs, for reports.
func (f *Formed) String() string {
	s := fmt.Sprintf("the mask goes by its form: each of %d residues of the positions is a sequence", f.form.Step)
	if f.form.Period > 0 {
		s = fmt.Sprintf("the mask goes by its form: rows gather its columns %d to %d of %d", f.form.Low, f.form.High-1, f.form.Period)
	}
	if f.Joined {
		s += ", and joins the keys near them"
	}
	return s
}

// beyondForm is what a call has that calls by form do not.
func beyondForm(op vkattn.Attention, seqs []vkattn.Sequence, form vkattn.MaskForm) string {
	if why := beyond(op); why != "" {
		return why
	}
	for i := range seqs {
		if op.Causal && seqs[i].Rel != form.Off {
			return "causal on top, by another diagonal"
		}
	}
	return ""
}

// pairs is about the number of pairs of a head, and what its rows cost beside.
func (f *Formed) pairs(sq, sk int) float64 {
	const most = 256 // rows that are looked at
	step, n := max(1, sq/most), 0
	pairs := 0.0
	for i := step / 2; i < sq; i += step {
		n++
		p := i + f.form.Off
		if c := f.form.High - f.form.Low; f.form.Period > 0 {
			pairs += float64(max(0, floorDiv(min(p, sk), f.form.Period)*c))
			if f.Joined {
				pairs += float64(max(0, p-floorDiv(p, f.form.Period)*f.form.Period) + rowKeys)
			}
			continue
		}
		lo, hi := -floorDiv(p, f.form.Step), floorDiv(sk-1-p, f.form.Step)
		if f.form.Steps.Left.Set {
			lo = max(lo, -f.form.Steps.Left.N)
		}
		if f.form.Steps.Right.Set {
			hi = min(hi, f.form.Steps.Right.N)
		}
		pairs += float64(max(0, hi-lo+1))
		if f.Joined {
			pairs += float64(max(0, min(p+1, sk)-max(0, p-f.form.Near+1)) + rowKeys)
		}
	}
	return pairs / float64(max(n, 1)) * float64(sq)
}

// FarCalls are the calls of the part far from the rows, which share no row. state is where they leave the rows' running
// softmax, [B, heads, Sq, 2], where the near part joins it; else they are all there is.
func (f *Formed) FarCalls(args vkattn.Args, seqs []vkattn.Sequence, state vkattn.Tensor) []Call {
	args = withoutMask(args)
	if f.Joined {
		args.LSE, args.SinkLogits = state, vkattn.Tensor{}
	}
	var calls []Call
	for b := range seqs {
		s := &seqs[b]
		if f.form.Step > 0 {
			calls = f.strided(calls, args, s)
		} else {
			calls = append(calls, f.gathered(args, s))
		}
	}
	return calls
}

// strided appends the calls of one sequence of the call.
func (f *Formed) strided(calls []Call, args vkattn.Args, s *vkattn.Sequence) []Call {
	step, off := f.form.Step, f.form.Off
	first := off - floorDiv(off, step)*step // the residue of row 0
	rows := min(step, s.Sq)
	// Row r stands at residue first+r modulo step: those before the residues begin anew, and those behind.
	for _, part := range [][3]int{{0, min(rows, step-first), first}, {step - first, rows, first - step}} {
		lo, hi, shift := part[0], part[1], part[2]
		if lo >= hi {
			continue
		}
		c := Call{Args: args}
		for r := lo; r < hi; r++ {
			residue := r + shift
			rel := floorDiv(r+off, step)
			c.Seqs = append(c.Seqs, vkattn.Sequence{Index: r - lo, Batch: r - lo, Sq: ceilDiv(s.Sq-r, step), Sk: max(0, ceilDiv(s.Sk-residue, step)),
				Off: rel, Rel: rel, Window: f.Far.Window, SinkTokens: s.SinkTokens, Prefix: s.Prefix})
		}
		for _, t := range []*vkattn.Tensor{&c.Args.Q, &c.Args.Out, &c.Args.LSE} {
			if t.Given() {
				*t = residues(*t, s.Batch, step, lo, hi)
			}
		}
		for _, t := range []*vkattn.Tensor{&c.Args.K, &c.Args.V} {
			*t = residues(*t, s.Batch, step, lo+shift, hi+shift)
		}
		if t := &c.Args.SinkLogits; t.Given() {
			*t = Shared(*t, min(s.Index, t.Shape[0]-1), hi-lo)
		}
		calls = append(calls, c)
	}
	return calls
}

// columns are the columns of the form among so many keys.
func (f *Formed) columns(sk int) []int32 {
	var all []int32
	for at := 0; at < sk; at += f.form.Period {
		for j := at + f.form.Low; j < min(at+f.form.High, sk); j++ {
			all = append(all, int32(j))
		}
	}
	return all
}

// gathered is the call of one sequence of the call whose keys are columns.
func (f *Formed) gathered(args vkattn.Args, s *vkattn.Sequence) Call {
	c := Call{Args: args}
	period, low, high := f.form.Period, f.form.Low, f.form.High
	c.Columns = f.columns(s.Sk)
	keys := len(c.Columns)
	for i := 0; i < s.Sq; {
		p := i + f.form.Off
		block := floorDiv(p, period)
		at := p - block*period
		// All rows of a period see the columns before it, and unless the near part has them, those of their own up to themselves.
		end, seen, causal := period, (high-low)*max(block, 0), false
		if !f.Joined && block >= 0 {
			switch {
			case at < low:
				end = low
			case at < high:
				end, causal = high, true
			default:
				seen += high - low
			}
		}
		n := min(end-at, s.Sq-i)
		x := vkattn.Sequence{Index: len(c.Seqs), Q0: i, Sq: n, Sk: min(seen, keys), SinkTokens: s.SinkTokens, Prefix: s.Prefix, Window: f.Far.Window}
		x.Rel = x.Sk
		if causal {
			x.Sk, x.Rel = min(seen+high-low, keys), seen+at-low
		}
		x.Off = x.Rel
		c.Seqs = append(c.Seqs, x)
		i += n
	}
	for _, t := range []*vkattn.Tensor{&c.Args.Q, &c.Args.K, &c.Args.V, &c.Args.Out, &c.Args.LSE} {
		if t.Given() {
			*t = t.Slice(0, s.Batch, s.Batch+1)
		}
	}
	if t := &c.Args.SinkLogits; t.Given() {
		*t = Shared(*t, min(s.Index, t.Shape[0]-1), len(c.Seqs))
	}
	if f.Page > 1 {
		pages := c.Columns[:0]
		for n := 0; n < keys; n += f.Page {
			pages = append(pages, c.Columns[n]/int32(f.Page))
		}
		c.Columns = pages
	}
	return c
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// NearCall is the call of the near part. Its rows join what FarCalls left.
func (f *Formed) NearCall(args vkattn.Args, seqs []vkattn.Sequence) Call {
	c := Call{Args: withoutMask(args), Seqs: append([]vkattn.Sequence(nil), seqs...)}
	for i := range c.Seqs {
		s := &c.Seqs[i]
		s.Off, s.Rel, s.KBase, s.Causal, s.Window, s.Chunk = f.form.Off, f.form.Off, 0, true, f.Near.Window, f.Near.Chunk
	}
	return c
}

func withoutMask(args vkattn.Args) vkattn.Args {
	args.Blocks, args.KeyLengths, args.Offset, args.QBase, args.KBase = nil, nil, nil, 0, 0
	return args
}

// residues is a tensor of tokens, of sequence b, with the tokens of each residue from lo to hi as a sequence of their own.
// Tokens beyond the last lie outside of it.
func residues(t vkattn.Tensor, b, step, lo, hi int) vkattn.Tensor {
	tokens := t.Shape[2]
	t = t.Slice(0, b, b+1)
	t.Offset += lo * t.Stride[2]
	t.Shape[0], t.Shape[2] = hi-lo, max(0, ceilDiv(tokens-lo, step))
	t.Stride[0], t.Stride[2] = t.Stride[2], step*t.Stride[2]
	return t
}

func ceilDiv(a, b int) int { return -floorDiv(-a, b) }
