package main

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/vkattn/vkattn/internal/attntest"
)

const stream = `{"Action":"start","Package":"github.com/vkattn/vkattn/dispatch"}
{"Action":"run","Package":"d","Test":"TestA"}
{"Action":"output","Package":"d","Test":"TestA","Output":"=== RUN   TestA\n"}
{"Action":"run","Package":"d","Test":"TestA/one"}
{"Action":"output","Package":"d","Test":"TestA/one","Output":"    a_test.go:12: said on the way\n"}
{"Action":"output","Package":"d","Test":"TestA/one","Output":"--- PASS: TestA/one (0.00s)\n"}
{"Action":"pass","Package":"d","Test":"TestA/one","Elapsed":0.5}
{"Action":"output","Package":"d","Test":"TestA/two","Output":"    a_test.go:13: wrong\n"}
{"Action":"fail","Package":"d","Test":"TestA/two"}
{"Action":"fail","Package":"d","Test":"TestA"}
WARNING: some driver says something
{"Action":"output","Package":"d","Test":"TestB","Output":"    b_test.go:7: needs 64 KiB\n"}
{"Action":"output","Package":"d","Test":"TestB","Output":"--- SKIP: TestB (0.00s)\n"}
{"Action":"skip","Package":"d","Test":"TestB"}
{"Action":"output","Package":"d","Output":"FAIL\n"}
{"Action":"output","Package":"d","Output":"FAIL\tgithub.com/vkattn/vkattn/dispatch\t1.0s\n"}
{"Action":"fail","Package":"d"}
`

func TestRead(t *testing.T) {
	var r results
	r.read(strings.NewReader(stream), func(event) {})
	if len(r.Tests) != 3 || r.passed() != 1 || r.failed() != 1 || r.count("skip") != 1 {
		t.Fatalf("%+v", r.Tests)
	}
	if r.Tests[2].Reason != "needs 64 KiB" || r.Tests[0].Test != "TestA/one" || r.Tests[0].Seconds != 0.5 {
		t.Errorf("%+v", r.Tests)
	}
}

// TestReadTests: what go test prints without -json, and nothing that a good test says.
func TestReadTests(t *testing.T) {
	t.Chdir(t.TempDir())
	t.Setenv(attntest.ResultsVariable, "")
	var out strings.Builder
	if _, err := command("", true, nil); err == nil {
		t.Error("a table of nothing")
	}
	ok, err := readTests("lavapipe", strings.NewReader(stream), &out)
	if ok || err != nil {
		t.Error(ok, err)
	}
	for _, want := range []string{"a_test.go:13: wrong", "WARNING: some driver", "FAIL\tgithub.com/vkattn/vkattn/dispatch"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in %s", want, out.String())
		}
	}
	for _, no := range []string{"said on the way", "needs 64 KiB", "=== RUN"} {
		if strings.Contains(out.String(), no) {
			t.Errorf("%q is in %s", no, out.String())
		}
	}
	good := `{"Action":"pass","Package":"d","Test":"TestA"}
{"Action":"output","Package":"d","Output":"ok  \td\t1.0s\n"}
{"Action":"pass","Package":"d"}
`
	if ok, err := readTests("sid", strings.NewReader(good), &out); !ok || err != nil {
		t.Error(ok, err)
	}
	cut := `{"Action":"output","Package":"d","Test":"TestA","Output":"panic: died\n"}
`
	if ok, _ := readTests("swiftshader", strings.NewReader(cut), &out); ok || !strings.Contains(out.String(), "panic: died") {
		t.Error(ok, out.String())
	}
	all, err := load(strings.Split(defaultDrivers, ","))
	if err != nil || len(all) != 3 || all[0].failed() != 1 || all[2].Driver != "sid" {
		t.Errorf("%+v, %v", all, err)
	}
}

func TestTable(t *testing.T) {
	dense := attntest.Record{Test: "TestC/dense", Backend: "vulkan", Device: "A", Driver: "B", Family: "attention dense", Type: "f32", Kernel: "flash_plain", Status: attntest.Passed}
	types := attntest.Record{Test: "TestC/types", Backend: "vulkan", Family: "attention window", Type: "f16-q8_0-q8_0-f16", Status: attntest.Unsupported,
		Reason: "vulkan on A cannot run attention b1 h2 q16 k16 d64 f16: flash: needs 100 bytes of f16, has 64"}
	matrix := attntest.Record{Test: "TestC/matrix", Backend: "vulkan", Family: "attention window", Type: "f16", Kernel: "flash_matrix", Status: attntest.Passed}
	linear := attntest.Record{Test: "TestC/linear", Backend: "vulkan", Family: "linear", Type: "f32", Status: attntest.Passed}
	onCPU := attntest.Record{Test: "TestD", Backend: "cpu", Device: "E", Family: "linear", Type: "f32", Status: attntest.Passed}
	good := results{Driver: "one", Cases: []attntest.Record{onCPU, dense, types, matrix, linear},
		Tests: []testResult{{Package: "github.com/vkattn/vkattn/dispatch", Test: "TestC/dense", Status: "pass"}, {Package: "github.com/vkattn/vkattn/vk", Test: "TestV", Status: "pass"}}}
	var b strings.Builder
	if !table(&b, []results{good}) {
		t.Error("one good driver: not good")
	}
	bad := results{Driver: "two", Tests: []testResult{{Package: "github.com/vkattn/vkattn/vk", Test: "TestV", Status: "fail"}}}
	b.Reset()
	if table(&b, []results{good, bad}) {
		t.Error("a bad driver after a good one: good")
	}
	const want = `family            type               one            two       kernels
attention, dense  f32                1              -         flash_plain
attention, types  f16-q8_0-q8_0-f16  1 skipped [1]  -         
flash_matrix      f16                1              -         flash_matrix
linear            f32                1              -         
tests of vk                          1              1 FAILED  
all                                  4, 1 skipped   1 FAILED
[1] flash: needs N bytes of f16, has N
one is A, B
`
	if b.String() != want {
		t.Errorf("%s\nwant\n%s", b.String(), want)
	}
	if table(&b, []results{good, {Driver: "three", Errors: []string{"vk: no test passed"}}}) || !strings.Contains(b.String(), "three: vk: no test passed") {
		t.Error(b.String())
	}
}

func TestUnknownDriver(t *testing.T) {
	if _, err := findDriver("voodoo"); err == nil {
		t.Error("no error")
	}
}

// TestSplit: every test is in one shard.
func TestSplit(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s := suite{pkg: "tools/matrix", dir: ".", binary: self}
	shards, err := s.split([]string{"-test.run="})
	if err != nil || len(shards) != 1 || len(shards[0].tests) < 5 || !slices.Contains(shards[0].tests, "TestSplit") || shards[0].name() != "tools_matrix" {
		t.Errorf("%+v, %v", shards, err)
	}
	if whole, err := s.split([]string{"-test.run=Split"}); err != nil || len(whole) != 1 || whole[0].tests != nil {
		t.Errorf("%+v, %v", whole, err)
	}
}
