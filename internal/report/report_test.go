package report

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"image/png"
	"io"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/internal/bench"
)

// machine makes up the records of a device: a rate in TFLOP/s, with the whole score matrix if unfused.
type machine struct {
	backend, device, driver, asked, kernel string
	rate                                   float64
	roofs                                  *vkattn.Roofs
	unfused                                bool
}

var machines = []machine{
	{"vulkan", "llvmpipe (LLVM 15.0.6, 256 bits)", "llvmpipe Mesa 22.3.6", "llvmpipe", "flash_texels", 0.02, &vkattn.Roofs{ReadGBps: 11, CopyGBps: 9, FMATFLOPs: 0.11}, false},
	{"vulkan", "llvmpipe (LLVM 15.0.6, 256 bits)", "llvmpipe Mesa 22.3.6", "llvmpipe/standard", "standard", 0.002, &vkattn.Roofs{ReadGBps: 11, CopyGBps: 9, FMATFLOPs: 0.11}, true},
	{"vulkan", "A <GPU> & co", "driver 1.2", "gpu", "flash_matrix", 12, &vkattn.Roofs{ReadGBps: 800, CopyGBps: 700, FMATFLOPs: 20, Matrix: map[string]float64{"f32": 40, "f16": 80}}, false},
	{"cpu", "Some CPU", "go", "cpu", "flash-cpu", 0.06, nil, false},
}

// record is what m would take for a case: exactly 1 +- 5% around its rate.
func (m *machine) record(c *bench.Case) bench.Record {
	op := c.Op
	pairs := float64(op.Batch*op.HeadsQ) * float64(op.SeqQ) * float64(op.SeqK)
	if op.Causal && op.SeqQ > 1 {
		pairs /= 2
	}
	if op.Window.Left.Set {
		pairs = min(pairs, float64(op.Batch*op.HeadsQ*op.SeqQ*(op.Window.Left.N+1)))
	}
	w := vkattn.Work{Pairs: int64(pairs), Exact: true, FLOPs: 4 * pairs * float64(op.HeadDim),
		Bytes: 8 * int64(op.Batch) * int64(op.HeadDim) * int64(op.HeadsQ*op.SeqQ+op.Canonical().HeadsK*op.SeqK)}
	rep := vkattn.Report{Info: vkattn.Info{Backend: m.backend, Device: m.device, Driver: m.driver}, Kernel: m.kernel, Work: w, Scratch: 1 << 16}
	if m.unfused {
		rep.Scratch = bench.ScoreMatrix(op)
	}
	if c.Linear != nil {
		w.FLOPs = 8 * float64(op.SeqQ) * float64(op.HeadDim) * float64(op.HeadDim)
		rep.Work = w
	}
	t := w.FLOPs / (m.rate * 1e12)
	if m.roofs != nil {
		t = max(t, float64(w.Bytes)/(0.7e9*m.roofs.ReadGBps))
	}
	s := bench.Series{Stopped: bench.StopSettled}
	for i := range 21 {
		d := time.Duration(1e9 * (t*(0.95+0.005*float64(i)) + 2e-5))
		s.Samples = append(s.Samples, bench.Sample{Device: d, Wall: d + 10*time.Microsecond})
	}
	r := bench.NewRecord(c.Problem(), m.asked, rep, m.roofs, &s)
	r.Time = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	r.Build = bench.Build{Version: "v0.0.0", Go: "go1.25", OS: "linux", Arch: "amd64"}
	r.Suite, r.Table, r.Case, r.Against = c.Suite, c.Table, c.Name, c.Against
	r.Check, r.Verified = &bench.Check{Rows: 10, Of: 10, OK: true}, true
	return r
}

// files are the suites fa, llama and seed on all machines; on the slow ones the long problems are cut.
func files(t *testing.T) []bench.File {
	t.Helper()
	var all []bench.Record
	for _, suite := range []string{"fa", "llama", "seed"} {
		cases, err := bench.Suite(suite, false)
		if err != nil {
			t.Fatal(err)
		}
		for i := range cases {
			for _, m := range machines {
				if m.unfused && (suite != "seed" || cases[i].Tiled) {
					continue
				}
				r := m.record(&cases[i])
				if r.Median() > 20*time.Second {
					cut := bench.NewRecord(cases[i].Problem(), m.asked, vkattn.Report{Info: r.Report.Info}, nil, &bench.Series{})
					cut.Suite, cut.Table, cut.Case, cut.Cut, cut.Time, cut.Build = r.Suite, r.Table, r.Case, "predicted to take too long", r.Time, r.Build
					r = cut
				}
				all = append(all, r)
			}
		}
	}
	failed := bench.NewRecord(bench.Case{}.Op, "other", vkattn.Report{}, nil, &bench.Series{Err: errors.New("no <such> device")})
	failed.Time = all[0].Time
	failed.Build = all[0].Build
	bench.SetRatios(all)
	return []bench.File{{Name: "x.json", Records: append(all, failed)}}
}

