package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestWatch: what a child says, and how its end is told.
func TestWatch(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs a shell and signals")
	}
	const say = "echo '" + childMark
	for _, c := range []struct {
		name, script, want string
		crashed            bool
	}{
		{"done", say + `{"done":true,"loader":"x"}'`, "", false},
		{"noise", `echo 'MESA: warning {"done":true}'; ` + say + `{"done":true}'`, "", false},
		{"silent", "true", "crashed: it ended without a word", true},
		{"signal", say + `{"call":"one"}'; ` + say + `{"call":"two"}'; kill -SEGV $$`, "crashed: signal: segmentation fault", true},
		{"go's runtime", say + `{"call":"two"}'; echo SIGSEGV: segmentation violation >&2; exit 2`, "crashed: SIGSEGV: segmentation violation", true},
		{"error", say + `{"call":"two"}'; echo vkattn: out of luck >&2; exit 1`, "crashed: vkattn: out of luck", true},
		{"hang", say + `{"call":"two"}'; exec sleep 100`, "did not come back within 1s", false},
	} {
		limit := time.Minute
		if c.name == "hang" {
			limit = time.Second
		}
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		o := watch(ctx, exec.CommandContext(ctx, "sh", "-c", c.script), limit, nil)
		cancel()
		if o.failure != c.want || o.crashed != c.crashed || c.want == "" != o.last.Done || o.last.Loader != "" != (c.name == "done") {
			t.Errorf("%s: %+v", c.name, o)
		}
		if c.name == "signal" && (o.at.Call != "two" || !slices.Equal(o.survived, []string{"one"})) {
			t.Errorf("%s: at %q after %q", c.name, o.at.Call, o.survived)
		}
	}
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestDriverFiles: the loader's places, and what is wrong with files there.
func TestDriverFiles(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the places are those of Linux")
	}
	dir := t.TempDir()
	icd := func(library string) string {
		return `{"file_format_version": "1.0.0", "ICD": {"library_path": "` + library + `", "api_version": "1.3.0"}}`
	}
	put(t, filepath.Join(dir, "etc/vulkan/icd.d/a.json"), icd("../lib/a.so"))
	put(t, filepath.Join(dir, "etc/vulkan/lib/a.so"), "")
	put(t, filepath.Join(dir, "share/vulkan/icd.d/b.json"), icd("b.so"))
	put(t, filepath.Join(dir, "share/vulkan/icd.d/c.json"), icd("/nowhere/c.so"))
	put(t, filepath.Join(dir, "share/vulkan/icd.d/d.json"), "{")
	put(t, filepath.Join(dir, "libs/b.so"), "")
	env := map[string]string{"HOME": filepath.Join(dir, "home"), "XDG_CONFIG_DIRS": filepath.Join(dir, "etc"), "XDG_DATA_DIRS": filepath.Join(dir, "share"), "LD_LIBRARY_PATH": filepath.Join(dir, "libs")}
	getenv := func(name string) string { return env[name] }
	found := map[string]driverFile{}
	for _, f := range driverFiles(getenv) {
		if strings.HasPrefix(f.Path, dir) { // the machine's own in /etc are there too
			found[filepath.Base(f.Path)] = f
		}
	}
	if a := found["a.json"]; a.Found != filepath.Join(dir, "etc/vulkan/lib/a.so") || a.API != "1.3.0" || a.Problem != "" {
		t.Errorf("%+v", a)
	}
	if b := found["b.json"]; b.Found != filepath.Join(dir, "libs/b.so") {
		t.Errorf("%+v", b)
	}
	if c, d := found["c.json"], found["d.json"]; c.Problem == "" || d.Problem == "" || len(found) != 4 {
		t.Errorf("%+v", found)
	}
	env["VK_DRIVER_FILES"] = filepath.Join(dir, "share/vulkan/icd.d/c.json")
	if only := driverFiles(getenv); len(only) != 1 || only[0].Library != "/nowhere/c.so" {
		t.Errorf("%+v", only)
	}
}

// TestAdvice: a GPU on the bus that no Vulkan driver offers.
func TestAdvice(t *testing.T) {
	dir := t.TempDir()
	for slot, c := range map[string][3]string{"0000:01:00.0": {"0x030000\n", "0x10de\n", "0x2330\n"}, "0000:02:00.0": {"0x030200", "0x1002", "0x744c"}, "0000:03:00.0": {"0x020000", "0x8086", "0x1000"}} {
		for i, name := range []string{"class", "vendor", "device"} {
			put(t, filepath.Join(dir, "bus/pci/devices", slot, name), c[i])
		}
	}
	d := diagnosis{Vulkan: true, Cards: cards(dir), Devices: make([]patient, 1)}
	if len(d.Cards) != 2 || d.Cards[0] != (card{"0000:01:00.0", 0x10de, 0x2330, ""}) {
		t.Fatalf("%+v", d.Cards)
	}
	d.Devices[0].Caps.VendorID = 0x1002
	d.advise()
	if text := strings.Join(d.Advice, "\n"); !strings.Contains(text, "GPU of NVIDIA in slot 0000:01:00.0") || strings.Contains(text, "AMD") || strings.Contains(text, "Intel") {
		t.Error(text)
	}
}
