package bench

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestSuites(t *testing.T) {
	want := map[string]int{"fa": 36, "llama": 2 * (7 + 12), "window": 3*7 - 1, "seed": 4 + 6 + 4 + 5 + 4*3 + 2*7}
	for _, s := range Suites {
		cases, err := Suite(s.Name, false)
		if err != nil {
			t.Fatal(err)
		}
		if n, ok := want[s.Name]; ok && n != len(cases) {
			t.Errorf("%s has %d cases, want %d", s.Name, len(cases), n)
		}
		paths := map[string]bool{}
		for i := range cases {
			c := &cases[i]
			if paths[c.Path()] {
				t.Errorf("%s twice", c.Path())
			}
			paths[c.Path()] = true
			if err := c.Problem().Validate(); err != nil {
				t.Errorf("%s: %v", c.Path(), err)
			}
			if c.Against != "" && !slices.ContainsFunc(cases, func(x Case) bool { return x.Table == c.Table && x.Name == c.Against }) {
				t.Errorf("%s is against %q, which is not in its table", c.Path(), c.Against)
			}
		}
	}
	if _, err := Suite("fb", false); err == nil || !strings.Contains(err.Error(), "llama") {
		t.Errorf("error is %v, want the suites in it", err)
	}
}

// TestFlashGrid: every problem of the grid has the same number of tokens and the same hidden size.
func TestFlashGrid(t *testing.T) {
	cases, _ := Suite("fa", false)
	for _, c := range cases {
		if c.Op.Batch*c.Op.SeqQ != 16<<10 || c.Op.HeadsQ*c.Op.HeadDim != 2048 || c.Op.SeqQ != c.Op.SeqK {
			t.Errorf("%s: %s", c.Path(), c.Op)
		}
	}
	if first, last := cases[0].Op.String(), cases[35].Op.String(); first != "attention b32 h32 q512 k512 d64 f32" || last != "attention b1 h8 q16384 k16384 d256 f32 causal" {
		t.Errorf("from %s to %s", first, last)
	}
}

// TestQuick: what is left is bounded, something of every suite is left, and cuts say why.
func TestQuick(t *testing.T) {
	for _, s := range Suites {
		cases, _ := Suite(s.Name, true)
		left := 0
		for i := range cases {
			o := cases[i].Op
			why := QuickCut(&cases[i])
			if why == "" {
				left++
			}
			if small := o.Batch*o.SeqQ <= QuickTokens && o.SeqK <= QuickKeys; small != (why == "") {
				t.Errorf("%s: %q", cases[i].Path(), why)
			}
		}
		if left == 0 || s.Name == "fa" && left != len(cases) {
			t.Errorf("%d of %d cases of %s are left", left, len(cases), s.Name)
		}
	}
}

// TestShards: the shards of every list are disjoint, complete and differ by at most one in size.
func TestShards(t *testing.T) {
	for _, items := range []int{0, 1, 5, 36, 38, 100} {
		for of := 1; of <= 12; of++ {
			owner := make([]int, items)
			sizes := make([]int, of)
			for i := range items {
				owner[i] = -1
				for k := range of {
					s, err := ParseShard(fmt.Sprintf("%d/%d", k, of))
					if err != nil {
						t.Fatal(err)
					}
					if s.Has(i) {
						if owner[i] >= 0 {
							t.Errorf("item %d of %d is in shards %d and %d of %d", i, items, owner[i], k, of)
						}
						owner[i] = k
						sizes[k]++
					}
				}
				if owner[i] < 0 {
					t.Errorf("item %d of %d is in no shard of %d", i, items, of)
				}
			}
			if slices.Max(sizes)-slices.Min(sizes) > 1 {
				t.Errorf("%d items in %d shards: %v", items, of, sizes)
			}
		}
	}
	if !(Shard{}).Has(7) || (Shard{}).String() != "" || (Shard{2, 3}).String() != "2/3" {
		t.Error("the zero shard is not everything")
	}
	for _, bad := range []string{"", "1", "3/3", "-1/3", "0/0", "a/2", "1/2/3"} {
		if _, err := ParseShard(bad); err == nil {
			t.Errorf("%q is a shard", bad)
		}
	}
}

// TestShardsMix: the longest sequence of each row of the grid does not always go to the same shard.
func TestShardsMix(t *testing.T) {
	cases, _ := Suite("fa", false)
	long := map[int]int{}
	for i, c := range cases {
		for k := range 6 {
			if c.Op.SeqQ == 16<<10 && (Shard{k, 6}).Has(i) {
				long[k]++
			}
		}
	}
	if len(long) < 6 {
		t.Errorf("the six problems of 16k tokens go to %d of 6 shards", len(long))
	}
}
