package bench

import (
	"encoding/csv"
	"errors"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/vkattn/vkattn"
)

var testOp = vkattn.Attention{Batch: 1, HeadsQ: 4, HeadsK: 2, SeqQ: 64, SeqK: 64, HeadDim: 32, Causal: true,
	Window: vkattn.Window{Left: vkattn.Tokens(15), Right: vkattn.Tokens(0)}}

func records() []Record {
	roofs := &vkattn.Roofs{ReadGBps: 2, CopyGBps: 1.5, FMATFLOPs: 5, Matrix: map[string]float64{"f16": 40}}
	report := vkattn.Report{Info: vkattn.Info{Backend: "vulkan", Device: "Some | GPU"}, Kernel: "flash", Splits: 2, Slices: 3, Scratch: 100,
		Work: vkattn.Work{Pairs: 10, FLOPs: 4e12, FLOPsFA: 2e12, Bytes: 1e9}}
	a := NewRecord(testOp, "gpu", report, roofs, &Series{Samples: []Sample{{Device: time.Second, Wall: 2 * time.Second}}, Stopped: StopTime})
	a.Check, a.Verified = &Check{Rows: 10, Of: 100, OK: true}, true
	a.SPIRV = map[string]string{"flash": "00ff", "merge": "11"}
	report.Device = "cpu"
	b := NewRecord(testOp, "cpu", report, nil, &Series{Samples: []Sample{{Wall: 4 * time.Second}}, Stopped: StopSamples})
	c := NewRecord(testOp, "nothing", vkattn.Report{}, nil, &Series{Err: errors.New("no such device"), Stopped: StopFailed})
	d := NewRecord(testOp, "all", vkattn.Report{}, nil, &Series{})
	d.Cut = "too long"
	e := NewRecord(vkattn.Linear{Batch: 2, HeadsQ: 4, HeadsK: 2, SeqQ: 64, HeadDim: 8, Causal: true, Map: vkattn.MapELU, Norm: vkattn.NormSum, Decay: vkattn.DecayHead},
		"gpu", report, nil, &Series{Samples: []Sample{{Wall: 4 * time.Second}}})
	all := []Record{a, b, c, d, e}
	SetRatios(all)
	return all
}

func TestRecords(t *testing.T) {
	r := records()
	if r[0].TFLOPS != 4 || r[0].TFLOPSFA != 2 || r[0].GBS != 1 || r[0].Clock != "device" || r[0].Ratio != 1 {
		t.Errorf("%+v", r[0])
	}
	if r[1].Clock != "wall" || r[1].TFLOPS != 1 || r[1].Ratio != 4 || r[1].Roof != nil {
		t.Errorf("%+v", r[1])
	}
	if r[2].Ratio != 0 || r[2].Error == "" || r[2].Measured() {
		t.Errorf("%+v", r[2])
	}
	if r[0].Cache() != 2*64*2*32*4 || r[0].Memory() != 1e9+100 || ScoreMatrix(testOp) != 4*4*64*64 {
		t.Error("bytes")
	}
	if l := r[4].Op.Linear; l == nil || l.HeadsV != 2 || l.ValueDim != 8 || r[4].Op.Attention != nil || r[4].Cache() != 2*2*8*9*4 {
		t.Errorf("%+v", r[4].Op)
	}
	for i, want := range []string{"10 rows", "no", "no such device", "cut: too long"} {
		if got := r[i].Verdict(); got != want {
			t.Errorf("verdict %q, want %q", got, want)
		}
	}
}

func TestRoof(t *testing.T) {
	roofs := &vkattn.Roofs{ReadGBps: 100, CopyGBps: 80, FMATFLOPs: 10, Matrix: map[string]float64{"f16": 80}}
	for _, c := range []struct {
		roofs     *vkattn.Roofs
		matrix    string
		intensity float64
		tflops    float64
		binds     string
	}{
		{roofs, "", 1, 0.1, "bandwidth"},
		{roofs, "", 100, 10, "compute"},
		{roofs, "", 1000, 10, "compute"},
		{roofs, "f16", 1000, 80, "matrix"},
		{roofs, "f16", 100, 10, "bandwidth"},
		{&vkattn.Roofs{CopyGBps: 80}, "", 1000, 80, "bandwidth"},
		{&vkattn.Roofs{FMATFLOPs: 10}, "", 0.001, 10, "compute"},
	} {
		tflops, binds := Ceiling(c.roofs, c.matrix, c.intensity)
		if math.Abs(tflops-c.tflops) > 1e-9 || binds != c.binds {
			t.Errorf("%+v: %v %s", c, tflops, binds)
		}
	}
	f := records()[0].Roof // intensity 4000: 5 TFLOP/s bind, 4 were reached
	if f == nil || f.Binds != "compute" || math.Abs(f.Percent-80) > 1e-9 || f.Intensity != 4000 {
		t.Errorf("%+v", f)
	}
	if none := NewRecord(testOp, "", vkattn.Report{Work: vkattn.Work{FLOPs: 1, Bytes: 1}}, &vkattn.Roofs{}, &Series{Samples: []Sample{{Wall: 1}}}); none.Roof != nil {
		t.Error("a roof of nothing")
	}
}

