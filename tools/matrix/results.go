package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/vkattn/vkattn/internal/attntest"
)

// results is what is known of one driver.
type results struct {
	Driver string            `json:"driver"`
	Tests  []testResult      `json:"tests"`
	Cases  []attntest.Record `json:"cases"`
	Errors []string          `json:"errors"` // of whole packages
}

// testResult is one test or subtest that has no subtests itself.
type testResult struct {
	Package string  `json:"package"`
	Test    string  `json:"test"`
	Status  string  `json:"status"` // pass, fail, skip
	Reason  string  `json:"reason,omitempty"`
	Seconds float64 `json:"seconds"`
}

// event is a line of go test -json; see go doc test2json.
type event struct {
	Action, Package, Test, Output string
	Elapsed                       float64
}

// read takes the tests of a stream of events, and shows each event.
func (r *results) read(stream io.Reader, show func(event)) {
	lines := bufio.NewReader(stream)
	skipped := map[string]string{} // what a test that runs has said last
	parents := map[string]bool{}
	var found []testResult
	for {
		line, err := lines.ReadBytes('\n')
		var e event
		if json.Unmarshal(line, &e) != nil {
			e = event{Action: "output", Output: string(line)} // of a build, or of a driver
		}
		if e.Output != "" || e.Action == "pass" || e.Action == "fail" || e.Action == "skip" {
			show(e)
		}
		key := e.Package + " " + e.Test
		switch e.Action {
		case "output":
			if text := strings.TrimSpace(e.Output); e.Test != "" && text != "" && !strings.HasPrefix(text, "---") && !strings.HasPrefix(text, "===") {
				skipped[key] = text
			}
		case "pass", "fail", "skip":
			if e.Test == "" {
				break
			}
			for name := e.Test; strings.Contains(name, "/"); {
				name = name[:strings.LastIndexByte(name, '/')]
				parents[e.Package+" "+name] = true
			}
			t := testResult{Package: e.Package, Test: e.Test, Status: e.Action, Seconds: e.Elapsed}
			if e.Action == "skip" {
				t.Reason = sourceLine.ReplaceAllString(skipped[key], "")
			}
			found = append(found, t)
			delete(skipped, key)
		}
		if err != nil {
			break
		}
	}
	for _, t := range found {
		if !parents[t.Package+" "+t.Test] {
			r.Tests = append(r.Tests, t)
		}
	}
}

// sourceLine is where a message of a test comes from.
var sourceLine = regexp.MustCompile(`^[A-Za-z0-9_]+\.go:[0-9]+: `)

// readCases takes the file of attntest.ResultsVariable; none is no error.
func (r *results) readCases(name string) error {
	text, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(text)) {
		var c attntest.Record
		if err := json.Unmarshal([]byte(line), &c); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		r.Cases = append(r.Cases, c)
	}
	return nil
}

func (r *results) add(other results) {
	r.Tests = append(r.Tests, other.Tests...)
	r.Cases = append(r.Cases, other.Cases...)
	r.Errors = append(r.Errors, other.Errors...)
}

func (r *results) count(status string) (n int) {
	for _, t := range r.Tests {
		if t.Status == status {
			n++
		}
	}
	return n
}

func (r *results) failed() int { return r.count("fail") }
func (r *results) passed() int { return r.count("pass") }

func resultsFile(driver string) string { return filepath.Join(build, driver+".json") }

func (r *results) save() error {
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return os.WriteFile(resultsFile(r.Driver), text, 0o644)
}

// load reads what is there of the drivers.
func load(names []string) (all []results, err error) {
	for _, name := range names {
		var r results
		text, err := os.ReadFile(resultsFile(name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = json.Unmarshal(text, &r)
		}
		if err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	if len(all) == 0 {
		return nil, errors.New("nothing has run yet")
	}
	return all, nil
}

// readTests keeps the results of a go test -json that runs elsewhere, and prints what it would print without -json. Cases are
// those of the file that attntest.ResultsVariable names.
func readTests(driver string, in io.Reader, out io.Writer) (bool, error) {
	r := results{Driver: driver}
	said := map[string]*strings.Builder{} // of tests that run
	broken := false
	r.read(in, func(e event) {
		key := e.Package + " " + e.Test
		switch {
		case e.Action == "fail" && e.Test == "":
			broken = true
		case e.Test == "" || e.Action == "build-output":
			if e.Output != "PASS\n" {
				io.WriteString(out, e.Output)
			}
		case e.Output != "":
			if strings.HasPrefix(e.Output, "=== ") {
				break
			}
			if said[key] == nil {
				said[key] = &strings.Builder{}
			}
			said[key].WriteString(e.Output)
		default:
			if e.Action == "fail" && said[key] != nil {
				io.WriteString(out, said[key].String())
			}
			delete(said, key)
		}
	})
	for _, b := range said { // a panic or a timeout cut them off
		io.WriteString(out, b.String())
		broken = true
	}
	if err := r.readCases(os.Getenv(attntest.ResultsVariable)); err != nil {
		return false, err
	}
	failed := r.failed()
	r.Tests = slices.DeleteFunc(r.Tests, func(t testResult) bool { return !onDevice(t.Package) && t.Status != "fail" })
	if broken && failed == 0 {
		r.Errors = append(r.Errors, "a package did not come to its end")
	}
	return !broken && failed == 0, r.save()
}

// onDevice reports whether a package is of those that hold tests of a device.
func onDevice(pkg string) bool {
	return slices.ContainsFunc(defaultPackages, func(p string) bool {
		dir := strings.Trim(p, "./")
		return shortPackage(pkg) == dir || strings.HasPrefix(shortPackage(pkg), dir+"/")
	})
}
