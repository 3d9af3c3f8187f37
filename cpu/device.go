package cpu

import (
	"bufio"
	"os"
	"runtime"
	"strings"
)

// deviceName is the model name of the first CPU as Linux tells it, else the architecture.
func deviceName() string {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		key, value, _ := strings.Cut(lines.Text(), ":")
		if name := strings.TrimSpace(value); strings.TrimSpace(key) == "model name" && name != "" {
			return name
		}
	}
	return runtime.GOARCH
}
