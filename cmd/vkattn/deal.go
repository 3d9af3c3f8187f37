package main

import (
	"slices"
	"strings"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/internal/bench"
)

// shard is a share of the cases of verify.
type shard struct{ bench.Shard }

// of is the share of cases on a backend.
func (s shard) of(b vkattn.Backend, cases []verifyCase) (own []verifyCase) {
	if s.Of < 2 {
		return cases
	}
	planner, plans := b.(interface{ Pipelines(vkattn.Op) []string })
	needs := make([][]string, len(cases))
	for i, c := range cases {
		if plans && c.op != nil {
			needs[i] = planner.Pipelines(c.op)
		}
	}
	for i, owner := range deal(needs, s.Of) {
		if owner == s.Index {
			own = append(own, cases[i])
		}
	}
	return own
}

// builds is how many cases take about as long as one pipeline to build.
const builds = 5

// deal shares cases out among so many processes, of which each builds the pipelines that its cases need: needs[i] are those
// of case i, owner[i] is whose it is. Cases of the same pipelines stay together as far as the shares of work stay even.
// Equal arguments give equal answers.
func deal(needs [][]string, processes int) (owner []int) {
	kinds := map[string][]int{}
	var names []string
	for i, n := range needs {
		name := strings.Join(n, "\n")
		if kinds[name] == nil {
			names = append(names, name)
		}
		kinds[name] = append(kinds[name], i)
	}
	// Many cases first, in hands that are small beside a share: the last ones make the shares even.
	slices.SortStableFunc(names, func(a, b string) int { return len(kinds[b]) - len(kinds[a]) })
	owner = make([]int, len(needs))
	work, built := make([]int, processes), make([]map[string]bool, processes)
	for p := range built {
		built[p] = map[string]bool{}
	}
	for _, name := range names {
		for hand := range slices.Chunk(kinds[name], max(1, len(needs)/(3*processes))) {
			best, least := 0, 0
			for p := range processes {
				after := work[p] + len(hand)
				for _, n := range needs[hand[0]] {
					if !built[p][n] {
						after += builds
					}
				}
				if p == 0 || after < least {
					best, least = p, after
				}
			}
			work[best] = least
			for _, n := range needs[hand[0]] {
				built[best][n] = true
			}
			for _, i := range hand {
				owner[i] = best
			}
		}
	}
	return owner
}
