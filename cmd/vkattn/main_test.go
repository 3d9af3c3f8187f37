package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/vkattn/vkattn/dispatch"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"vkattn": main})
}

// TestScripts runs the command as a user would: testdata/script says what it prints where. All but device.txtar
// run on the CPU alone; that one runs on the device that VKATTN_TEST_DEVICE names.
func TestScripts(t *testing.T) {
	testdata, err := filepath.Abs(filepath.Join("..", "..", "testdata"))
	if err != nil {
		t.Fatal(err)
	}
	device := os.Getenv("VKATTN_TEST_DEVICE")
	loader := ""
	if device != "" && vulkanCompiled {
		loader = testLoader(t)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			e.Setenv("NO_COLOR", "1")
			e.Setenv("GOLDEN", filepath.Join(testdata, "golden"))
			e.Setenv("STORIES", filepath.Join(testdata, "stories"))
			e.Setenv("DEVICE", device)
			e.Setenv("LOADER", loader)
			e.Setenv("XDG_CACHE_HOME", filepath.Join(e.WorkDir, "cache"))
			if dir, err := os.UserCacheDir(); err == nil && os.Getenv("MESA_SHADER_CACHE_DIR") == "" {
				e.Setenv("MESA_SHADER_CACHE_DIR", dir) // Mesa's own cache, which lies below the one above otherwise
			}
			for _, name := range []string{"VK_DRIVER_FILES", "VK_ICD_FILENAMES", "LD_LIBRARY_PATH", "MESA_SHADER_CACHE_DIR"} {
				if v := os.Getenv(name); v != "" {
					e.Setenv(name, v)
				}
			}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"code": code},
		Condition: func(name string) (bool, error) {
			if name == "device" {
				return device != "" && vulkanCompiled, nil
			}
			if name == "loader" {
				return loader != "", nil
			}
			return false, fmt.Errorf("no condition %q", name)
		},
	})
}

// testLoader builds testdata/loader, and returns its folder, or "" where there is no C compiler or no Linux.
func testLoader(t *testing.T) string {
	cc := os.Getenv("CC")
	if cc == "" {
		cc = "gcc"
	}
	if _, err := exec.LookPath(cc); err != nil || runtime.GOOS != "linux" {
		return ""
	}
	if _, err := dispatch.Devices(t.Context(), dispatch.Config{}); err != nil || loaderPath() == "" {
		return ""
	}
	dir := t.TempDir()
	build := exec.Command(cc, "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", "-DREAL=\""+loaderPath()+"\"", "-o", filepath.Join(dir, "libvulkan.so.1"), "testdata/loader/loader.c", "-ldl")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return dir
}

// code N ARGS... runs vkattn with ARGS and demands the exit code N.
func code(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: code N ARGS...")
	}
	got := 0
	if err := ts.Exec("vkattn", args[1:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("vkattn: %v", err)
		}
		got = exit.ExitCode()
	}
	if want, _ := strconv.Atoi(args[0]); got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}
