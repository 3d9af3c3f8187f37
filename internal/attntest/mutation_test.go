package attntest

import (
	"maps"
	"slices"
	"testing"
)

// TestNaive: plain loops without a mistake pass what the mistakes below are caught by.
func TestNaive(t *testing.T) {
	if raceEnabled || testing.Short() {
		t.Skip("one goroutine for a minute under the race detector")
	}
	s := Verify(t.Context(), naive{m: none}, Options{Sample: true}, nil)
	worst := Result{Allowed: 1}
	for _, r := range s.Cases {
		if r.Status != Passed {
			t.Error(r)
		}
		if r.Worst/r.Allowed > worst.Worst/worst.Allowed {
			worst = r
		}
	}
	t.Logf("%d cases, the worst is %v", s.Total, worst)
}

// TestMutations: the sample alone catches every mistake.
func TestMutations(t *testing.T) {
	if raceEnabled || testing.Short() {
		t.Skip("one goroutine for half a minute under the race detector")
	}
	cases := Options{Sample: true}.cases()
	slices.SortStableFunc(cases, func(a, b Case) int { return int(a.FLOPs - b.FLOPs) })
	left := slices.Sorted(maps.Keys(mutations))
	caught := len(left)
	for _, c := range cases {
		if len(left) == 0 {
			break
		}
		q, err := c.pose(0)
		if err != nil {
			t.Fatal(err)
		}
		left = slices.DeleteFunc(left, func(m mutation) bool {
			r := Result{Name: c.Name, Status: Failed}
			plan, err := naive{m: m}.Plan(t.Context(), c.Op)
			if err != nil {
				t.Fatal(err)
			}
			if err := q.ask(t.Context(), plan, &r); err != nil {
				r.Reason = err.Error()
				t.Logf("%s: caught by %v", m, r)
				return true
			}
			return false
		})
	}
	for _, m := range left {
		t.Errorf("%s: not caught by the sample: %s", m, mutations[m])
	}
	t.Logf("%d of %d mutations caught", caught-len(left), caught)
}