// TestRatiosAgainst: a case that is against another is compared within its contestant.
func TestRatiosAgainst(t *testing.T) {
	var all []Record
	for _, c := range []struct {
		asked, name, against string
		s                    time.Duration
	}{{"a", "all keys", "", 8}, {"b", "all keys", "", 4}, {"a", "window 1k", "all keys", 2}, {"b", "window 1k", "all keys", 3}, {"a", "orphan", "nobody", 1}} {
		r := NewRecord(testOp, c.asked, vkattn.Report{}, nil, &Series{Samples: []Sample{{Wall: c.s * time.Second}}})
		r.Suite, r.Table, r.Case, r.Against = "s", "t", c.name, c.against
		all = append(all, r)
	}
	SetRatios(all)
	for i, want := range []float64{1, 0.5, 0.25, 0.75, 0} {
		if all[i].Ratio != want {
			t.Errorf("%s on %s: ratio %v, want %v", all[i].Case, all[i].Asked, all[i].Ratio, want)
		}
	}
}

// TestDensity: a sparse case has the share of the pairs of the case that it is against, and the table has what a pair costs.
func TestDensity(t *testing.T) {
	record := func(name, against string, op vkattn.Op, pairs int64, exact bool, s time.Duration) Record {
		r := NewRecord(op, "gpu", vkattn.Report{Work: vkattn.Work{Pairs: pairs, Exact: exact}}, nil, &Series{Samples: []Sample{{Wall: s * time.Second}}})
		r.Suite, r.Case, r.Against = "s", name, against
		return r
	}
	linear := vkattn.Linear{Batch: 1, HeadsQ: 1, SeqQ: 4, HeadDim: 4}
	all := []Record{record("all", "", testOp, 1000, true, 8), record("sparse", "all", testOp, 100, true, 2), record("same", "all", testOp, 1000, true, 4),
		record("linear", "all", linear, 500, true, 1), record("unknown", "all", testOp, 100, false, 2), record("orphan", "nobody", testOp, 100, true, 2)}
	SetRatios(all)
	for i, want := range []float64{0, 0.1, 0, 0, 0, 0} {
		if all[i].Density != want {
			t.Errorf("%s: density %v, want %v", all[i].Case, all[i].Density, want)
		}
	}
	if all[1].PerPair() != 2.5 || all[0].PerPair() != 0 {
		t.Errorf("%v and %v per pair", all[1].PerPair(), all[0].PerPair())
	}
	if md := write(t, "md", all); !regexp.MustCompile(`ratio \| density \| ratio/density \|`).MatchString(md) || !regexp.MustCompile(`0.250 \| +0.100 \| +2.50 \|`).MatchString(md) {
		t.Errorf("no density in\n%s", md)
	}
	back, err := Read(strings.NewReader(write(t, "json", all)), "f")
	if err != nil || back[1].Density != 0.1 {
		t.Errorf("%v %v", back[1].Density, err)
	}
}

