package dispatch

import (
	"context"
	"fmt"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/vk"
)

// fewVariant is the build of the subgroup rung for few rows, which do nothing but wait for their keys and values: how many of
// them are under way at once is its step. Graphics cards alone gain by it.
const fewVariant = "flash_few"

// fewRung is the name by which Config.Disable turns fewVariant off.
const fewRung = "few-rows"

// fewRows are the numbers of rows for which a kernel of its own is worth while: one that spends nothing on
// rows that are not there, for then the keys and values are all that counts.
var fewRows = []int{1, 4, 8}

// few is the first of fewRows that holds all rows of a sequence, and of heads that share their keys, or 0.
func (p *planner) few(op vkattn.Attention) int {
	if p.fixedTile || op.SeqK < 512 {
		return 0
	}
	for _, n := range fewRows {
		if op.SeqQ*sharing(op) <= n {
			return n
		}
	}
	return 0
}

// takesSteps reports whether op is for fewVariant.
func (p *planner) takesSteps(caps *vk.Caps, op vkattn.Attention) bool {
	return p.step != nil || caps.DeviceType != "cpu" && p.few(op) > 0
}

// step is how fewVariant goes through the keys.
type step struct {
	Keys  uint32 // at a time: 4, 8 or 16
	Early bool   // values are loaded before the scores are known
	Ahead bool   // so are the keys of the next step
}

func (s step) String() string {
	text := fmt.Sprintf("%d keys at a time", s.Keys)
	if s.Early || s.Ahead {
		text += " with their values"
	}
	if s.Ahead {
		text += ", the next ones ahead"
	}
	return text
}

// stepRegisters is about the most registers of an invocation that its rows and a step of keys may take.
const stepRegisters = 176

// stepOf is the step of a kernel: as many keys, with their values, as there are registers for what is loaded and for the scores.
func (p *planner) stepOf(k kernelKey) step {
	if p.step != nil {
		return *p.step
	}
	rows := k.Rows * 4 * (k.Dim4 + k.Value4)
	key := k.Dim4*rawWords(k.Types.K) + k.Value4*rawWords(k.Types.V) + k.Rows
	s := step{Keys: 16, Early: true}
	for s.Keys > 4 && rows+s.Keys*key > stepRegisters {
		s.Keys /= 2
	}
	return s
}

// rawWords are the words that four elements of a type are loaded as, by shaders/lib/raw.glsl.
func rawWords(t vkattn.Type) uint32 {
	if n := t.Size(); n > 0 {
		return uint32(n)
	}
	return 4 // with the scale of the block
}

// testFew computes a small problem of few rows. It returns why fewVariant may not serve, or "".
func (b *Backend) testFew(ctx context.Context) (reason string, err error) {
	return b.testAttention(ctx, fewProblem, rungSubgroup)
}

var fewProblem = vkattn.Attention{Batch: 1, HeadsQ: 4, HeadsK: 1, SeqQ: 1, SeqK: 523, HeadDim: 36, ValueDim: 52, Causal: true, With: vkattn.WithLSE}.Canonical()
