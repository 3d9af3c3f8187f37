package attntest

import (
	"testing"

	"github.com/vkattn/vkattn/cpu"
)

func TestCPU(t *testing.T) {
	b := cpu.New(cpu.Config{})
	defer b.Close()
	Run(t, b, Options{RequireAll: true, Sample: raceEnabled || testing.Short()})
}

func TestCPUBadInputs(t *testing.T) {
	b := cpu.New(cpu.Config{})
	defer b.Close()
	BadInputs(t, b)
}

func TestCPUClosed(t *testing.T) { Closed(t, cpu.New(cpu.Config{})) }

func TestCPUPatterns(t *testing.T) {
	b := cpu.New(cpu.Config{})
	defer b.Close()
	RunPatterns(t, b, false)
}

func TestCPULinear(t *testing.T) {
	b := cpu.New(cpu.Config{})
	defer b.Close()
	RunLinear(t, b, Options{RequireAll: true, Sample: raceEnabled || testing.Short()})
}

func TestCPURope(t *testing.T) {
	b := cpu.New(cpu.Config{})
	defer b.Close()
	RunRope(t, b, Options{RequireAll: true})
}

func TestCPUDecode(t *testing.T) {
	b := cpu.New(cpu.Config{})
	defer b.Close()
	RunDecode(t, b, Options{RequireAll: true})
}

func TestCPUTypes(t *testing.T) {
	b := cpu.New(cpu.Config{})
	defer b.Close()
	RunTypes(t, b, Options{RequireAll: true, Sample: raceEnabled || testing.Short()})
}

func TestCPURopeTypes(t *testing.T) {
	b := cpu.New(cpu.Config{})
	defer b.Close()
	RunRopeTypes(t, b, Options{RequireAll: true})
}

func TestCPUSparse(t *testing.T) {
	b := cpu.New(cpu.Config{})
	defer b.Close()
	o := Options{RequireAll: true, Sample: raceEnabled || testing.Short()}
	RunSparse(t, b, o)
	RunSparseTypes(t, b, o)
}
