package bench

import (
	"encoding/json"
	"strings"

	"github.com/vkattn/vkattn"
)

// Op is the problem of a record in canonical form. At most one field is set: none in records of an op that this
// version does not know, of which Record.Problem says all.
type Op struct {
	Attention *vkattn.Attention
	Linear    *vkattn.Linear
}

func newOp(op vkattn.Op) (o Op) {
	switch op := op.(type) {
	case vkattn.Attention:
		op = op.Canonical()
		o.Attention = &op
	case vkattn.Linear:
		op = op.Canonical()
		o.Linear = &op
	}
	return o
}

// linearJSON is linear attention in JSON. Attention has no kind: it was there before the others.
type linearJSON struct {
	Kind string `json:"kind"`
	*vkattn.Linear
}

const linearKind = "linear"

// MarshalJSON writes the fields of the op, and its kind unless that is softmax attention.
func (o Op) MarshalJSON() ([]byte, error) {
	if o.Linear != nil {
		return json.Marshal(linearJSON{linearKind, o.Linear})
	}
	return json.Marshal(o.Attention)
}

// UnmarshalJSON reads what MarshalJSON writes; an unknown kind is no op.
func (o *Op) UnmarshalJSON(data []byte) error {
	*o = Op{}
	var kind struct {
		Kind string `json:"kind"`
	}
	if string(data) == "null" {
		return nil
	}
	if err := json.Unmarshal(data, &kind); err != nil {
		return err
	}
	switch kind.Kind {
	case "":
		return json.Unmarshal(data, &o.Attention)
	case linearKind:
		return json.Unmarshal(data, &o.Linear)
	}
	return nil
}

// Validate finds what is wrong with the op; no op is right.
func (o Op) Validate() error {
	switch {
	case o.Attention != nil:
		return o.Attention.Validate()
	case o.Linear != nil:
		return o.Linear.Validate()
	}
	return nil
}

// Shape is the sizes and types of either op in the words of softmax attention, nil of no op.
func (o Op) Shape() *vkattn.Attention {
	l := o.Linear
	if l == nil {
		return o.Attention
	}
	return &vkattn.Attention{Batch: l.Batch, HeadsQ: l.HeadsQ, HeadsK: l.HeadsK, HeadsV: l.HeadsV, HeadMap: l.HeadMap, SeqQ: l.SeqQ, SeqK: l.SeqK,
		Packed: l.Packed, TotalQ: l.TotalQ, TotalK: l.TotalK, HeadDim: l.HeadDim, ValueDim: l.ValueDim, TypeQ: l.TypeQ, TypeK: l.TypeK, TypeV: l.TypeV,
		TypeOut: l.TypeOut, Causal: l.Causal}
}

// Extras takes the name of the problem apart: its types, such as "f32" or "f16/q8_0/q4_0/f16", and the masks and the
// like that follow them. A name without types is all extras.
func (r *Record) Extras() (types, extras string) {
	if o := r.Op.Shape(); o != nil {
		if _, after, ok := strings.Cut(r.Problem, " "+o.TypeQ.String()); ok {
			more, extras, _ := strings.Cut(after, " ")
			return o.TypeQ.String() + more, extras
		}
	}
	return "", r.Problem
}
