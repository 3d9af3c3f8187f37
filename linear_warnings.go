package vkattn

import "fmt"

// Warnings says what is legal in a call and unlikely to be meant, as far as the host sees it: float32 tensors in host
// memory, of a call that Check accepts. There are two such things:
//
//   - The delta rule multiplies what the state knows about a key by 1 - Beta |k|²: where Beta |k|² exceeds 2, the state may
//     grow without bound. Keys are looked at as they are, so only MapIdentity without a projection is.
//   - A log decay above 0 makes the state grow.
func (l Linear) Warnings(args *Args) []string {
	seqs, err := l.Check(args)
	if err != nil {
		return nil
	}
	l = l.Canonical()
	var all []string
	if l.Rule == RuleDelta && l.Map == MapIdentity && l.Features == 0 {
		if w := l.strongest(args, seqs); w != "" {
			all = append(all, w)
		}
	}
	if l.Decay != DecayNone {
		if w := l.growing(args, seqs); w != "" {
			all = append(all, w)
		}
	}
	return all
}

// hostFloats is the memory of a tensor, or nil if the host does not see it as float32.
func hostFloats(t Tensor) []float32 {
	host, ok := t.Mem.(*Host)
	if !ok || t.Type != Float32 {
		return nil
	}
	return host.Float32s()
}

// strongest looks for the largest Beta |k|².
func (l Linear) strongest(args *Args, seqs []Sequence) string {
	keys, betas := hostFloats(args.K), hostFloats(args.Beta)
	if keys == nil || betas == nil {
		return ""
	}
	eps := l.MapEps.Value
	most, where := 2.0, ""
	for _, s := range seqs {
		for n := range l.States() {
			head := l.HeadMap.Map(n, l.States(), l.HeadsK)
			for j := range s.Sk {
				at, square := args.K.Index(s.Batch, head, s.K0+j, 0), 0.0
				for _, x := range keys[at : at+l.HeadDim] {
					square += (float64(x) + eps) * (float64(x) + eps)
				}
				if strength := float64(betas[args.Beta.Index(s.Batch, n, s.K0+j, 0)]) * square; strength > most {
					most, where = strength, fmt.Sprintf("sequence %d, head %d, token %d", s.Index, n, j)
				}
			}
		}
	}
	if where == "" {
		return ""
	}
	return fmt.Sprintf("Beta |k|² is %.3g at %s: above 2 the state may grow without bound; keys of the delta rule should have norm 1", most, where)
}

// growing looks for the largest decay above 0.
func (l Linear) growing(args *Args, seqs []Sequence) string {
	g := hostFloats(args.Decay)
	if g == nil {
		return ""
	}
	var most float32
	where := ""
	look := func(at int, format string, a ...any) {
		if g[at] > most {
			most, where = g[at], fmt.Sprintf(format, a...)
		}
	}
	for n := range l.States() {
		if l.Decay == DecayHead {
			look(args.Decay.Index(0, n, 0, 0), "head %d", n)
			continue
		}
		for _, s := range seqs {
			for j := range s.Sk {
				for d := range args.Decay.Shape[3] {
					look(args.Decay.Index(s.Batch, n, s.K0+j, d), "sequence %d, head %d, token %d", s.Index, n, j)
				}
			}
		}
	}
	if where == "" {
		return ""
	}
	return fmt.Sprintf("Decay is %.3g at %s: it is a logarithm, and above 0 the state grows", most, where)
}
