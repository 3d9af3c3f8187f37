// Package preset holds the attention layers of published models: head counts, head sizes, masks, scale,
// softcap, as their configurations give them. A preset says how one layer attends, not how long the input is.
package preset

import (
	"fmt"
	"slices"
	"strings"

	"github.com/vkattn/vkattn"
)

// Preset is one kind of attention layer of one model.
type Preset struct {
	Name string // "llama3.1-8b"
	Text string // what it is, in one line
	// Op has heads, head sizes, masks and With. Batch, SeqQ and SeqK are 0: the caller chooses.
	Op vkattn.Attention
	// Linear is a layer of linear attention, in place of Op.
	Linear *vkattn.Linear
	// Decays names the model whose decays such a layer has: "retnet" or "transnormerllm"; "" if they come from the data.
	Decays string
	// Rows is the number of query rows of a typical call when that is not the whole sequence (decode), else 0.
	Rows int
	// Context is the longest sequence that the model takes, in tokens.
	Context int
	// Global lists the tokens that see all and are seen by all.
	Global []int32
	// Blocks is the block mask, as --block-mask of the command has it: a sparse pattern in blocks of 64 x 64.
	Blocks string
	// ValueInKey says that values are the first ValueDim channels of the keys, in the same memory.
	ValueInKey bool
	// Layers says which layers of the model attend like this.
	Layers string
}

// Shape is heads, head sizes and causal of either kind of layer, in the words of softmax attention.
func (p Preset) Shape() vkattn.Attention {
	if p.Linear == nil {
		return p.Op
	}
	l := p.Linear.Canonical()
	return vkattn.Attention{HeadsQ: l.HeadsQ, HeadsK: l.HeadsK, HeadsV: l.HeadsV, HeadMap: l.HeadMap, HeadDim: l.HeadDim, ValueDim: l.ValueDim, Causal: l.Causal}
}

// Shaped is l with the sizes, types, heads, causal and, if it is set, the scale of a: the way back from Shape.
func Shaped(l vkattn.Linear, a vkattn.Attention) vkattn.Linear {
	l.Batch, l.HeadsQ, l.HeadsK, l.HeadsV, l.HeadMap = a.Batch, a.HeadsQ, a.HeadsK, a.HeadsV, a.HeadMap
	l.SeqQ, l.SeqK, l.Packed, l.TotalQ, l.TotalK = a.SeqQ, a.SeqK, a.Packed, a.TotalQ, a.TotalK
	l.HeadDim, l.ValueDim, l.Causal = a.HeadDim, a.ValueDim, a.Causal
	l.TypeQ, l.TypeK, l.TypeV, l.TypeOut = a.TypeQ, a.TypeK, a.TypeV, a.TypeOut
	if a.Scale.Set {
		l.Scale = a.Scale
	}
	return l
}

// All lists the presets, related ones beside each other.
func All() []Preset { return slices.Clone(table) }

// Names lists the names in the order of All.
func Names() []string {
	names := make([]string, len(table))
	for i, p := range table {
		names[i] = p.Name
	}
	return names
}

// Find returns the preset of that name, case ignored. The error lists similar names.
func Find(name string) (Preset, error) {
	want := strings.ToLower(name)
	for _, p := range table {
		if p.Name == want {
			return p, nil
		}
	}
	var near []string
	stem, _, _ := strings.Cut(want, "-")
	for _, p := range table {
		if stem != "" && strings.Contains(p.Name, stem) {
			near = append(near, p.Name)
		}
	}
	if len(near) == 0 {
		near = Names()
	}
	return Preset{}, fmt.Errorf("no preset %q; there is %s", name, strings.Join(near, ", "))
}
