package vkattn

// dilatedPattern keeps the keys whose distance from the row is a multiple of step, from left steps before it to
// right steps behind it.
type dilatedPattern struct {
	sk, off     int
	left, right Bound
	step        int
}

// reach is the first and the last number of steps that lead from any of positions [p0, p1] to a key.
func (d *dilatedPattern) reach(p0, p1 int) (lo, hi int) {
	lo, hi = -floorDiv(p1, d.step), floorDiv(d.sk-1-p0, d.step)
	if d.left.Set {
		lo = max(lo, -d.left.N)
	}
	if d.right.Set {
		hi = min(hi, d.right.N)
	}
	return lo, hi
}

func (d *dilatedPattern) Spans(dst []Span, i0, i1 int) []Span {
	p0, p1 := i0+d.off, i1-1+d.off
	lo, hi := d.reach(p0, p1)
	base := len(dst)
	for k := lo; k <= hi; k++ {
		s := Span{max(p0+k*d.step, 0), min(p1+k*d.step+1, d.sk)}
		switch last := len(dst) - 1; {
		case s.Lo >= s.Hi:
		case last >= base && dst[last].Hi >= s.Lo:
			dst[last].Hi = s.Hi
		default:
			dst = append(dst, s)
		}
	}
	return dst
}

func (d *dilatedPattern) FullyVisible(_, _, _, _ int) bool { return false }

func (d *dilatedPattern) repeats(i0, j0, rows, keys int) (key blockKey, ok bool) {
	first := i0 + d.off
	last := first + rows - 1
	if (!d.left.Set || j0 >= last-d.left.N*d.step) && (!d.right.Set || j0+keys-1 <= first+d.right.N*d.step) {
		return [2]int{far, j0 - first - floorDiv(j0-first, d.step)*d.step}, true // inside of every row's window
	}
	return [2]int{j0 - first}, true
}
