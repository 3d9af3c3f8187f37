package bench

import (
	"encoding/csv"
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/vkattn/vkattn"
)

// timed is a verified record of a contestant on the test problem with so many keys.
func timed(asked, device string, keys int, ms ...float64) Record {
	op := testOp
	op.SeqK = keys
	var s Series
	for _, x := range ms {
		s.Samples = append(s.Samples, Sample{Wall: time.Duration(x * 1e6)})
	}
	r := NewRecord(op, asked, vkattn.Report{Info: vkattn.Info{Device: device}, Work: vkattn.Work{Pairs: int64(keys)}}, nil, &s)
	r.Check, r.Verified = &Check{OK: true}, true
	return r
}

func TestCompareOneFile(t *testing.T) {
	failed := timed("0", "gpu", 256, 1)
	failed.Check.OK = false
	c := Compare([]File{{"a", []Record{timed("0", "gpu", 64, 1, 1, 1), timed("cpu", "cpu", 64, 2, 2, 2), timed("0", "gpu", 128, 1), failed, timed("cpu", "cpu", 256, 1)}}})
	if len(c.Columns) != 2 || len(c.Rows) != 1 || c.Alone != 2 {
		t.Fatalf("%+v", c)
	}
	cell := c.Rows[0].Cells[1]
	if cell.Ratio != 2 || cell.Low != 2 || cell.High != 2 || cell.Samples != 3 || c.Rows[0].Cells[0].Ratio != 0 || c.Columns[1].Mean != 2 {
		t.Errorf("%+v", c)
	}
}

// TestCompareJoins: each device of the later file is compared with itself in the first, a new one with the first
// one there, and the samples of one contestant in several records pool.
func TestCompareJoins(t *testing.T) {
	before := File{"a", []Record{timed("0", "gpu", 64, 10), timed("0", "gpu", 64, 12), timed("cpu", "cpu", 64, 100), timed("0/standard", "gpu", 64, 50)}}
	after := File{"b", []Record{timed("cpu", "cpu", 64, 50), timed("1", "gpu", 64, 22), timed("2", "new", 64, 110), timed("0/standard", "gpu", 64, 50), timed("1", "gpu", 512, 22)}}
	c := Compare([]File{before, after})
	if len(c.Rows) != 1 || c.Alone != 1 {
		t.Fatalf("%+v", c)
	}
	want := map[string]float64{"b: cpu": 0.5, "b: gpu": 2, "b: new": 10, "b: gpu/standard": 1, "a: gpu": 0, "a: cpu": 0}
	for i, name := range c.Names() {
		if w, ok := want[name]; ok && math.Abs(c.Rows[0].Cells[i].Ratio-w) > 1e-9 {
			t.Errorf("%s: ratio %v, want %v", name, c.Rows[0].Cells[i].Ratio, w)
		}
	}
	if got := c.Rows[0].Cells[0]; got.Samples != 2 || got.Median != 11*time.Millisecond {
		t.Errorf("%+v", got)
	}
	// Masks that are data are told apart by their pairs.
	other := timed("0", "gpu", 64, 1)
	other.Report.Work.Pairs++
	if c := Compare([]File{{"a", []Record{timed("0", "gpu", 64, 1)}}, {"b", []Record{other}}}); len(c.Rows) != 0 {
		t.Errorf("%+v", c)
	}
}

func TestOver(t *testing.T) {
	noisy := []float64{10, 10, 30, 10, 50, 10, 10, 40}
	steady := []float64{10, 10, 10, 10, 10, 10, 10, 10}
	slower := []float64{12, 12, 12, 12, 12, 12.1, 12, 11.9}
	for _, c := range []struct {
		name      string
		a, b      []float64
		threshold float64
		over      int
	}{
		{"slower", steady, slower, 1.05, 1},
		{"slower, but allowed", steady, slower, 1.5, 0},
		{"faster", slower, steady, 1.05, 0},
		{"the same", steady, steady, 1, 0},
		{"perhaps noise", steady, append(noisy, 10.6, 10.6, 10.7, 10.7, 10.8), 1.05, 0},
	} {
		cmp := Compare([]File{{"a", []Record{timed("0", "gpu", 64, c.a...)}}, {"b", []Record{timed("0", "gpu", 64, c.b...)}}})
		if got := len(cmp.Over(c.threshold)); got != c.over {
			t.Errorf("%s: %d over the threshold, want %d: %+v", c.name, got, c.over, cmp.Rows[0].Cells[1])
		}
	}
}

func TestParseThreshold(t *testing.T) {
	for text, want := range map[string]float64{"1.05": 1.05, "5%": 1.05, " 100% ": 2, "0.9": 0.9} {
		if got, err := ParseThreshold(text); err != nil || math.Abs(got-want) > 1e-12 {
			t.Errorf("%q: %v %v", text, got, err)
		}
	}
	for _, bad := range []string{"", "x", "-5", "NaN", "inf", "-200%"} {
		if got, err := ParseThreshold(bad); err == nil {
			t.Errorf("%q is %v", bad, got)
		}
	}
}

func TestWriteComparison(t *testing.T) {
	unverified := timed("cpu", "cpu | x", 64, 2)
	unverified.Check, unverified.Verified = nil, false
	c := Compare([]File{{"a", []Record{timed("0", "gpu", 64, 1), unverified}}})
	var md, table, js strings.Builder
	for format, w := range map[string]*strings.Builder{"md": &md, "csv": &table, "json": &js} {
		if err := WriteComparison(w, format, &c); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{"A: gpu\n", `B: cpu \| x, compared with A`, "2.00 ms* (2.00, 2.00 to 2.00)", "2.00 over 1"} {
		if !strings.Contains(md.String(), want) {
			t.Errorf("%q is not in\n%s", want, md.String())
		}
	}
	if rows, err := csv.NewReader(strings.NewReader(table.String())).ReadAll(); err != nil || len(rows) != 3 {
		t.Errorf("%v\n%s", err, table.String())
	}
	var back Comparison
	if err := json.Unmarshal([]byte(js.String()), &back); err != nil || back.Rows[0].Cells[1].Ratio != 2 {
		t.Errorf("%v\n%s", err, js.String())
	}
	if err := WriteComparison(&md, "xml", &c); err == nil {
		t.Error("xml was accepted")
	}
}
