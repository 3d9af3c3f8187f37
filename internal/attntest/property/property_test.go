package property

import (
	"testing"

	"github.com/vkattn/vkattn/cpu"
)

func TestCPU(t *testing.T) {
	b := cpu.New(cpu.Config{})
	defer b.Close()
	Check(t, b)
}
