package dispatch

import "testing"

// held lists what each invocation holds, by a rule for (row, column).
func held(lanes, places int, n int, at func(lane, place int) (row, column int)) [][]int {
	all := make([][]int, lanes)
	for i := range all {
		for p := range places {
			row, column := at(i, p)
			all[i] = append(all[i], row*n+column)
		}
	}
	return all
}

func TestProbedLayout(t *testing.T) {
	nvidia := held(32, 8, 16, func(i, p int) (int, int) { return i/4 + p&2*4, i%4*2 + p&1 + p&4*2 })
	nvidiaRight := held(32, 8, 16, func(i, p int) (int, int) { return i%4*2 + p&1 + p&2*4, i/4 + p&4*2 })
	amd := held(32, 8, 16, func(i, p int) (int, int) { return 2*p + i/16, i % 16 })
	amdOperand := held(32, 16, 16, func(i, p int) (int, int) { return i % 16, p })
	llvmpipe := held(8, 8, 8, func(i, p int) (int, int) { return p, i })
	swizzled := held(32, 8, 16, func(i, p int) (int, int) { return i / 2, (i%2*8 + p) ^ i/2%2*4 })
	for _, c := range []struct {
		name              string
		m, n              int
		held, operand     [][]int
		right             [][]int
		registers, direct bool
	}{
		{"pairs, as NVIDIA's", 16, 16, nvidia, nvidia, nvidiaRight, true, true},
		{"other operand", 16, 16, amd, amdOperand, nil, true, false},
		{"columns", 8, 8, llvmpipe, llvmpipe, llvmpipe, true, true},
		{"swizzled", 16, 16, swizzled, swizzled, nvidiaRight, false, false},
		{"each element twice", 16, 16, amdOperand, amdOperand, nil, false, false},
	} {
		l := probedLayout(c.m, c.n, c.held, c.operand, c.right)
		if l.Registers != c.registers || l.Direct != c.direct {
			t.Errorf("%s: %+v", c.name, l)
		}
		if !c.registers {
			continue
		}
		if l.Right != (c.right != nil) {
			t.Errorf("%s: %+v", c.name, l)
		}
		for i, places := range c.right {
			for p, want := range places {
				if got := place(l.RightLanes, i, c.n) + place(l.RightPlaces, p, c.n); got != want {
					t.Fatalf("%s: invocation %d holds %d of a right operand at %d, the layout says %d", c.name, i, want, p, got)
				}
			}
		}
		for i, places := range c.held {
			for p, want := range places {
				if got := place(l.Lanes, i, c.n) + place(l.Places, p, c.n); got != want {
					t.Fatalf("%s: invocation %d holds %d at %d, the layout says %d", c.name, i, want, p, got)
				}
			}
		}
	}
}

func TestOwnLayout(t *testing.T) {
	for _, s := range [][3]int{{8, 8, 8}, {16, 16, 32}, {16, 16, 64}, {8, 16, 16}, {16, 16, 16}, {32, 8, 8}, {16, 16, 8}, {8, 32, 32}, {16, 16, 4}} {
		m, n, lanes := s[0], s[1], s[2]
		l := ownLayout(m, n, lanes)
		seen := make([]bool, m*n)
		for i := range lanes {
			for p := range m * n / lanes {
				at := place(l.Lanes, i, n) + place(l.Places, p, n)
				if seen[at] {
					t.Fatalf("%dx%d over %d: element %d is held twice", m, n, lanes, at)
				}
				seen[at] = true
			}
		}
		// What a probe of such a driver finds is the same.
		all := held(lanes, m*n/lanes, n, func(i, p int) (int, int) {
			at := place(l.Lanes, i, n) + place(l.Places, p, n)
			return at / n, at % n
		})
		if got := probedLayout(m, n, all, all, nil); got.Lanes != l.Lanes || got.Places != l.Places || !got.Registers {
			t.Errorf("%dx%d over %d: %+v, probed %+v", m, n, lanes, l, got)
		}
	}
}

// TestRoundingOf: what rounds in any other way is not taken for one of the two.
func TestRoundingOf(t *testing.T) {
	for digits, want := range map[[4]int]uint32{{0, 1, 1, 2}: roundsNearest, {0, 0, 1, 1}: roundsDown, {1, 1, 2, 2}: 0, {0, 1, 1, 1}: 0, {}: 0} {
		if got := roundingOf(digits); got != want {
			t.Errorf("%v: %d, want %d", digits, got, want)
		}
	}
}
