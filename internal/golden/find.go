package golden

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Find returns the folder of the golden set for tests: the environment variable
// VKATTN_GOLDEN if it is set, else the whole set in shared/golden beside the
// module, else the part that comes with the module, testdata/golden. The module
// is the one that holds the working directory.
func Find() (string, error) {
	if dir := os.Getenv("VKATTN_GOLDEN"); dir != "" {
		if _, err := os.Stat(filepath.Join(dir, "manifest.json")); err != nil {
			return "", fmt.Errorf("golden: VKATTN_GOLDEN: %w", err)
		}
		return dir, nil
	}
	root, err := moduleRoot()
	if err != nil {
		return "", err
	}
	for _, dir := range []string{filepath.Join(root, "..", "shared", "golden"), filepath.Join(root, "testdata", "golden")} {
		if _, err := os.Stat(filepath.Join(dir, "manifest.json")); err == nil {
			return dir, nil
		}
	}
	return "", errors.New("golden: no golden set: VKATTN_GOLDEN is not set and there is no testdata/golden")
}

func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", errors.New("golden: the working directory is in no module")
		}
		dir = up
	}
}

// TB is the part of testing.TB that ForTest needs.
type TB interface {
	Helper()
	Skipf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// ForTest loads the set that Find finds. Without one it skips the test and says
// why; VKATTN_REQUIRE_GOLDEN=1 makes that a failure.
func ForTest(tb TB) *Set {
	tb.Helper()
	dir, err := Find()
	if err != nil {
		if os.Getenv("VKATTN_REQUIRE_GOLDEN") == "1" || os.Getenv("VKATTN_GOLDEN") != "" {
			tb.Fatalf("%v", err)
		}
		tb.Skipf("%v", err)
		return nil
	}
	set, err := Load(dir)
	if err != nil {
		tb.Fatalf("%v", err)
	}
	return set
}
