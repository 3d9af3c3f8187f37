package cpu

import "gonum.org/v1/gonum/blas/blas32"

// chunkForm computes a chunk of n tokens as products of matrices. With G_a the sum of the log decays of the chunk's
// tokens up to a, and S the state before the chunk:
//
//	U   = V, or the delta rule's (I + A)⁻¹ diag(β) (V - (K∘e^G) S),  A_ab = β_a k_a·k_b e^(G_a-G_b) below the diagonal
//	O   = (Q∘e^G) S + P U,  P_ab = q_a·k_b e^(G_a-G_b) up to the diagonal
//	S   = diag(e^(G_L)) S + (K∘e^(G_L-G))ᵀ U
//
// Decays from token to token are products of numbers up to 1, never quotients or differences, so that they cannot
// overflow and forgetting everything is exact.
func (w *linearScratch) chunkForm(t, n int) {
	channels, delta := w.c.channels(), w.c.args.Beta.Given()
	if channels {
		w.channelDecays(n)
	} else {
		w.tokenDecays(n)
		w.kernel.transpose(w.keys, w.matrix(w.k, roundUp(n, panelCols)))
	}
	if delta {
		if w.erasure(n); !w.finiteUpdates(n) { // 0 times those would reach tokens before them
			w.loadValues(t, n)
			w.tokens(t, n)
			return
		}
	}
	for i, head := range w.u.head.queries {
		w.loadQueries(head, t, n, w.zAfter)
		p := w.weights(w.p, w.q, n)
		den := w.denominators(n, w.zAfter)
		from := w.from
		if channels {
			multiplyRows(w.q, w.since, n, w.stride, w.f)
			from = w.ones
		}
		clear(w.o[:n*w.panelCount()*panelCols])
		for panel := range w.panelCount() {
			o := w.output(panel, n)
			w.kernel.product(o, w.matrix(w.q, n), w.state(panel).Data, w.ones)
			w.kernel.product(o, p, w.update(panel, n).Data, from)
		}
		w.write(w.u.head.outputs[i], t, n, den)
	}
	w.advance(n)
}

// tokenDecays sets pairs to e^(G_a-G_b), from to e^G and keep to e^(G_L), of decays that all features share.
func (w *linearScratch) tokenDecays(n int) {
	stride := w.c.chunk
	all := 1.0
	for a := range n {
		all *= w.decays[a]
		w.from[a] = float32(all)
	}
	for b := range n {
		e := 1.0
		w.pairs[b*stride+b] = 1
		for a := b + 1; a < n; a++ {
			e *= w.decays[a]
			w.pairs[a*stride+b] = float32(e)
		}
	}
	for r := range w.keep {
		w.keep[r] = float32(all)
	}
}

// channelDecays sets since to e^G and keep to e^(G_L).
func (w *linearScratch) channelDecays(n int) {
	copy(w.since[:w.f], w.channel[:w.f])
	for a := 1; a < n; a++ {
		now, before := w.since[a*w.stride:], w.since[(a-1)*w.stride:]
		for r, e := range w.channel[a*w.stride : a*w.stride+w.f] {
			now[r] = before[r] * e
		}
	}
	copy(w.keep, w.since[(n-1)*w.stride:(n-1)*w.stride+w.f])
}

// weights sets m_ab = x_a·k_b e^(G_a-G_b) for b up to a, and 0 beyond.
func (w *linearScratch) weights(m, x []float32, n int) blas32.General {
	stride := w.c.chunk
	clear(m[:n*stride])
	if w.c.channels() {
		w.channelWeights(m, x, n)
		return blas32.General{Rows: n, Cols: n, Stride: stride, Data: m}
	}
	height := roundUp(w.f, vectorLen) * panelCols
	for p := range panelsOf(n) {
		r0 := p * panelCols / blockRows * blockRows // rows before see no key of the panel
		o := blas32.General{Rows: n - r0, Cols: panelCols, Stride: stride, Data: m[r0*stride+p*panelCols:]}
		w.kernel.product(o, w.matrix(x[r0*w.stride:], n-r0), w.keys[p*height:], w.ones)
	}
	for a := range n {
		row := m[a*stride : (a+1)*stride]
		for b, e := range w.pairs[a*stride : a*stride+a+1] {
			row[b] *= e
		}
		clear(row[a+1:])
	}
	return blas32.General{Rows: n, Cols: n, Stride: stride, Data: m}
}

