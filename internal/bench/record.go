package bench

import (
	"time"

	"github.com/vkattn/vkattn"
)

// Schema is the version of Record's JSON form.
const Schema = 1

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
	Schema  int           `json:"schema"`
	Build   Build         `json:"build"`
	Time    time.Time     `json:"time"` // UTC
	Problem string        `json:"problem"`
	Op      any           `json:"op"`
	Asked   string        `json:"asked"` // what the contestant was asked for: device and kernel
	Report  vkattn.Report `json:"report"`

	Verified bool   `json:"verified"`
	Check    *Check `json:"check,omitempty"`

	Samples []Sample `json:"samples"`
	Warm    int      `json:"warm_runs"`
	Stopped string   `json:"stopped"` // the limit that ended the measurement
	Device  Summary  `json:"device"`  // by the device's clock; n is 0 when it has none
	Wall    Summary  `json:"wall"`

	TFLOPS   float64 `json:"tflops"`    // exact pairs: 2*pairs*(D+Dv) over the median of Clock
	TFLOPSFA float64 `json:"tflops_fa"` // FlashAttention's convention
	GBS      float64 `json:"gb_s"`      // every input and output once, over the same time
	Clock    string  `json:"clock"`     // "device" or "wall": which median the rates and Ratio use
	Ratio    float64 `json:"ratio"`     // time over the time of the first contestant of this problem; below 1 is faster

	Error string `json:"error,omitempty"` // why there are no or fewer samples
}

// NewRecord derives the figures of a series. report is that of the last run.
func NewRecord(problem string, op any, asked string, report vkattn.Report, s *Series) Record {
	r := Record{Schema: Schema, Time: time.Now().UTC(), Problem: problem, Op: op, Asked: asked, Report: report,
		Samples: s.Samples, Warm: s.Warm, Stopped: s.Stopped, Device: s.Device(), Wall: s.Wall(), Clock: "device"}
	if r.Device.N == 0 {
		r.Clock = "wall"
	}
	if s.Err != nil {
		r.Error = s.Err.Error()
	}
	if t := r.Median().Seconds(); t > 0 {
		r.TFLOPS = report.Work.FLOPs / t / 1e12
		r.TFLOPSFA = report.Work.FLOPsFA / t / 1e12
		r.GBS = float64(report.Work.Bytes) / t / 1e9
	}
	return r
}

// Median is the median time by Clock.
func (r *Record) Median() time.Duration {
	if r.Clock == "device" {
		return r.Device.Median
	}
	return r.Wall.Median
}

// SetRatios compares the records of one problem with the first that has samples.
func SetRatios(records []Record) {
	var base time.Duration
	for i := range records {
		m := records[i].Median()
		if base == 0 {
			base = m
		}
		if base > 0 && m > 0 {
			records[i].Ratio = float64(m) / float64(base)
		}
	}
}
