package attntest

import (
	"regexp"
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
	float32s := regexp.MustCompile(`^linear/[^t]`) // all but types, of which the CPU backend has float32 alone
	RunLinear(t, b, Options{RequireAll: true, Sample: raceEnabled || testing.Short(), Filter: float32s})
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
