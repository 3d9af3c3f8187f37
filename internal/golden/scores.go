package golden

import (
	"math"

	"github.com/vkattn/vkattn"
)

// maxColumns is the largest value width that every backend has.
const maxColumns = 576

// scores adds the runs that recover qk_matmul_output: columns c of the softmax
// are the output for V = the columns c of the identity. What mode leaves out is
// left out of the op.
func (b *builder) scores(op vkattn.Attention, mode int) error {
	const name = "qk_matmul_output"
	args := b.Runs[0].Args
	if mode == 0 && op.Softcap > 0 {
		b.NotCompared[name] = "the reference and the operator's definition disagree about mode 0 with a softcap"
		return nil
	}
	if mode < 0 || mode > 3 {
		return b.unsupported("qk_matmul_output_mode %d is not known", mode)
	}
	b.Scores = mode
	if mode < 2 {
		op.Causal, op.Window = false, vkattn.Window{}
		op.With &^= vkattn.WithBias | vkattn.WithMask | vkattn.WithKeyLengths
		args.Bias, args.Mask, args.KeyLengths = vkattn.Tensor{}, vkattn.Tensor{}, nil
	}
	if mode < 1 {
		op.Softcap = 0
	}
	if mode < 3 {
		op.With |= vkattn.WithLSE
	}
	rows, keys := op.Batch*op.HeadsQ*op.SeqQ, op.SeqK
	lse := poisoned(rows)
	var parts [][]float32 // [rows, columns of the part]
	for c := 0; c < keys; c += maxColumns {
		n := min(maxColumns, keys-c)
		eye := make([]float32, keys*n)
		for i := range n {
			eye[(c+i)*n+i] = 1
		}
		part := op
		part.HeadsV, part.ValueDim = op.HeadsK, n
		run := Run{Op: part, Args: args, Gives: []string{name}}
		run.Args.V = vkattn.BHSD(vkattn.Float32s(eye), 1, 1, keys, n).Broadcast(op.Batch, op.HeadsK, keys, n)
		out := poisoned(rows * n)
		run.Args.Out = vkattn.BHSD(vkattn.Float32s(out), op.Batch, op.HeadsQ, op.SeqQ, n)
		if mode < 3 {
			run.Args.LSE = vkattn.BHSD(vkattn.Float32s(lse), op.Batch, op.HeadsQ, op.SeqQ, 1)
		}
		parts = append(parts, out)
		b.Runs = append(b.Runs, run)
	}
	b.expect(name, func() []float32 {
		all := make([]float32, 0, rows*keys)
		for r := range rows {
			for _, part := range parts {
				n := len(part) / rows
				all = append(all, part[r*n:(r+1)*n]...)
			}
		}
		if mode < 3 {
			for i, p := range all {
				// A hidden key has p = 0 and the score -inf, as it should; so does
				// one whose p underflows, more than 87 below the largest score.
				all[i] = float32(math.Log(float64(p)) + float64(lse[i/keys]))
			}
		}
		return all
	})
	return nil
}