// channelWeights is weights with decays of channels: what is left of key b decays on the way to token a.
func (w *linearScratch) channelWeights(m, x []float32, n int) {
	left := w.erase[:w.f] // not in use yet
	for b := range n {
		copy(left, w.k[b*w.stride:])
		for a := b; a < n; a++ {
			if a > b {
				multiply(left, w.channel[a*w.stride:])
			}
			m[a*w.c.chunk+b] = blas32.Dot(vector(left), vector(x[a*w.stride:a*w.stride+w.f]))
		}
	}
}

// erasure turns the values into U of the delta rule.
func (w *linearScratch) erasure(n int) {
	a := w.weights(w.a, w.k, n)
	for t := range n {
		row := a.Data[t*a.Stride : t*a.Stride+t+1]
		for b := range row[:t] {
			row[b] *= -w.beta[t]
		}
		row[t] = 0
	}
	for t := range n {
		erase, k := w.erase[t*w.stride:t*w.stride+w.f], w.k[t*w.stride:]
		factor := -w.beta[t]
		if !w.c.channels() {
			factor *= w.from[t]
		}
		for r := range erase {
			erase[r] = factor * k[r]
			if w.c.channels() {
				erase[r] *= w.since[t*w.stride+r]
			}
		}
	}
	for p := range w.panelCount() {
		u := w.update(p, n)
		w.kernel.product(u, w.matrix(w.erase, n), w.state(p).Data, w.beta)
		w.solve(u, a)
	}
}

// finiteUpdates reports whether U is finite: products of large numbers may overflow.
func (w *linearScratch) finiteUpdates(n int) bool {
	for p := range w.panelCount() {
		if !w.kernel.finite(w.update(p, n).Data[:n*panelCols]) {
			return false
		}
	}
	return true
}

// solve is u = (I - a)⁻¹ u for a below the diagonal, by forward substitution: earlier rows are taken in
// block by block, the rows of a block one by one. Powers of a, though exact on paper, lose all digits when keys
// are alike.
func (w *linearScratch) solve(u, a blas32.General) {
	for r0 := 0; r0 < u.Rows; r0 += blockRows {
		r1 := min(r0+blockRows, u.Rows)
		if r0 > 0 {
			rows := rowSlice(a, r0, r1)
			rows.Cols = r0
			w.kernel.product(rowSlice(u, r0, r1), rows, u.Data, w.ones)
		}
		for r := r0 + 1; r < r1; r++ {
			row := u.Data[r*panelCols : (r+1)*panelCols]
			for b, x := range a.Data[r*a.Stride+r0 : r*a.Stride+r] {
				for c, v := range u.Data[(r0+b)*panelCols : (r0+b+1)*panelCols] {
					row[c] += x * v
				}
			}
		}
	}
}

// advance brings S behind the chunk.
func (w *linearScratch) advance(n int) {
	if w.c.channels() {
		left := w.erase[:w.f] // not in use any more
		for r := range left {
			left[r] = 1
		}
		for b := n - 1; b >= 0; b-- {
			multiply(w.k[b*w.stride:b*w.stride+w.f], left)
			multiply(left, w.channel[b*w.stride:])
		}
		w.kernel.transpose(w.keys, w.matrix(w.k, roundUp(n, panelCols)))
	} else {
		last := w.pairs[(n-1)*w.c.chunk:]
		for p := range w.panelCount() {
			for b, e := range last[:n] {
				if e == 1 {
					continue
				}
				u := w.update(p, n).Data[b*panelCols : (b+1)*panelCols]
				for c := range u {
					u[c] *= e
				}
			}
		}
	}
	w.addKeys(n, w.keep)
}

// addKeys is S = diag(keep) S + Kᵀ U, of n tokens whose keys are transposed.
func (w *linearScratch) addKeys(n int, keep []float32) {
	height := roundUp(w.f, vectorLen) * panelCols
	for p := range w.panelCount() {
		u, factor := w.update(p, n).Data, keep
		for j := range panelsOf(n) {
			k := blas32.General{Rows: w.f, Cols: min(panelCols, n-j*panelCols), Stride: panelCols, Data: w.keys[j*height:]}
			w.kernel.product(w.state(p), k, u[j*panelCols*panelCols:], factor)
			factor = w.ones
		}
	}
}

// multiply is x *= y.
func multiply(x, y []float32) {
	for i := range x {
		x[i] *= y[i]
	}
}

func multiplyRows(x, y []float32, n, stride, cols int) {
	for a := range n {
		multiply(x[a*stride:a*stride+cols], y[a*stride:])
	}
}
