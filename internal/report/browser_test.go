package report

import (
	"context"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestBrowser opens the page in a real browser, in light mode and with the rules of dark mode for all: nothing reaches the console, and what
// is painted is not empty and follows the mode. VKATTN_KEEP names a folder for the page and its pictures.
func TestBrowser(t *testing.T) {
	browser := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			browser = path
			break
		}
	}
	if browser == "" {
		t.Skip("no chromium here (Debian: apt-get install chromium)")
	}
	dir := t.TempDir()
	if keep := os.Getenv("VKATTN_KEEP"); keep != "" {
		dir = keep
	}
	light := html(t, files(t))
	pages := map[string]string{"light": light, "dark": strings.Replace(light, "@media (prefers-color-scheme: dark)", "@media all", 1)}
	modes := []string{"light", "dark"}
	if testing.Short() {
		modes = modes[:1]
	}
	average := [2]float64{0, 0.2}
	for i, mode := range modes {
		page := filepath.Join(dir, mode+".html")
		if err := os.WriteFile(page, []byte(pages[mode]), 0o666); err != nil {
			t.Fatal(err)
		}
		shot := filepath.Join(dir, mode+".png")
		args := []string{"--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--enable-logging=stderr", "--user-data-dir=" + t.TempDir(),
			"--window-size=1400,6000", "--virtual-time-budget=2000", "--screenshot=" + shot}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		out, err := exec.CommandContext(ctx, browser, append(args, "file://"+page)...).CombinedOutput()
		cancel()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		for line := range strings.Lines(string(out)) {
			if strings.Contains(line, "CONSOLE") {
				t.Errorf("%s mode: %s", mode, line)
			}
		}
		average[i] = brightness(t, shot)
	}
	if average[0] < 0.8 || average[0] > 0.995 || average[1] > 0.3 || average[1] < 0.09 {
		t.Errorf("the page is %.3f bright in light mode and %.3f in dark mode", average[0], average[1])
	}
}

// brightness is the mean of a picture, from 0 to 1.
func brightness(t *testing.T, path string) float64 {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	picture, err := png.Decode(f)
	if err != nil {
		t.Fatal(err)
	}
	var sum, n float64
	b := picture.Bounds()
	for y := b.Min.Y; y < b.Max.Y; y += 3 {
		for x := b.Min.X; x < b.Max.X; x += 3 {
			r, g, bl, _ := picture.At(x, y).RGBA()
			sum += float64(r+g+bl) / 3 / 0xffff
			n++
		}
	}
	if n == 0 {
		t.Fatal("an empty picture")
	}
	return sum / n
}
