package cpu

import "github.com/vkattn/vkattn"

// Stage is a point in the computation of the scores. The numbers are those of ONNX's
// qk_matmul_output_mode.
type Stage int

const (
	StageScaled  Stage = iota // after the scale
	StageCapped               // after the softcap
	StageMasked               // after ALiBi, bias and mask: hidden keys are -inf
	StageSoftmax              // the weights; 0 for hidden keys
)

// Scores is the matrix [B, HeadsQ, Sq, Sk] at a stage, in float64 and contiguous, with Sk the sequence axis of
// K. Up to StageCapped it has products for keys that are hidden, those beyond KeyLengths included.
// Packed ops are refused.
func Scores(op vkattn.Attention, args *vkattn.Args, stage Stage) ([]float64, error) {
	p, err := newProblem(op, args)
	if err != nil {
		return nil, err
	}
	if p.op.Packed {
		return nil, &vkattn.ArgError{Arg: "Packed", Reason: "the score matrix of packed sequences has no shape"}
	}
	sq, sk := args.Q.Shape[2], args.K.Shape[2]
	scores := make([]float64, 0, len(p.seqs)*p.op.HeadsQ*sq*sk)
	for _, s := range p.seqs {
		for h := range p.op.HeadsQ {
			K := p.matrix(args.K, args.DescaleK, s, p.op.HeadMap.Map(h, p.op.HeadsQ, p.op.HeadsK), sk, p.op.HeadDim)
			for i := range sq {
				S := p.scaled(p.query(s, h, i), K)
				if stage >= StageCapped {
					p.cap(S)
				}
				if stage >= StageMasked {
					p.alibi(S, s, h, i)
					p.bias(S, s, h, i)
					mask := p.mask(s, h, i, len(S))
					for j, keep := range mask {
						if !keep {
							S[j] = minusInf
						}
					}
					if stage == StageSoftmax {
						S, _ = p.softmax(S, mask, s, h)
					}
				}
				scores = append(scores, S...)
			}
		}
	}
	return scores, nil
}
