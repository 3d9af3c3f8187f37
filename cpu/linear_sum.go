package cpu

import "context"

// sumUp is S += sum_j k_j v_jᵀ over all keys, of a call that is not causal.
func (w *linearScratch) sumUp(ctx context.Context) error {
	if err := w.maximum(ctx); err != nil {
		return err
	}
	for t := 0; t < w.u.seq.Sk; t += w.c.chunk {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := min(w.c.chunk, w.u.seq.Sk-t)
		w.gates(t, n)
		w.loadKeys(t, n)
		plain := w.plain(n)
		if w.loadValues(t, n) && plain {
			w.kernel.transpose(w.keys, w.matrix(w.k, roundUp(n, panelCols)))
			w.addKeys(n, w.ones)
		} else {
			for a := range n {
				w.takeIn(a, n)
			}
		}
		w.sums(n)
	}
	w.infinite = !w.finiteState()
	return nil
}

// readAll computes the output of all queries from the finished state.
func (w *linearScratch) readAll(ctx context.Context) error {
	z := func(int) []float64 { return w.z }
	for t := 0; t < w.u.seq.Sq; t += w.c.chunk {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := min(w.c.chunk, w.u.seq.Sq-t)
		for i, head := range w.u.head.queries {
			w.loadQueries(head, t, n, z)
			den := w.denominators(n, z)
			if w.infinite {
				for a := range n {
					w.readToken(w.q[a*w.stride:a*w.stride+w.f], a)
				}
			} else {
				clear(w.o[:n*w.panelCount()*panelCols])
				for p := range w.panelCount() {
					w.kernel.product(w.output(p, n), w.matrix(w.q, n), w.state(p).Data, w.ones)
				}
			}
			w.write(w.u.head.outputs[i], t, n, den)
		}
	}
	return nil
}
