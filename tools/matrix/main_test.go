package main

import (
	"errors"
	"strings"
	"testing"
)

func TestCount(t *testing.T) {
	const log = `=== RUN   TestA
--- PASS: TestA (0.00s)
    --- PASS: TestA/one (0.00s)
        --- SKIP: TestA/one/deep (0.00s)
    --- FAIL: TestA/two (0.00s)
--- SKIP: TestB (0.00s)
--- PASS: TestAB (0.00s)
text --- PASS: no
PASS
`
	if p, f, s := count(log); p != 1 || f != 1 || s != 2 {
		t.Errorf("count = %d passed, %d failed, %d skipped, want 1 1 2", p, f, s)
	}
}

func TestTable(t *testing.T) {
	var b strings.Builder
	good := result{driver: "a", pkg: "vk", passed: 2}
	if !table(&b, []result{good}) {
		t.Error("one good result: not good")
	}
	if table(&b, []result{good, {driver: "b", pkg: "vk", err: errors.New("no test ran")}}) {
		t.Error("a bad result after a good one: good")
	}
	if !strings.Contains(b.String(), "no test ran") {
		t.Error(b.String())
	}
}

func TestUnknownDriver(t *testing.T) {
	if _, err := findDriver("voodoo"); err == nil {
		t.Error("no error")
	}
}
