package cpu

import "github.com/vkattn/vkattn"

// Result is what Oracle computes.
type Result struct {
	// Out is [B, HeadsQ, Sq, ValueDim], contiguous; [1, HeadsQ, T, ValueDim] for packed sequences. Packed
	// tokens that lie in no sequence stay 0, here and in LSE.
	Out []float64
	// LSE is [B, HeadsQ, Sq] (packed: [1, HeadsQ, T]), whether or not the op asks for it.
	LSE []float64
	// Visible is the exact number of pairs (i, j) that no mask hides, summed over sequences and heads.
	Visible int64
}

// Row names row I of one sequence and query head.
type Row struct{ Sequence, Head, I int }

// Oracle computes attention in float64, one row at a time, as SEMANTICS.md says, for tensors of any type
// in host memory. Args.Out and Args.LSE are checked and not written. It takes time proportional to
// B HeadsQ Sq Sk (D + Dv) and memory proportional to its result and one head of K and V.
func Oracle(op vkattn.Attention, args *vkattn.Args) (*Result, error) {
	p, err := newProblem(op, args)
	if err != nil {
		return nil, err
	}
	return p.all(), nil
}

// all computes every row.
func (p *problem) all() *Result {
	args := p.args
	tokens, dv := args.Q.Shape[2], p.op.ValueDim
	n := args.Q.Shape[0] * p.op.HeadsQ * tokens
	r := &Result{Out: make([]float64, n*dv), LSE: make([]float64, n)}
	for _, s := range p.seqs {
		for h := range p.op.HeadsQ {
			for i := range s.sq {
				at := (s.batch*p.op.HeadsQ+h)*tokens + s.q0 + i
				var visible int
				r.LSE[at], visible = p.row(s, h, i, r.Out[at*dv:(at+1)*dv])
				r.Visible += int64(visible)
			}
		}
	}
	return r
}

// OracleRows computes some rows of a large problem: Out is [len(rows), ValueDim], LSE is [len(rows)] and
// Visible counts the pairs of these rows. Rows of the same head should follow each other: each change
// of head reads its keys and values anew.
func OracleRows(op vkattn.Attention, args *vkattn.Args, rows []Row) (*Result, error) {
	p, err := newProblem(op, args)
	if err != nil {
		return nil, err
	}
	dv := p.op.ValueDim
	r := &Result{Out: make([]float64, len(rows)*dv), LSE: make([]float64, len(rows))}
	for n, row := range rows {
		if err := p.checkRow(row); err != nil {
			return nil, err
		}
		var visible int
		r.LSE[n], visible = p.row(p.seqs[row.Sequence], row.Head, row.I, r.Out[n*dv:(n+1)*dv])
		r.Visible += int64(visible)
	}
	return r, nil
}

// row is attention for row i of head h, into O.
func (p *problem) row(s sequence, h, i int, O []float64) (L float64, visible int) {
	mask := p.mask(s, h, i, s.sk)
	L = p.attend(s, h, i, mask, O)
	for _, keep := range mask {
		if keep {
			visible++
		}
	}
	return L, visible
}

// attend is attention for row i of head h over the keys that mask keeps, into O.
func (p *problem) attend(s sequence, h, i int, mask []bool, O []float64) (L float64) {
	q := p.query(s, h, i)
	S := p.scaled(q, p.keys(s, h))
	p.shawKeys(S, q, s, i)
	p.cap(S)
	p.alibi(S, s, h, i)
	p.bias(S, s, h, i)
	P, L := p.softmax(S, mask, s, h)
	output(O, P, p.values(s, h), mask)
	p.shawValues(O, P, mask, s, i)
	return L
}
