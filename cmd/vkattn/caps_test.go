package main

import (
	"bytes"
	"testing"

	"github.com/vkattn/vkattn/internal/caps"
)

// TestEveryRecordPlans: a float32 problem of the largest head size has a plan on every recorded device.
func TestEveryRecordPlans(t *testing.T) {
	for _, name := range caps.Names() {
		for _, size := range []string{"1", "64", "128", "192-128", "576-512", "576"} {
			var stdout, stderr bytes.Buffer
			args := []string{"plan", "--caps", name, "--heads", "16", "--heads-kv", "2", "--seqlen", "4k", "--headdim", size, "--causal"}
			if code := Main(args, &stdout, &stderr); code != exitDone {
				t.Errorf("%s, head size %s: exit code %d: %s", name, size, code, stderr.String())
			}
		}
	}
}
