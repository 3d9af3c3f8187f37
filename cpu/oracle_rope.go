package cpu

import "github.com/vkattn/vkattn"

// OracleRope computes Rope in float64, for tensors of any type in host memory: [B, Heads, S, HeadDim], contiguous.
// A pair is a complex number x + iy, and turning it is multiplying it by cos + i sin. Args.Out is checked and
// not written.
func OracleRope(op vkattn.Rope, args *vkattn.Args) ([]float64, error) {
	if err := op.Check(args); err != nil {
		return nil, err
	}
	op = op.Canonical()
	var raw []byte
	if err := resolve([]argument{{"Q", args.Q, nil, &raw}, {"Cos", args.Cos, nil, &raw}, {"Sin", args.Sin, nil, &raw}}); err != nil {
		return nil, err
	}
	batch, tokens, half := args.Q.Shape[0], args.Q.Shape[2], op.RotaryDim/2
	out := make([]float64, 0, args.Q.Len())
	for b := range batch {
		for h := range op.Heads {
			for s := range tokens {
				x := make([]float64, op.HeadDim)
				for d := range x {
					x[d] = element64(args.Q, args.Q.Index(b, h, s, d))
				}
				row := s
				if op.Positions {
					row = int(args.Positions[(b*tokens+s)%len(args.Positions)])
				}
				for i := range half {
					first, second := i, i+half
					if op.Layout == vkattn.RopeInterleaved {
						first, second = 2*i, 2*i+1
					}
					turn := complex(element64(args.Cos, args.Cos.Index(b%args.Cos.Shape[0], 0, row, i)),
						element64(args.Sin, args.Sin.Index(b%args.Sin.Shape[0], 0, row, i)))
					if op.Inverse {
						turn = complex(real(turn), -imag(turn))
					}
					z := complex(x[first], x[second]) * turn
					x[first], x[second] = real(z), imag(z)
				}
				out = append(out, x...)
			}
		}
	}
	return out, nil
}