func write(t *testing.T, format string, r []Record) string {
	t.Helper()
	var b strings.Builder
	if err := Write(&b, format, r); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestMarkdown(t *testing.T) {
	md := write(t, "md", records())
	lines := strings.Split(strings.TrimSpace(md), "\n")
	if !strings.Contains(lines[2], `Some \| GPU`) || !strings.Contains(lines[2], "10 rows") || !strings.Contains(lines[2], "80.0% compute") {
		t.Errorf("\n%s", md)
	}
	for _, l := range lines[:4] {
		if len(l) != len(lines[0]) {
			t.Errorf("columns are not aligned:\n%s", md)
			break
		}
	}
	for _, want := range []string{"Not measured:\n\n- ", "no such device", "cut: too long", "Measured roofs of Some \\| GPU: 2.00 GB/s read, 1.50 GB/s copied, 5.00 TFLOP/s of float32 multiply-adds, 40.0 TFLOP/s of f16"} {
		if !strings.Contains(md, want) {
			t.Errorf("%q is not in\n%s", want, md)
		}
	}
}

func TestCSV(t *testing.T) {
	text := write(t, "csv", records())
	rows, err := csv.NewReader(strings.NewReader(text)).ReadAll()
	if err != nil || len(rows) != 6 || len(rows[0]) != len(csvColumns) {
		t.Errorf("%v\n%s", err, text)
	}
	if !strings.Contains(text, "flash=00ff merge=11") {
		t.Errorf("no hash in\n%s", text)
	}
	if err := Write(&strings.Builder{}, "xml", nil); err == nil {
		t.Error("xml was accepted")
	}
}

// TestRoundTrip: what is written as JSON, in both forms, is read back the same.
func TestRoundTrip(t *testing.T) {
	want := records()
	for i := range want {
		want[i].Time = want[i].Time.Round(0)
	}
	want[0].Suite, want[0].Table, want[0].Case, want[0].Against, want[0].Label, want[0].Shard = "seed", "t", "c", "d", "node0", "1/2"
	for _, format := range []string{"json", "jsonl"} {
		path := filepath.Join(t.TempDir(), "r."+format)
		if err := os.WriteFile(path, []byte(write(t, format, want)), 0o666); err != nil {
			t.Fatal(err)
		}
		got, err := ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\n%+v, want\n%+v", format, got, want)
		}
	}
	if got, err := Read(strings.NewReader("[]"), "x"); err != nil || len(got) != 0 {
		t.Errorf("%v %v", got, err)
	}
}

func TestReadHostile(t *testing.T) {
	good := strings.TrimSpace(write(t, "jsonl", records()[:1]))
	edit := func(from, to string) string {
		if !strings.Contains(good, from) {
			t.Fatalf("%s is not in %s", from, good)
		}
		return strings.Replace(good, from, to, 1)
	}
	for _, c := range []struct{ name, text, want string }{
		{"empty", "", "f:1: is empty"},
		{"blank", " \n\n", "f:1: is empty"},
		{"text", "hello", "f:1: is no JSON"},
		{"Markdown", "| a | b |", "f:1: is no JSON"},
		{"another JSON", `{"a": 1}`, "f:1: a record without a schema"},
		{"another array", `[1, 2]`, "f:1:"},
		{"cut line", good + "\n" + good[:50], "f:2: ends in the middle of a record"},
		{"cut array", "[\n" + good + ",\n" + good[:50], "f:3: ends in the middle of a record"},
		{"open array", "[\n" + good, "f:2: ends in the middle of a record"},
		{"bad third line", good + "\n" + good + "\n{]", "f:3: invalid character"},
		{"future", good + "\n" + edit(`"schema":3`, `"schema":99`), "f:2: a record of schema 99"},
		{"wrong type", good + "\n\n" + edit(`"asked":"gpu"`, `"asked":7`), "f:3: asked of a record cannot be a number"},
		{"negative time", edit(`"device_ns":1000000000`, `"device_ns":-1`), "f:1: a record with a negative time"},
		{"huge number", edit(`"device_ns":1000000000`, `"device_ns":1e400`), "f:1:"},
		{"negative bytes", edit(`"bytes":1000000000`, `"bytes":-5`), "f:1: a record with impossible work"},
		{"negative roof", edit(`"read_gb_s":2`, `"read_gb_s":-2`), "f:1: a record with an impossible roof"},
		{"impossible op", edit(`"heads_k":2`, `"heads_k":3`), "f:1: a record whose op is not valid"},
		{"impossible linear op", edit(`"op":{`, `"op":{"kind":"linear","map":99,`), "f:1: a record whose op is not valid"},
		{"op of a wrong type", edit(`"heads_k":2`, `"heads_k":"2"`), "f:1: op.heads_k of a record cannot be a string"},
		{"list for an op", edit(`"op":{`, `"op":[7],"x":{`), "f:1:"},
		{"trailing", "[" + good + "]\nmore", "f:2: something follows"},
		{"deep", strings.Repeat("[", 100000), "f:1:"},
	} {
		records, err := Read(strings.NewReader(c.text), "f")
		var re *ReadError
		if err == nil || !strings.HasPrefix(err.Error(), c.want) || !errors.As(err, &re) {
			t.Errorf("%s: %d records, error %v, want %s", c.name, len(records), err, c.want)
		}
	}
	// An op of a kind to come is none, and the rest of the record counts.
	for _, op := range []string{`"op":{"kind":"graph",`, `"op":null,"x":{`} {
		if r, err := Read(strings.NewReader(edit(`"op":{`, op)), "f"); err != nil || r[0].Op != (Op{}) || !r[0].Measured() || r[0].Cache() != 0 {
			t.Errorf("%s: %v %+v", op, err, r)
		}
	}
	// Figures that do not follow from the samples, and control characters, do not survive.
	r, err := Read(strings.NewReader(strings.Replace(edit(`"tflops":4`, `"tflops":4000`), "Some | GPU", `\u001b[31mGPU`, 1)), "f")
	if err != nil || r[0].TFLOPS != 4 || strings.ContainsRune(r[0].Report.Device, 27) {
		t.Errorf("%v %+v", err, r)
	}
	// A record that says verified without a check is not believed.
	if r, err := Read(strings.NewReader(edit(`"ok":true`, `"ok":false`)), "f"); err != nil || r[0].Verified || r[0].Measured() {
		t.Errorf("%v %+v", err, r)
	}
}

