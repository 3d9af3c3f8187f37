package bench

import (
	"time"

	"github.com/vkattn/vkattn"
)

// Schema is the version of Record's JSON form. Version 1 had no suites, roofs, hashes and cuts, version 2 no op of linear
// attention and no density; Read takes all.
const Schema = 3

// Build says which program measured.
type Build struct {
	Version string `json:"version"`
	Commit  string `json:"commit,omitempty"`
	Go      string `json:"go"`
	OS      string `json:"os"`
	Arch    string `json:"arch"`
}

// Check is a comparison of results with a reference, row by row.
type Check struct {
	Rows    int     `json:"rows"`    // compared
	Of      int     `json:"of"`      // there are
	Worst   float64 `json:"worst"`   // relative L2 error of the row that used up the largest share of what it is allowed
	Allowed float64 `json:"allowed"` // for that row
	Where   string  `json:"where,omitempty"`
	// LSE is the largest error of a logsumexp, relative beyond 1; nil when there is none to compare.
	LSE *float64 `json:"lse,omitempty"`
	OK  bool     `json:"ok"`
}

// Record is one contestant on one problem.
type Record struct {
	Schema  int       `json:"schema"`
	Build   Build     `json:"build"`
	Time    time.Time `json:"time"`            // UTC
	Label   string    `json:"label,omitempty"` // of the machine, as its user calls it
	Shard   string    `json:"shard,omitempty"`
	Suite   string    `json:"suite,omitempty"`
	Table   string    `json:"table,omitempty"`   // of the suite
	Case    string    `json:"case,omitempty"`    // within the table
	Against string    `json:"against,omitempty"` // the case that Ratio compares with
	Problem string    `json:"problem"`
	Op      Op        `json:"op,omitzero"`
	Asked   string    `json:"asked"` // what the contestant was asked for: device and kernel
	Host    bool      `json:"host"`  // tensors were in host memory, and wall times have the copies in them

	Report vkattn.Report `json:"report"`
	// SPIRV is the SHA-256 of each shader module of the kernel, by name; nil on the CPU.
	SPIRV map[string]string `json:"spirv_sha256,omitempty"`

	Verified bool   `json:"verified"`
	Check    *Check `json:"check,omitempty"` // nil when there was none

	Samples []Sample `json:"samples"`
	Warm    int      `json:"warm_runs"`
	Stopped string   `json:"stopped"` // the rule that ended the measurement: StopNoise and its like
	Device  Summary  `json:"device"`  // by the device's clock; n is 0 when it has none
	Wall    Summary  `json:"wall"`

	TFLOPS   float64 `json:"tflops"`    // exact pairs: 2*pairs*(D+Dv) over the median of Clock
	TFLOPSFA float64 `json:"tflops_fa"` // FlashAttention's convention
	GBS      float64 `json:"gb_s"`      // every input and output once, over the same time
	Clock    string  `json:"clock"`     // "device" or "wall": which median the rates and Ratio use
	Ratio    float64 `json:"ratio"`     // time over the time that it is compared with; below 1 is faster; 0 is unknown

	// Density is the visible pairs over those of the case that it is compared with, where both are softmax attention and
	// differ in that; 0 elsewhere.
	// Ratio over Density is 1 where time goes with the pairs.
	Density float64 `json:"density,omitempty"`

	Roofs *vkattn.Roofs `json:"roofs,omitempty"` // of the device; nil when they were not measured
	Roof  *Roof         `json:"roof,omitempty"`  // the one that binds

	Cut   string `json:"cut,omitempty"`   // by which rule this was not measured
	Error string `json:"error,omitempty"` // why there are no or fewer samples
}

// NewRecord derives the figures of a series. report is that of the last run.
func NewRecord(op vkattn.Op, asked string, report vkattn.Report, roofs *vkattn.Roofs, s *Series) Record {
	r := Record{Schema: Schema, Time: time.Now().UTC(), Problem: op.String(), Asked: asked, Report: report,
		Op: newOp(op), Roofs: roofs, Samples: s.Samples, Warm: s.Warm, Stopped: s.Stopped}
	if s.Err != nil {
		r.Error = s.Err.Error()
	}
	r.derive()
	return r
}

// derive fills in what follows from the samples, the work and the roofs.
func (r *Record) derive() {
	s := Series{Samples: r.Samples}
	r.Device, r.Wall, r.Clock = s.Device(), s.Wall(), "device"
	if r.Device.N == 0 {
		r.Clock = "wall"
	}
	r.TFLOPS, r.TFLOPSFA, r.GBS, r.Roof = 0, 0, 0, nil
	if t := r.Median().Seconds(); t > 0 {
		r.TFLOPS = r.Report.Work.FLOPs / t / 1e12
		r.TFLOPSFA = r.Report.Work.FLOPsFA / t / 1e12
		r.GBS = float64(r.Report.Work.Bytes) / t / 1e9
		r.Roof = r.findRoof()
	}
}

