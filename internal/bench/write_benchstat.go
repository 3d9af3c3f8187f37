package bench

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"unicode"

	"github.com/vkattn/vkattn"
)

// writeBenchstat writes Go's benchmark format, one line a sample: the name says problem and kernel, a
// configuration line what changed from record to record. Records without samples are comments.
func writeBenchstat(w io.Writer, records []Record) error {
	var b strings.Builder
	b.WriteString("Unit TFLOP/s better=higher\nUnit GB/s better=higher\npkg: github.com/vkattn/vkattn\n")
	config := map[string]string{}
	set := func(key, value string) {
		if value = strings.Join(strings.Fields(value), " "); config[key] != value {
			config[key] = value
			fmt.Fprintf(&b, "%s: %s\n", key, value)
		}
	}
	for i := range records {
		r := &records[i]
		if !r.Measured() {
			fmt.Fprintf(&b, "# %s\n", strings.Join(strings.Fields(r.Asked+": "+r.Problem+": "+r.Verdict()), " "))
			continue
		}
		set("goos", r.Build.OS)
		set("goarch", r.Build.Arch)
		set("label", r.Label)
		set("device", r.Report.Device)
		set("driver", r.Report.Driver)
		set("verified", fmt.Sprint(r.Verified))
		name := benchmarkName(r)
		for _, d := range r.Times() {
			if d <= 0 {
				continue
			}
			fmt.Fprintf(&b, "%s 1 %d ns/op %.6g TFLOP/s %.6g GB/s\n", name, d.Nanoseconds(),
				r.Report.Work.FLOPs/d.Seconds()/1e12, float64(r.Report.Work.Bytes)/d.Seconds()/1e9)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// benchmarkName is Benchmark and then key=value parts, so that benchstat can group by each of them. What is in
// no part of its own is in mask, or in rule of linear attention.
func benchmarkName(r *Record) string {
	name, extra := "BenchmarkAttention", "mask"
	if r.Op.Linear != nil {
		name, extra = "BenchmarkLinear", "rule"
	}
	o := r.Op.Shape()
	if o == nil {
		return name + "/problem=" + nameWord(r.Problem) + "/kernel=" + nameWord(r.Report.Kernel)
	}
	types, rest := r.Extras()
	rest = strings.TrimSpace(strings.Replace(" "+rest, " causal", "", 1))
	name += fmt.Sprintf("/b=%d/hq=%d/hk=%d/hv=%d/sq=%d/sk=%d/d=%d/dv=%d/type=%s/causal=%t", o.Batch, o.HeadsQ, o.HeadsK, o.HeadsV,
		o.SeqQ, o.SeqK, o.HeadDim, o.ValueDim, nameWord(types), o.Causal)
	if o.HeadMap == vkattn.HeadCyclic {
		name += "/map=cyclic"
	}
	if o.Packed {
		name += fmt.Sprintf("/tq=%d/tk=%d", o.TotalQ, o.TotalK)
	}
	if rest != "" {
		name += "/" + extra + "=" + nameWord(rest)
	}
	return name + "/kernel=" + nameWord(r.Report.Kernel)
}

// nameWord is s without what would end a benchmark's name or a part of it.
func nameWord(s string) string {
	s = strings.Map(func(c rune) rune {
		if unicode.IsSpace(c) || !unicode.IsPrint(c) {
			return '_'
		}
		if c == '/' || c == '=' {
			return ':'
		}
		return c
	}, s)
	if s == "" {
		return "none"
	}
	return s
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
