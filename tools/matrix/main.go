// Command matrix runs the tests that need a Vulkan device on several drivers, and prints a table.
//
//	go run ./tools/matrix [-drivers lavapipe,swiftshader,sid] [-run REGEXP] [-short] [PACKAGE ...]
//
// Each test binary is compiled once and run per driver: lavapipe is the Mesa of this machine,
// swiftshader is fetched by tools/swiftshader.sh, sid is the newest lavapipe, in the root of
// tools/root.sh. Logs stay in build/matrix. The status is 1 when anything failed.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"text/tabwriter"
	"time"
)

// defaultPackages hold tests that run on a device.
var defaultPackages = []string{"./vk/...", "./dispatch/...", "./internal/attntest/..."}

func main() {
	names := flag.String("drivers", "lavapipe,swiftshader", "drivers to run on, of lavapipe, swiftshader and sid")
	pattern := flag.String("run", "", "run only the tests that match")
	short := flag.Bool("short", false, "tell the tests to be short")
	timeout := flag.Duration("timeout", 30*time.Minute, "for one package on one driver")
	flag.Parse()
	args := []string{"-test.v", "-test.timeout=" + timeout.String(), "-test.run=" + *pattern}
	if *short {
		args = append(args, "-test.short")
	}
	packages := flag.Args()
	if len(packages) == 0 {
		packages = defaultPackages
	}
	ok, err := run(strings.Split(*names, ","), packages, args)
	if err != nil {
		fmt.Fprintln(os.Stderr, "matrix:", err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

// suite is one compiled test binary.
type suite struct{ pkg, dir, binary string }

// result of one suite on one driver.
type result struct {
	driver                  string
	pkg                     string
	passed, failed, skipped int
	err                     error
	took                    time.Duration
}

func run(names, packages, args []string) (bool, error) {
	build, err := filepath.Abs("build/matrix")
	if err != nil {
		return false, err
	}
	if err := os.MkdirAll(build, 0o755); err != nil {
		return false, err
	}
	var drivers []driver
	for _, name := range names {
		d, err := findDriver(name)
		if err != nil {
			return false, err
		}
		drivers = append(drivers, d)
	}
	suites, err := compile(packages, build)
	if err != nil {
		return false, err
	}
	var results []result
	for _, d := range drivers {
		for _, s := range suites {
			log := filepath.Join(build, d.name+"-"+filepath.Base(s.binary)+".log")
			r := d.test(s, args, log)
			results = append(results, r)
			fmt.Fprintf(os.Stderr, "%-12s %-12s %s %s\n", d.name, s.pkg, r.status(), r.took.Round(time.Second/10))
			if r.err != nil {
				showFailures(log)
			}
		}
	}
	return table(os.Stdout, results), nil
}

// compile builds the test binary of each package that has tests.
func compile(packages []string, build string) ([]suite, error) {
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
		s := suite{pkg: pkg, dir: f[1], binary: filepath.Join(build, strings.ReplaceAll(pkg, "/", "_")+".test")}
		if out, err := exec.Command("go", "test", "-c", "-o", s.binary, f[0]).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("%s: %w\n%s", pkg, err, out)
		}
		suites = append(suites, s)
	}
	if len(suites) == 0 {
		return nil, errors.New("no package has tests")
	}
	return suites, nil
}

// driver says how to run a binary so that it sees one Vulkan driver only.
type driver struct {
	name   string
	device string   // part of the device's name
	icd    string   // path of the ICD file, where the binary runs
	prefix []string // command that the binary is an argument of
}

func findDriver(name string) (driver, error) {
	switch name {
	case "lavapipe":
		for _, dir := range []string{"/usr/share", "/usr/local/share", "/etc"} {
			if found, _ := filepath.Glob(dir + "/vulkan/icd.d/lvp_icd*.json"); len(found) > 0 {
				return driver{name: name, device: "llvmpipe", icd: found[0]}, nil
			}
		}
		return driver{}, errors.New("lavapipe: no lvp_icd*.json; run tools/setup.sh test")
	case "swiftshader":
		icd, err := output("tools/swiftshader.sh")
		return driver{name: name, device: "SwiftShader", icd: icd}, err
	case "sid":
		root, err := output("tools/root.sh", "path")
		if err != nil {
			return driver{}, err
		}
		found, _ := filepath.Glob(root + "/usr/share/vulkan/icd.d/lvp_icd*.json")
		if len(found) == 0 {
			return driver{}, fmt.Errorf("sid: no lavapipe in %s", root)
		}
		script, err := filepath.Abs("tools/root.sh")
		return driver{name: name, device: "llvmpipe", icd: strings.TrimPrefix(found[0], root),
			prefix: []string{script, "exec"}}, err
	}
	return driver{}, fmt.Errorf("no driver %q: lavapipe, swiftshader or sid", name)
}

func output(name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%s: %w", name, err)
	}
	return strings.TrimSpace(string(out)), err
}

// test runs a suite in its package's folder, as go test does, with all output in a log.
func (d driver) test(s suite, args []string, log string) result {
	r := result{driver: d.name, pkg: s.pkg}
	f, err := os.Create(log)
	if err != nil {
		r.err = err
		return r
	}
	defer f.Close()
	line := append(append(append([]string{}, d.prefix...), s.binary), args...)
	cmd := exec.Command(line[0], line[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.dir, f, f
	cmd.Env = append(os.Environ(), "VK_DRIVER_FILES="+d.icd, "VK_ICD_FILENAMES="+d.icd,
		"VKATTN_REQUIRE_DEVICE=1", "VKATTN_TEST_DEVICE="+d.device)
	began := time.Now()
	r.err = cmd.Run()
	r.took = time.Since(began)
	if text, err := os.ReadFile(log); err == nil {
		r.passed, r.failed, r.skipped = count(string(text))
	}
	if r.err == nil && r.passed == 0 {
		r.err = errors.New("no test ran")
	}
	return r
}

var verdict = regexp.MustCompile(`(?m)^\s*--- (PASS|FAIL|SKIP): (\S+)`)

// count counts tests and subtests that have no subtests themselves.
func count(log string) (passed, failed, skipped int) {
	found := verdict.FindAllStringSubmatch(log, -1)
	parent := map[string]bool{}
	for _, m := range found {
		for name := m[2]; strings.Contains(name, "/"); {
			name = name[:strings.LastIndexByte(name, '/')]
			parent[name] = true
		}
	}
	for _, m := range found {
		switch {
		case parent[m[2]]:
		case m[1] == "PASS":
			passed++
		case m[1] == "FAIL":
			failed++
		default:
			skipped++
		}
	}
	return passed, failed, skipped
}

func (r result) status() string {
	var exit *exec.ExitError
	switch {
	case r.err == nil:
		return "ok"
	case r.failed > 0:
		return "FAIL"
	case errors.As(r.err, &exit):
		return "CRASH" // it ended without a failed test: a signal, a panic, a timeout
	}
	return r.err.Error()
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

// table prints the results and reports whether all of them are good.
func table(w io.Writer, results []result) bool {
	ok := true
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "driver\tpackage\tpassed\tfailed\tskipped\ttime\t")
	for _, r := range results {
		fmt.Fprintf(t, "%s\t%s\t%d\t%d\t%d\t%s\t%s\n", r.driver, r.pkg, r.passed, r.failed, r.skipped,
			r.took.Round(time.Second/10), r.status())
		ok = ok && r.err == nil
	}
	t.Flush()
	return ok
}
