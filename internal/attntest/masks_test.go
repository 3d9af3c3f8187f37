package attntest_test

import (
	"testing"

	"github.com/vkattn/vkattn/cpu"
	"github.com/vkattn/vkattn/internal/attntest"
)

// TestMaskCases: the CPU passes them, as it does those of types.
func TestMaskCases(t *testing.T) {
	attntest.RunMasks(t, cpu.New(cpu.Config{}), attntest.Options{RequireAll: true})
}
