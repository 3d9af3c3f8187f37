package cpu

// tokens computes n tokens one by one, by the definition. It is for what chunkForm must not mix: numbers that
// are not finite, which reach the tokens behind them and no token before, and decays above 1.
func (w *linearScratch) tokens(t, n int) {
	for a := range n {
		w.takeIn(a, n)
		z := func(int) []float64 { return w.zAfter(a) }
		for i, head := range w.u.head.queries {
			w.loadQueries(head, t+a, 1, z)
			w.readToken(w.q[:w.f], 0)
			w.write(w.u.head.outputs[i], t+a, 1, w.denominators(1, z))
		}
	}
}

// takeIn is the step of token a of n.
func (w *linearScratch) takeIn(a, n int) {
	k := w.k[a*w.stride : a*w.stride+w.f]
	for p := range w.panelCount() {
		S, u := w.state(p).Data, w.update(p, n).Data[a*panelCols:(a+1)*panelCols]
		var known [panelCols]float32
		for r, x := range k {
			e := float32(w.decays[a])
			if w.c.channels() {
				e = w.channel[a*w.stride+r]
			}
			row := S[r*panelCols : (r+1)*panelCols]
			for c := range row {
				if e != 1 {
					row[c] *= e
				}
				known[c] += x * row[c]
			}
		}
		if w.c.args.Beta.Given() {
			for c := range u {
				u[c] = w.beta[a] * (u[c] - known[c])
			}
		}
		for r, x := range k {
			row := S[r*panelCols : (r+1)*panelCols]
			for c, v := range u {
				row[c] += x * v
			}
		}
	}
}

// readToken sets row a of o to Sᵀ q.
func (w *linearScratch) readToken(q []float32, a int) {
	for p := range w.panelCount() {
		S := w.state(p).Data
		o := w.output(p, 1)
		out := o.Data[a*o.Stride : a*o.Stride+panelCols]
		clear(out)
		for r, x := range q {
			for c, v := range S[r*panelCols : (r+1)*panelCols] {
				out[c] += x * v
			}
		}
	}
}
