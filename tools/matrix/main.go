// Command matrix runs the tests that need a Vulkan device on several drivers, and prints one table: what passed, failed and
// was skipped, and why, by driver, kind of work and type.
//
//	go run ./tools/matrix [-drivers lavapipe,swiftshader,sid] [-run REGEXP] [-short] [PACKAGE ...]
//	go test -json ./... | go run ./tools/matrix -read lavapipe
//	go run ./tools/matrix -table
//
// Each test binary is compiled once and run per driver: lavapipe is the Mesa of this machine, swiftshader is
// fetched by tools/swiftshader.sh, sid is the newest lavapipe, in the root of tools/root.sh. Both are fetched once. With -read the tests
// run elsewhere: it prints what go test prints without -json. What is known of each driver is kept in build/matrix, and -table prints
// the table of all that is there. The status is 1 when anything failed.
package main

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"time"
)

// defaultPackages hold tests that run on a device.
var defaultPackages = []string{"./vk/...", "./dispatch/...", "./internal/attntest/..."}

const defaultDrivers = "lavapipe,swiftshader,sid"

func main() {
	names := flag.String("drivers", defaultDrivers, "drivers to run on, of lavapipe, swiftshader and sid")
	pattern := flag.String("run", "", "run only the tests that match")
	short := flag.Bool("short", false, "tell the tests to be short")
	timeout := flag.Duration("timeout", 30*time.Minute, "for one package on one driver")
	jobs := flag.Int("jobs", 2, "test binaries that run at a time")
	read := flag.String("read", "", "run nothing: read the output of go test -json, of tests on this driver")
	show := flag.Bool("table", false, "run nothing: print the table of what has run")
	flag.Parse()
	ok, err := command(*read, *show, func() (bool, error) {
		args := []string{"-test.v=test2json", "-test.timeout=" + timeout.String(), "-test.run=" + *pattern}
		if *short {
			args = append(args, "-test.short")
		}
		packages := flag.Args()
		if len(packages) == 0 {
			packages = defaultPackages
		}
		return run(strings.Split(*names, ","), packages, args, *jobs)
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, "matrix:", err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

func command(read string, show bool, run func() (bool, error)) (bool, error) {
	if err := os.MkdirAll(build, 0o755); err != nil {
		return false, err
	}
	switch {
	case read != "":
		return readTests(read, os.Stdin, os.Stdout)
	case show:
		all, err := load(strings.Split(defaultDrivers, ","))
		if err != nil {
			return false, err
		}
		return table(os.Stdout, all), nil
	}
	return run()
}