// Summary describes the times by Clock.
func (r *Record) Summary() Summary {
	if r.Clock == "device" {
		return r.Device
	}
	return r.Wall
}

// Median is the median time by Clock.
func (r *Record) Median() time.Duration { return r.Summary().Median }

// Times are the samples by Clock.
func (r *Record) Times() []time.Duration {
	s := Series{Samples: r.Samples}
	if r.Clock == "device" {
		return s.each(func(x Sample) time.Duration { return x.Device })
	}
	return s.each(func(x Sample) time.Duration { return x.Wall })
}

// Measured says whether there are samples and nothing spoke against them.
func (r *Record) Measured() bool { return len(r.Samples) > 0 && (r.Check == nil || r.Check.OK) }

// Memory is what a call needs: inputs, outputs and scratch. 0 where that was not found out.
func (r *Record) Memory() int64 {
	if len(r.Samples) == 0 {
		return 0
	}
	return r.Report.Work.Bytes + r.Report.Scratch
}

// Cache is the bytes that a next token needs of those before: keys and values, or the state of linear attention. 0 for
// an unknown op.
func (r *Record) Cache() int64 {
	o := r.Op.Attention
	if l := r.Op.Linear; l != nil {
		n := l.StateShape(l.Batch)
		return 4 * int64(n[0]) * int64(n[1]) * int64(n[2]) * int64(n[3])
	}
	if o == nil {
		return 0
	}
	batch := int64(o.Batch)
	tokens := batch * int64(o.SeqK)
	if o.Packed {
		tokens = int64(o.TotalK)
	}
	return tokens * (int64(o.HeadsK)*int64(o.HeadDim)*bytesOf32(o.TypeK) + int64(o.HeadsV)*int64(o.ValueDim)*bytesOf32(o.TypeV)) / 32
}

// bytesOf32 is the size of 32 elements; block types have a scale of two bytes in it.
func bytesOf32(t vkattn.Type) int64 {
	switch t {
	case vkattn.Q8_0:
		return 34
	case vkattn.Q4_0:
		return 18
	}
	return 32 * int64(t.Size())
}

// ScoreMatrix is the bytes of all scores in float32, which the unfused baseline keeps.
func ScoreMatrix(op vkattn.Attention) int64 {
	return 4 * int64(op.Batch) * int64(op.HeadsQ) * int64(op.SeqQ) * int64(op.SeqK)
}

// Name is how tables call the contestant's device.
func (r *Record) Name() string {
	name := r.Report.Device
	if name == "" {
		name = r.Asked
	}
	if r.Label != "" {
		name = r.Label + ": " + name
	}
	return name
}

// SetRatios compares each record with the case that it is against, of the same contestant, or with the first
// measured contestant of its own case.
func SetRatios(records []Record) {
	type key struct{ label, suite, table, name, problem, asked string }
	first := map[key]*Record{}
	for i := range records {
		r := &records[i]
		if !r.Measured() || r.Median() <= 0 {
			continue
		}
		for _, k := range []key{{r.Label, r.Suite, r.Table, r.Case, r.Problem, ""}, {r.Label, r.Suite, r.Table, r.Case, "", r.Asked}} {
			if first[k] == nil {
				first[k] = r
			}
		}
	}
	for i := range records {
		r := &records[i]
		base := first[key{r.Label, r.Suite, r.Table, r.Case, r.Problem, ""}]
		if r.Against != "" {
			base = first[key{r.Label, r.Suite, r.Table, r.Against, "", r.Asked}]
		}
		r.compareWith(base)
	}
}

// compareWith sets Ratio and Density; base may be nil.
func (r *Record) compareWith(base *Record) {
	r.Ratio, r.Density = 0, 0
	if base == nil || !r.Measured() || r.Median() <= 0 {
		return
	}
	r.Ratio = float64(r.Median()) / float64(base.Median())
	mine, all := r.Report.Work, base.Report.Work
	if r.Against != "" && mine.Exact && all.Exact && mine.Pairs > 0 && all.Pairs > 0 && mine.Pairs != all.Pairs && r.Op.Attention != nil && base.Op.Attention != nil {
		r.Density = float64(mine.Pairs) / float64(all.Pairs)
	}
}

// PerPair is the time of a pair over that of the case which it is compared with: Ratio over Density, 0 where either is
// unknown.
func (r *Record) PerPair() float64 {
	if r.Density <= 0 {
		return 0
	}
	return r.Ratio / r.Density
}
