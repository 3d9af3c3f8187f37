package attntest

import (
	"fmt"
	"sort"
	"testing"
)

func TestTable(t *testing.T) {
	cases := Cases()
	names, tags, buckets, groups, pipelines := map[string]bool{}, map[string]int{}, map[string]int{}, map[string]int{}, map[string]int{}
	combined, sampled := 0, 0
	flops, sampleFlops := 0.0, 0.0
	samplePipes := map[string]bool{}
	pairs, samplePairs := map[[2]string]bool{}, map[[2]string]bool{}
	for _, c := range cases {
		if names[c.Name] {
			t.Errorf("%s: listed twice", c.Name)
		}
		names[c.Name] = true
		for _, tag := range c.Tags {
			tags[tag]++
		}
		if c.Combines() >= 3 {
			combined++
		}
		buckets[c.Bucket]++
		groups[c.Group]++
		pipelines[c.Pipeline]++
		flops += c.FLOPs
		eachPair(sampleValues(c), func(p [2]string) { pairs[p] = true })
		if c.Sample {
			sampled++
			sampleFlops += c.FLOPs
			samplePipes[c.Pipeline] = true
			eachPair(sampleValues(c), func(p [2]string) { samplePairs[p] = true })
		}
		if c.FLOPs > 70e6 {
			t.Errorf("%s: %.0f MFLOP, too slow for a software driver", c.Name, c.FLOPs/1e6)
		}
		if err := c.Op.Validate(); err != nil {
			t.Errorf("%s: %v", c.Name, err)
		}
	}
	t.Logf("%d cases, %.2f GFLOP dense; %d combine three or more; sample %d, %.2f GFLOP", len(cases), flops/1e9, combined, sampled, sampleFlops/1e9)
	t.Logf("features %v", tags)
	t.Logf("buckets %v, groups %v", buckets, groups)
	t.Logf("%d pipelines, in the sample %d: %v", len(pipelines), len(samplePipes), sorted(pipelines))
	t.Logf("%d of %d pairs in the sample", len(samplePairs), len(pairs))

	if len(cases) < 400 {
		t.Errorf("%d cases, want 400", len(cases))
	}
	for _, f := range Features {
		if tags[f] < 30 {
			t.Errorf("%s: %d cases, want 30", f, tags[f])
		}
	}
	if combined < 100 {
		t.Errorf("%d cases combine three or more masks and extras, want 100", combined)
	}
	for _, d := range headBuckets {
		if buckets[fmt.Sprint(d)] == 0 {
			t.Errorf("head bucket %d: no case", d)
		}
	}
	for _, b := range []string{"192/128", "576/512"} {
		if buckets[b] == 0 {
			t.Errorf("head bucket %s: no case", b)
		}
	}
	for _, g := range []string{"mha", "mqa", "gqa2", "gqa7", "gqa8"} {
		if groups[g] < 4 {
			t.Errorf("group %s: %d cases, want 4", g, groups[g])
		}
	}
	if len(pipelines) > 55 {
		t.Errorf("%d pipelines, want at most 55 of the budget of 60", len(pipelines))
	}
	if sampled < 120 || sampled > 150 {
		t.Errorf("the sample has %d cases, want 120 to 150", sampled)
	}
	if len(samplePairs)*100 < len(pairs)*85 {
		t.Errorf("the sample covers %d of %d pairs, want 85%%", len(samplePairs), len(pairs))
	}
}

func sorted(m map[string]int) (out []string) {
	for k, n := range m {
		out = append(out, fmt.Sprintf("%s: %d", k, n))
	}
	sort.Strings(out)
	return out
}

func TestEveryCaseChecks(t *testing.T) {
	for _, c := range (Options{Sample: raceEnabled || testing.Short()}).cases() {
		p := c.Build(1)
		seqs, err := p.Op.Check(&p.Args)
		if err != nil {
			t.Errorf("%s: %v", c.Name, err)
			continue
		}
		p.Poison()
		if _, err := p.Op.Check(&p.Args); err != nil {
			t.Errorf("%s: poisoned: %v", c.Name, err)
		}
		for n, v := range p.views() {
			for i := range v.sq {
				for j := range v.sk {
					if got, want := seqs[n].Visible(i, j), p.closed(&v, i, j); got != want {
						t.Fatalf("%s: sequence %d row %d key %d: Sequence.Visible says %v, the pair by pair rule %v", c.Name, n, i, j, got, want)
					}
				}
			}
		}
	}
}
