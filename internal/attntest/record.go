package attntest

import (
	"encoding/json"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/vkattn/vkattn"
)

// ResultsVariable is the environment variable that names a file: every case that runs as a subtest appends a line to it,
// a Record in JSON. tools/matrix makes its table of them.
const ResultsVariable = "VKATTN_RESULTS"

// Record is one case that ran as a subtest.
type Record struct {
	Test    string `json:"test"`    // full name
	Backend string `json:"backend"` // as in vkattn.Info
	Device  string `json:"device"`
	Driver  string `json:"driver"`
	Family  string `json:"family"` // see Family
	Type    string `json:"type"`   // see TypeName
	Kernel  string `json:"kernel,omitempty"`
	Status  Status `json:"status"`
	Reason  string `json:"reason,omitempty"`
}

// record appends a case to the file of results, if there is one. What cannot be written would be missing in a table that
// claims to be whole, so it fails the test.
func record(t *testing.T, by vkattn.Info, op vkattn.Op, r Result) {
	t.Helper()
	name := os.Getenv(ResultsVariable)
	if name == "" {
		return
	}
	line, err := json.Marshal(Record{t.Name(), by.Backend, by.Device, by.Driver, Family(op), TypeName(op), r.Kernel, r.Status, r.Reason})
	if err != nil {
		t.Error(err)
		return
	}
	f, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err == nil {
		_, err = f.Write(append(line, '\n'))
		if e := f.Close(); err == nil {
			err = e
		}
	}
	if err != nil {
		t.Error(err)
	}
}

// Family is the kind of work that an op is: of attention by what decides which pairs there are and what their scores
// are, of other ops the name of their type in lower case.
func Family(op vkattn.Op) string {
	a, ok := op.(vkattn.Attention)
	if !ok {
		return strings.ToLower(reflect.TypeOf(op).Name())
	}
	kind := "dense"
	switch has := a.With.Has; {
	case has(vkattn.WithBlocks):
		kind = "block-sparse"
	case has(vkattn.WithMask), has(vkattn.WithTree):
		kind = "masked"
	case a.Window != (vkattn.Window{}), a.Chunk > 0:
		kind = "window"
	case has(vkattn.WithBias), has(vkattn.WithALiBi), has(vkattn.WithRelative), has(vkattn.WithSinkLogits), a.Softcap > 0:
		kind = "scores"
	case a.TotalQ > 0, has(vkattn.WithKeyLengths), has(vkattn.WithPrefix):
		kind = "lengths"
	case a.Causal:
		kind = "causal"
	}
	return "attention " + kind
}

// TypeName is the types of an op: one where all tensors share it, else those of q, k, v and out.
func TypeName(op vkattn.Op) string {
	v := reflect.ValueOf(op)
	for i := range v.NumField() { // ops around attention have their types in it
		if a, ok := v.Field(i).Interface().(vkattn.Attention); ok {
			v = reflect.ValueOf(a)
			break
		}
	}
	var names []string
	same := true
	for _, field := range []string{"TypeQ", "TypeK", "TypeV", "TypeOut"} {
		if f := v.FieldByName(field); f.IsValid() {
			names = append(names, f.Interface().(vkattn.Type).String())
			same = same && names[0] == names[len(names)-1]
		}
	}
	if len(names) == 0 {
		return "f32"
	}
	if same {
		return names[0]
	}
	return strings.Join(names, "-")
}
