package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vkattn/vkattn/internal/attntest"
)

// build is where binaries, logs and results lie.
const build = "build/matrix"

// suite is one compiled test binary, or the part of its tests that is shard.
type suite struct {
	pkg, dir, binary string
	shard            int // from 1; 0: the whole
	tests            []string
}

func run(names, packages, args []string, jobs int) (bool, error) {
	var drivers []driver
	for _, name := range names {
		d, err := findDriver(name)
		if err != nil {
			return false, err
		}
		drivers = append(drivers, d)
	}
	suites, err := compile(packages)
	if err != nil {
		return false, err
	}
	var shards []suite
	for _, s := range suites {
		some, err := s.split(args)
		if err != nil {
			return false, err
		}
		shards = append(shards, some...)
	}
	all := make([]results, len(drivers))
	parts := make([][]results, len(drivers))
	var wait sync.WaitGroup
	free := make(chan struct{}, max(1, jobs))
	var print sync.Mutex
	for i, d := range drivers {
		all[i].Driver = d.name
		parts[i] = make([]results, len(shards))
		for j, s := range shards {
			free <- struct{}{}
			wait.Go(func() {
				began := time.Now()
				log := filepath.Join(build, d.name+"-"+s.name()+".log")
				parts[i][j] = d.test(s, args, log)
				<-free
				print.Lock()
				defer print.Unlock()
				fmt.Fprintf(os.Stderr, "%-12s %-26s %6s %s\n", d.name, s.name(), time.Since(began).Round(time.Second/10), strings.Join(parts[i][j].Errors, "; "))
				if len(parts[i][j].Errors) > 0 {
					showFailures(log)
				}
			})
		}
	}
	wait.Wait()
	for i := range all {
		passed := map[string]int{}
		for j, p := range parts[i] {
			passed[shards[j].pkg] += p.passed()
			all[i].add(p)
		}
		for _, s := range suites {
			if passed[s.pkg] == 0 {
				all[i].Errors = append(all[i].Errors, s.pkg+": no test passed")
			}
		}
		if err := all[i].save(); err != nil {
			return false, err
		}
	}
	return table(os.Stdout, all), nil
}

// shardTests is the most tests of a shard.
const shardTests = 10

// split deals the tests of a suite out to processes of their own: most drivers compile on one core at a time. A choice of
// tests stays together.
func (s suite) split(args []string) ([]suite, error) {
	if !slices.Contains(args, "-test.run=") {
		return []suite{s}, nil
	}
	cmd := exec.Command(s.binary, "-test.list=^(Test|Example|Fuzz)")
	cmd.Dir = s.dir
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: -test.list: %w", s.pkg, err)
	}
	names := strings.Fields(string(out))
	shards := make([]suite, max(1, (len(names)+shardTests-1)/shardTests))
	for i := range shards {
		shards[i] = s
		if len(shards) > 1 {
			shards[i].shard = i + 1
		}
	}
	for i, name := range names {
		at := &shards[i%len(shards)]
		at.tests = append(at.tests, name)
	}
	return shards, nil
}

// name is the suite's for people and files.
func (s suite) name() string {
	name := strings.ReplaceAll(s.pkg, "/", "_")
	if s.shard > 0 {
		name += fmt.Sprintf("-%d", s.shard)
	}
	return name
}

// compile builds the test binary of each package that has tests.
func compile(packages []string) ([]suite, error) {
	list := append([]string{"list", "-f",
		`{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}} {{.Dir}} {{.Module.Path}}{{end}}`}, packages...)
	cmd := exec.Command("go", list...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	var suites []suite
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		if len(f) != 3 {
			continue
		}
		pkg := strings.TrimPrefix(strings.TrimPrefix(f[0], f[2]), "/")
		binary, err := filepath.Abs(filepath.Join(build, strings.ReplaceAll(pkg, "/", "_")+".test"))
		if err != nil {
			return nil, err
		}
		if out, err := exec.Command("go", "test", "-c", "-o", binary, f[0]).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("%s: %w\n%s", pkg, err, out)
		}
		suites = append(suites, suite{pkg: pkg, dir: f[1], binary: binary})
	}
	if len(suites) == 0 {
		return nil, errors.New("no package has tests")
	}
	return suites, nil
}

// test runs a suite in its package's folder, as go test does, with all output in a log.
func (d driver) test(s suite, args []string, log string) (r results) {
	fail := func(err error) results {
		r.Errors = append(r.Errors, s.pkg+": "+err.Error())
		return r
	}
	f, err := os.Create(log)
	if err != nil {
		return fail(err)
	}
	defer f.Close()
	cases, err := filepath.Abs(log + ".cases")
	if err == nil {
		err = os.RemoveAll(cases)
	}
	if err != nil {
		return fail(err)
	}
	if len(s.tests) > 0 {
		args = append(slices.Clone(args), "-test.run=^("+strings.Join(s.tests, "|")+")$")
	}
	line := slices.Concat([]string{"tool", "test2json", "-t", "-p", s.pkg}, d.prefix, []string{s.binary}, args)
	cmd := exec.Command("go", line...)
	cmd.Dir = s.dir
	cmd.Stderr = f
	cmd.Env = append(os.Environ(), "VK_DRIVER_FILES="+d.icd, "VK_ICD_FILENAMES="+d.icd,
		"VKATTN_REQUIRE_DEVICE=1", "VKATTN_TEST_DEVICE="+d.device, attntest.ResultsVariable+"="+cases)
	pipe, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return fail(err)
	}
	r.read(pipe, func(e event) { io.WriteString(f, e.Output) })
	err = cmd.Wait()
	if e := r.readCases(cases); e != nil {
		return fail(e)
	}
	if failed := r.failed(); err != nil && failed == 0 {
		return fail(fmt.Errorf("ended without a failed test: a signal, a panic or a timeout (%w)", err))
	} else if failed > 0 {
		return fail(fmt.Errorf("%d failed", failed))
	}
	return r
}

// showFailures prints the end of a log, where go test puts what went wrong.
func showFailures(log string) {
	text, err := os.ReadFile(log)
	if err != nil {
		return
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	var failed []string
	for _, l := range lines {
		if strings.Contains(l, "--- FAIL") {
			failed = append(failed, l)
		}
	}
	shown := append(failed[:min(len(failed), 40)], lines[max(0, len(lines)-40):]...)
	fmt.Fprintf(os.Stderr, "\t%s\n\tthe whole log is %s\n", strings.Join(shown, "\n\t"), log)
}
