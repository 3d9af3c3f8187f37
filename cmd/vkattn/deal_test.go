package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"testing"
)

// TestDeal: cases of one pipeline stay together, shares are even, and no case has two owners or none.
func TestDeal(t *testing.T) {
	var needs [][]string
	for i := range 900 {
		switch {
		case i%3 == 0:
			needs = append(needs, []string{"common", fmt.Sprint(i % 10)})
		case i%100 == 1:
			needs = append(needs, nil)
		default:
			needs = append(needs, []string{fmt.Sprint("rare", i%97)})
		}
	}
	for _, processes := range []int{1, 2, 7, 15} {
		owner := deal(needs, processes)
		if !slices.Equal(owner, deal(needs, processes)) {
			t.Fatalf("%d processes: dealt otherwise the second time", processes)
		}
		cases, turns := make([]int, processes), make([]int, processes)
		built, turn := make([]map[string]bool, processes), make([]map[string]bool, processes)
		for p := range processes {
			built[p], turn[p] = map[string]bool{}, map[string]bool{}
		}
		for i, p := range owner {
			cases[p]++
			turns[i/16%processes]++
			for _, n := range needs[i] {
				built[p][n], turn[i/16%processes][n] = true, true
			}
		}
		total, inTurns := 0, 0
		for p := range processes {
			total, inTurns = total+len(built[p]), inTurns+len(turn[p])
		}
		if low, high := slices.Min(cases), slices.Max(cases); high > 2*low {
			t.Errorf("%d processes: %d to %d cases", processes, low, high)
		}
		if total > 108*5/4 || processes > 2 && total > inTurns/2 {
			t.Errorf("%d processes build %d pipelines, of 108, and %d if they took turns", processes, total, inTurns)
		}
	}
	if owner := deal(make([][]string, 30), 3); slices.Max(owner) != 2 || slices.Index(owner, 1) < 0 {
		t.Errorf("without pipelines %v", owner)
	}
	if owner := deal(nil, 3); len(owner) != 0 {
		t.Error(owner)
	}
}

// TestShardsOfVerify: the shards of a suite are the suite, each case once, in the same order.
func TestShardsOfVerify(t *testing.T) {
	list := func(args ...string) (names []string) {
		var out, stderr bytes.Buffer
		args = append([]string{"verify", "--device", cmp.Or(os.Getenv("VKATTN_TEST_DEVICE"), "cpu"), "--json", "--filter", `^(plain|types/f16/prefill|rope)/.*d(32|40|64)`}, args...)
		if code := Main(args, &out, &stderr); code != exitDone {
			t.Fatalf("exit code %d: %s", code, stderr.String())
		}
		var got tally
		if err := json.Unmarshal(out.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		for _, c := range got.Cases {
			names = append(names, c.Name)
		}
		return names
	}
	want := list()
	var got []string
	for _, shard := range []string{"0/3", "1/3", "2/3"} {
		part, last := list("--shard", shard), -1
		for _, name := range part {
			if at := slices.Index(want, name); at <= last {
				t.Errorf("shard %s: %s is out of order", shard, name)
			} else {
				last = at
			}
		}
		got = append(got, part...)
	}
	slices.Sort(want)
	slices.Sort(got)
	if len(want) < 20 || !slices.Equal(got, want) {
		t.Errorf("%d cases in shards, %d in all", len(got), len(want))
	}
}
