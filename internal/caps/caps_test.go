package caps

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestRecords(t *testing.T) {
	all, err := All()
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 20 {
		t.Fatalf("%d records", len(all))
	}
	for _, r := range all {
		c, l := r.Caps, r.Caps.Limits
		if r.Source == "" || r.System == "" {
			t.Errorf("%s: no source or no system", r.Name)
		}
		if c.Name == "" || c.DriverName == "" || c.APIVersion.Major != 1 ||
			!slices.Contains([]string{"discrete", "integrated", "virtual", "cpu", "other"}, c.DeviceType) {
			t.Errorf("%s: identity is incomplete", r.Name)
		}
		if l.MaxStorageBufferRange < 1<<27 || l.MaxMemoryAllocationSize < 1<<30 || l.MaxBufferSize < 1<<30 ||
			l.MaxComputeSharedMemorySize < 16<<10 || l.MaxComputeWorkGroupInvocations < 128 ||
			l.MaxPushConstantsSize < 128 || l.MinStorageBufferOffsetAlignment == 0 || l.TimestampPeriod <= 0 ||
			slices.Min(l.MaxComputeWorkGroupSize[:]) < 64 || slices.Min(l.MaxComputeWorkGroupCount[:]) < 65535 {
			t.Errorf("%s: limits below what Vulkan demands, or missing: %+v", r.Name, l)
		}
		s := c.Subgroup
		if s.Min > s.Size || s.Size > s.Max || s.Min == 0 || !slices.IsSorted(s.Ops) || !s.Has("basic") {
			t.Errorf("%s: subgroup %+v", r.Name, s)
		}
		if len(c.CooperativeMatrix) > 0 && !c.Features.CooperativeMatrix {
			t.Errorf("%s: matrix shapes without the feature", r.Name)
		}
		if len(c.Heaps) == 0 {
			t.Errorf("%s: no heaps", r.Name)
		}
	}
}

// TestKeys catches misspelt keys, which encoding/json would pass over.
func TestKeys(t *testing.T) {
	for _, name := range Names() {
		text, err := files.ReadFile(name + ".json")
		if err != nil {
			t.Fatal(err)
		}
		d := json.NewDecoder(bytes.NewReader(text))
		d.DisallowUnknownFields()
		if err := d.Decode(new(Record)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAttribution(t *testing.T) {
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	all, err := All()
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range all {
		if !strings.Contains(string(text), "`"+r.Name+"`") {
			t.Errorf("README.md does not list %s", r.Name)
		}
		if _, report, ok := strings.Cut(r.Source, "report "); ok {
			number, _, _ := strings.Cut(report, " ")
			if !strings.Contains(string(text), number) {
				t.Errorf("README.md does not cite report %s", number)
			}
		}
	}
}

func TestLoad(t *testing.T) {
	for _, name := range []string{"h100-linux", "H100", "iris-xe", "RTX-4090-Windows.json", "navi31"} {
		if r, err := Load(name); err != nil || r.Caps.Name == "" {
			t.Errorf("Load(%q): %v", name, err)
		}
	}
	if _, err := Load("rtx-4090"); err == nil || !strings.Contains(err.Error(), "rtx-4090-linux, rtx-4090-windows") {
		t.Errorf("error is %v, want both records in it", err)
	}
	if _, err := Load("voodoo2"); err == nil || !strings.Contains(err.Error(), "h100-linux") {
		t.Errorf("error is %v, want all records in it", err)
	}
}

func TestRead(t *testing.T) {
	dir := t.TempDir()
	for name, c := range map[string]struct {
		text string
		want int
	}{
		"record.json":  {`{"source":"x","caps":{"name":"a"}}`, 1},
		"bare.json":    {`{"name":"a","limits":{}}`, 1},
		"devices.json": {`{"devices":[{"index":0,"caps":{"name":"a"}},{"caps":{"name":"b"}},{"device":"cpu"}]}`, 2},
		"empty.json":   {`{}`, 0},
		"none.json":    {`{"devices":[{"device":"cpu"}]}`, 0},
		"text.json":    {`hello`, 0},
		"wrong.json":   {`{"caps":{"name":1}}`, 0},
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := Read(path)
		if len(got) != c.want || (err == nil) != (c.want > 0) {
			t.Errorf("%s: %d records, %v", name, len(got), err)
		}
	}
}