func FuzzRead(f *testing.F) {
	var b strings.Builder
	_ = Write(&b, "json", records())
	f.Add(b.String())
	f.Add(`{"schema":1,"problem":"x"}`)
	f.Add("[")
	f.Fuzz(func(t *testing.T, text string) {
		records, err := Read(strings.NewReader(text), "f")
		if err != nil {
			return
		}
		for _, format := range Formats {
			if err := Write(&strings.Builder{}, format, records); err != nil {
				t.Errorf("%s of %q: %v", format, text, err)
			}
		}
		c := Compare([]File{{"f", records}, {"g", records}})
		if err := WriteComparison(&strings.Builder{}, "json", &c); err != nil {
			t.Errorf("comparison of %q: %v", text, err)
		}
	})
}

// benchmarkLine, unitLine and configLine are Go's benchmark format, as golang.org/design/14313-benchmark-format defines it.
var (
	benchmarkLine = regexp.MustCompile(`^Benchmark[A-Z0-9]\S*( +[1-9][0-9]*)(\s+[-+0-9.e]+ +\S+)+$`)
	unitLine      = regexp.MustCompile(`^Unit \S+ better=(higher|lower)$`)
	configLine    = regexp.MustCompile(`^[a-z][^\sA-Z:]*:( .*)?$`)
)

func TestBenchstat(t *testing.T) {
	r := records()
	r[0].Samples = append(r[0].Samples, Sample{Device: 2 * time.Second, Wall: 3 * time.Second})
	text := write(t, "benchstat", r)
	results := 0
	for line := range strings.Lines(text) {
		switch line = strings.TrimSuffix(line, "\n"); {
		case benchmarkLine.MatchString(line):
			results++
		case configLine.MatchString(line), strings.HasPrefix(line, "# "), unitLine.MatchString(line):
		default:
			t.Errorf("neither a result nor a configuration: %q", line)
		}
	}
	if results != 4 {
		t.Errorf("%d results, want one for each sample:\n%s", results, text)
	}
	for _, want := range []string{"BenchmarkLinear/b=2/hq=4/hk=2/hv=2/sq=64/sk=64/d=8/dv=8/type=f32/causal=true/rule=elu_decay-head_norm-sum/kernel=flash 1 4000000000 ns/op",
		"device: Some | GPU\n", "device: cpu\n", "verified: false\n", "# all: ",
		"BenchmarkAttention/b=1/hq=4/hk=2/hv=2/sq=64/sk=64/d=32/dv=32/type=f32/causal=true/mask=window15:0/kernel=flash 1 1000000000 ns/op 4 TFLOP/s 1 GB/s\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
	if got := nameWord("a b/c=d\n"); got != "a_b:c:d_" {
		t.Errorf("%q", got)
	}
	unknown := r[0]
	unknown.Op, unknown.Problem = Op{}, "a new kind"
	if got := benchmarkName(&unknown); got != "BenchmarkAttention/problem=a_new_kind/kernel=flash" {
		t.Error(got)
	}
}