func html(t *testing.T, f []bench.File) string {
	t.Helper()
	r, err := New(f)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := r.WriteHTML(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// outside is whatever would make the browser fetch something, or run something.
var outside = regexp.MustCompile(`(?i)<script|<link rel="stylesheet"|<img|@import|url\(|src=|\bon[a-z]+="|https?://[^"]*"`)

func TestPage(t *testing.T) {
	page := html(t, files(t))
	for _, want := range []string{
		"<title>vkattn: attention measured, 2026-01-02</title>", `<h2 id="devices">Devices</h2>`, "A &lt;GPU&gt; &amp; co", "no &lt;such&gt; device",
		"Against the roof", "Device against device", "FlashAttention&#39;s grid", "Llama 3.1: prefill", "Llama 3.1: decode", "Comparisons: unfused and tiled",
		"Comparisons: windows over 16k tokens", "multiply-adds", "f16 80 TFLOP/s, f32 40 TFLOP/s", "predicted to take too long", "prefers-color-scheme: dark", "settled", "matrix",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("%q is not in the page", want)
		}
	}
	for _, m := range outside.FindAllString(page, -1) {
		if !strings.Contains(m, "www.w3.org") { // the name of a namespace is no address
			t.Errorf("the page is not alone: %s", m)
		}
	}
	if strings.Contains(page, "<GPU>") || strings.Contains(page, "NaN") || strings.Contains(page, "Inf") {
		t.Error("the page has an unescaped name, or a number that is none")
	}
	for colour := range variables() {
		if strings.Contains(page[strings.Index(page, "</style>"):], colour) {
			t.Errorf("%s does not follow light and dark mode", colour)
		}
	}
	// One drawing of time for each kind of problem at several lengths; each is an SVG with a name.
	if n := strings.Count(page, `<svg role="img" aria-label="Time against length`); n != 6+4+1+2+1 {
		t.Errorf("%d plots of time", n)
	}
	if n := strings.Count(page, `<svg role="img" aria-label="Memory against length`); n < 4 {
		t.Errorf("%d plots of memory", n)
	}
	if a, b := strings.Count(page, "<svg"), strings.Count(page, "</svg>"); a != b {
		t.Errorf("%d SVGs begin and %d end", a, b)
	}
}

// TestSVGs: each plot is well-formed XML without a font of its own.
func TestSVGs(t *testing.T) {
	r, err := New(files(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range r.figures() {
		svg, err := f.svg()
		if err != nil {
			t.Fatal(err)
		}
		d := xml.NewDecoder(strings.NewReader(string(svg)))
		for {
			if _, err := d.Token(); err == io.EOF {
				break
			} else if err != nil {
				t.Errorf("%s: %v", f.name, err)
				break
			}
		}
		if !strings.Contains(string(svg), "viewBox=") || strings.Contains(string(svg), "Liberation") {
			t.Errorf("%s: %.300s", f.name, svg)
		}
	}
}

func TestPNGs(t *testing.T) {
	r, err := New(files(t))
	if err != nil {
		t.Fatal(err)
	}
	if testing.Short() {
		r.sections = r.sections[:1]
	}
	dir := filepath.Join(t.TempDir(), "plots")
	names, err := r.WritePNGs(dir)
	if err != nil || len(names) != len(r.figures()) {
		t.Fatalf("%d names of %d plots, %v", len(names), len(r.figures()), err)
	}
	for _, name := range names {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		c, err := png.DecodeConfig(f)
		f.Close()
		if err != nil || c.Width < 600 {
			t.Errorf("%s: %v %+v", name, err, c)
		}
	}
}

// TestContestants: parts of one run are one contestant, the same problem in two files makes two.
func TestContestants(t *testing.T) {
	cases, _ := bench.Suite("fa", true)
	m := &machines[2]
	a, b := m.record(&cases[0]), m.record(&cases[1])
	_, all := assign([]bench.File{{Name: "dir/a.json", Records: []bench.Record{a}}, {Name: "dir/b.json", Records: []bench.Record{b}}})
	if len(all) != 1 || all[0].name != m.device {
		t.Errorf("%+v", all)
	}
	_, all = assign([]bench.File{{Name: "dir/a.json", Records: []bench.Record{a}}, {Name: "dir/b.json", Records: []bench.Record{a, b}}})
	if len(all) != 2 || all[0].name != m.device+" (a)" || all[1].name != m.device+" (b)" {
		t.Errorf("%+v", all)
	}
	if _, err := New([]bench.File{{Name: "x"}}); err == nil {
		t.Error("a page of nothing")
	}
}

// TestRatios: the first contestant of a problem is the measure of all, in whichever file it is; a case that is against another
// is measured by that.
func TestRatios(t *testing.T) {
	cases, _ := bench.Suite("fa", true)
	a, b := machines[3].record(&cases[0]), machines[2].record(&cases[0])
	window := machines[2].record(&cases[1])
	window.Case, window.Against = "w", b.Case
	r, err := New([]bench.File{{Name: "a", Records: []bench.Record{a}}, {Name: "b", Records: []bench.Record{b, window}}})
	if err != nil {
		t.Fatal(err)
	}
	want := []float64{1, b.Median().Seconds() / a.Median().Seconds(), window.Median().Seconds() / b.Median().Seconds()}
	for i, e := range r.sections[0].entries {
		if math.Abs(e.ratio-want[i]) > 1e-6 {
			t.Errorf("%d: ratio %v, want %v", i, e.ratio, want[i])
		}
	}
}

// TestLinearBeside: linear attention is in the same plot of time against length as softmax attention of its shape, each kind with
// lines of its own, and elsewhere alone.
func TestLinearBeside(t *testing.T) {
	softmax := vkattn.Attention{Batch: 1, HeadsQ: 2, HeadDim: 64, Causal: true}
	linear := vkattn.Linear{Batch: 1, HeadsQ: 2, HeadDim: 64, Causal: true, Map: vkattn.MapELU, Norm: vkattn.NormSum}
	var all []bench.Record
	for i := range 3 {
		softmax.SeqQ, softmax.SeqK, linear.SeqQ = 1024<<i, 1024<<i, 1024<<i
		wide := linear
		wide.HeadDim = 128
		for _, m := range machines[2:] {
			for n, op := range []vkattn.Op{softmax, linear, wide} {
				w := vkattn.Work{Pairs: 1 << 20, FLOPs: 1e9, Bytes: 1 << 20}
				s := bench.Series{Samples: []bench.Sample{{Wall: time.Duration(1+i+3*n) * time.Millisecond}}}
				all = append(all, bench.NewRecord(op, m.asked, vkattn.Report{Info: vkattn.Info{Backend: m.backend, Device: m.device}, Kernel: m.kernel, Work: w}, nil, &s))
			}
		}
	}
	r, err := New([]bench.File{{Name: "x", Records: all}})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(r.sections); n != 1 || len(r.sections[0].time) != 2 {
		t.Fatalf("%d sections, %d plots of time in the first, want 1 and 2", n, len(r.sections[0].time))
	}
	for i, want := range []struct{ has, not string }{{">softmax causal<", "head size 128"}, {"head size 128, linear elu causal norm-sum", ">softmax causal<"}} {
		f := r.sections[0].time[i]
		svg, err := f.svg()
		if err != nil {
			t.Fatal(err)
		}
		text := string(svg)
		if i == 0 && (!strings.Contains(text, ">linear elu causal norm-sum<") || strings.Count(text, "stroke-dasharray") < 3) {
			t.Errorf("linear attention has no lines of its own in %s", text)
		}
		if !strings.Contains(text, want.has) || strings.Contains(text, want.not) {
			t.Errorf("plot %d lacks %q or has %q:\n%s", i, want.has, want.not, text)
		}
		if _, err := f.png(); err != nil {
			t.Error(err)
		}
	}
}

// TestHostileRecords: records that came through Read but make no sense do not break the drawing.
func TestHostileRecords(t *testing.T) {
	cases, _ := bench.Suite("fa", true)
	r := machines[0].record(&cases[0])
	var all []bench.Record
	for i := range 30 {
		x := r
		op := *r.Op.Attention
		op.SeqK = 1 + i%7
		x.Op.Attention = &op
		switch i % 5 {
		case 0:
			x.Samples = []bench.Sample{{Device: 1, Wall: 1}}
			x.Device = bench.Summarize([]time.Duration{1})
		case 1:
			x.Device.Median, x.Device.P5, x.Device.P95 = math.MaxInt64, 0, math.MaxInt64
		case 2:
			x.Report.Work = vkattn.Work{}
		case 3:
			x.Report.Work.FLOPs, x.TFLOPS = math.MaxFloat64, math.MaxFloat64
		case 4:
			x.Report.Scratch, x.Roofs = math.MaxInt64/4, &vkattn.Roofs{ReadGBps: math.MaxFloat64}
		}
		x.Case = fmt.Sprint("<b>", i)
		all = append(all, x)
	}
	if page := html(t, []bench.File{{Name: "x", Records: all}}); strings.Contains(page, "<b>") {
		t.Error("a name is not escaped")
	}
}

func TestTicks(t *testing.T) {
	for x, want := range map[float64]string{1e-6: "1 us", 2.5e-4: "250 us", 0.001: "1 ms", 1: "1 s", 500: "500 s", 5e-9: "5ns"} {
		if got := secondsText(x); got != want {
			t.Errorf("%v: %q, want %q", x, got, want)
		}
	}
	if got := bytesText(3 << 30); got != "3 GiB" {
		t.Error(got)
	}
	for x, want := range map[float64]string{0.1: "0.1", 0.25: "0.25", 1000: "1,000", 12: "12"} {
		if got := plain(x); got != want {
			t.Errorf("%v: %q, want %q", x, got, want)
		}
	}
	if rateText(1.5) != "1.5 TFLOP/s" || rateText(0.02) != "20 GFLOP/s" || rateText(1e-5) != "10 MFLOP/s" {
		t.Error("rates")
	}
}
