package vkattn

import (
	"cmp"
	"fmt"
	"math"
	"strings"
)

// Op says what is computed, without data. The implementations are small comparable structs: they are
// the key of a plan, the name of a benchmark, a JSON record and part of every error text: Attention, MoBA, NSA,
// Linear, Merge and Rope. AttentionGrad is reserved.
type Op interface {
	// Validate finds everything that is wrong with the op whatever the backend.
	Validate() error
	// String is a short canonical name, such as "attention b1 h32/8 q2048 k2048 d128 f32 causal".
	String() string
	op()
}

// Number is a float that may be unset. The zero value is unset.
type Number struct {
	Set   bool    `json:"set"`
	Value float64 `json:"value"`
}

// Num is a set Number.
func Num(v float64) Number { return Number{true, v} }

// Bound is one side of a window, in tokens. The zero value is unbounded.
type Bound struct {
	Set bool `json:"set"`
	N   int  `json:"n"`
}

// Tokens is a Bound of n tokens. Negative n is legal: it shifts that side past the diagonal.
func Tokens(n int) Bound { return Bound{true, n} }

// Window keeps key j for row i when i+off-Left <= j <= i+off+Right, both sides inclusive. The zero
// value is no window. A window that is empty hides everything.
type Window struct {
	Left  Bound `json:"left"`
	Right Bound `json:"right"`
}

// Given reports whether either side is bounded.
func (w Window) Given() bool { return w.Left.Set || w.Right.Set }

// HeadMap says which key and value head a query head reads.
type HeadMap uint8

const (
	HeadBlock  HeadMap = iota // head h reads h / (HeadsQ/HeadsK): consecutive heads form a group
	HeadCyclic                // head h reads h % HeadsK
)

// Map is the key (or value) head of query head h, for heads query heads over kv key heads.
func (m HeadMap) Map(h, heads, kv int) int {
	if m == HeadCyclic {
		return h % kv
	}
	return h / (heads / kv)
}

// Align says where the diagonal lies when Sq and Sk differ: off in i+off. Causal, window, chunk and
// ALiBi all use the same off.
type Align uint8

const (
	AlignBottomRight Align = iota // off = Sk - Sq: the last row sees the last key
	AlignTopLeft                  // off = 0
	AlignOffset                   // off is Args.Offset, one for all sequences or one each
)

func (a Align) String() string { return [...]string{"bottom-right", "top-left", "offset"}[a] }

// With is a set of optional inputs and outputs that an Attention call carries in its Args.
type With uint16

const (
	WithLSE        With = 1 << iota // write Args.LSE
	WithBias                        // Args.Bias, added to the scores; -inf hides a key
	WithMask                        // Args.Mask, true keeps
	WithTree                        // Args.Tree, true keeps, the same for all heads
	WithALiBi                       // Args.Slopes, one per head
	WithSinkLogits                  // Args.SinkLogits, one per head, in the denominator alone
	WithKeyLengths                  // Args.KeyLengths, one per sequence
	WithPrefix                      // Args.Prefix, keys that causal never hides
	WithGlobal                      // Args.Global, tokens that the window never hides
	WithBlocks                      // Args.Blocks, a block mask
	WithRelative                    // Args.Relative, a bias by distance
	WithDescaleQ                    // Args.DescaleQ, factors of 8-bit floats
	WithDescaleK                    // Args.DescaleK
	WithDescaleV                    // Args.DescaleV
	allWith        = WithDescaleV<<1 - 1
)

var withNames = []string{"lse", "bias", "mask", "tree", "alibi", "sinks", "keylen", "prefix", "global", "blocks", "relative", "descale_q", "descale_k", "descale_v"}

// Has reports whether every input of x is in w.
func (w With) Has(x With) bool { return w&x == x }

func (w With) String() string {
	var names []string
	for i, n := range withNames {
		if w&(1<<i) != 0 {
			names = append(names, n)
		}
	}
	return strings.Join(names, "+")
}

// Attention is exact softmax attention, forward:
//
//	Out[b,h,i] = sum_j p_ij V[b,hv,j],  p = softmax over the visible j of
//	s_ij = mask(bias_ij + relative_h(j-i-off) - slope_h |i+off-j| + cap(Scale * Q[b,h,i] . K[b,hk,j]))
//
// The full order of operations is: scale, softcap, ALiBi, relative bias, bias, mask, softmax with the sink logit in
// its denominator. A row with no visible key gives 0 and an LSE of -inf (the sink logit, if there is one).
//
// Sizes are capacities: a plan made for SeqQ and SeqK serves every call whose lengths are at most these.
// HeadsK, HeadsV and ValueDim of 0 mean "as HeadsQ, HeadsK, HeadDim"; Canonical writes that out.
type Attention struct {
	Batch    int     `json:"batch"`   // largest number of sequences
	HeadsQ   int     `json:"heads_q"` // query heads
	HeadsK   int     `json:"heads_k"` // key heads, divides HeadsQ
	HeadsV   int     `json:"heads_v"` // value heads, divides HeadsQ
	HeadMap  HeadMap `json:"head_map"`
	SeqQ     int     `json:"seq_q"`     // largest Sq of one sequence
	SeqK     int     `json:"seq_k"`     // largest Sk of one sequence
	Packed   bool    `json:"packed"`    // sequences lie one behind the other, Args.CuSeqQ and CuSeqK say where
	TotalQ   int     `json:"total_q"`   // packed: largest number of query tokens; 0 otherwise
	TotalK   int     `json:"total_k"`   // packed: largest number of key tokens; 0 otherwise
	HeadDim  int     `json:"head_dim"`  // D, of queries and keys
	ValueDim int     `json:"value_dim"` // Dv, of values and output

	TypeQ   Type `json:"type_q"`
	TypeK   Type `json:"type_k"`
	TypeV   Type `json:"type_v"`
	TypeOut Type `json:"type_out"`

	Scale   Number  `json:"scale"`   // unset: 1/sqrt(HeadDim). 0 and negative scales are legal
	Softcap float64 `json:"softcap"` // c > 0: s = c tanh(s/c). 0: none

	Causal     bool   `json:"causal"` // keep j <= i+off
	Align      Align  `json:"align"`
	Window     Window `json:"window"`
	Chunk      int    `json:"chunk"`       // > 0: keep j of the same chunk, floor((i+off)/Chunk) == floor(j/Chunk)
	SinkTokens int    `json:"sink_tokens"` // the window keeps j < SinkTokens
	// MaskBlock > 1: an element of Args.Mask is for so many keys that follow each other, key j has element j/MaskBlock of its
	// row: rows that each choose blocks of keys for themselves. 0 and 1: an element for each key.
	MaskBlock int `json:"mask_block"`

	DescaleBlock int `json:"descale_block"` // > 0: each so many tokens of a sequence have their own descale factors. 0: one for all

	With With `json:"with"`
}

func (Attention) op() {}

// MaxSequence bounds SeqQ, SeqK, TotalQ and TotalK, so that positions fit 32 bits on a device.
const MaxSequence = 1<<30 - 1

// A sequence costs the host some 200 bytes, whether or not it has tokens.
const maxBatch, maxHeads, maxHeadDim = 1 << 20, 1 << 16, 1 << 16

// Canonical is the op with its defaults written out. Two ops mean the same exactly if their canonical
// forms are equal.
func (a Attention) Canonical() Attention {
	if a.HeadsK == 0 {
		a.HeadsK = a.HeadsQ
	}
	if a.HeadsV == 0 {
		a.HeadsV = a.HeadsK
	}
	if a.ValueDim == 0 {
		a.ValueDim = a.HeadDim
	}
	a.Scale = Num(a.scale())
	a.Softcap += 0 // -0 becomes 0
	if !a.Packed {
		a.TotalQ, a.TotalK = 0, 0
	}
	for _, b := range []*Bound{&a.Window.Left, &a.Window.Right} {
		if !b.Set {
			b.N = 0
		}
	}
	if !a.Window.Given() {
		a.SinkTokens, a.With = 0, a.With&^WithGlobal
	}
	if !a.Causal {
		a.With &^= WithPrefix
	}
	if a.With&(WithDescaleQ|WithDescaleK|WithDescaleV) == 0 {
		a.DescaleBlock = 0
	}
	if a.MaskBlock == 1 || !a.With.Has(WithMask) {
		a.MaskBlock = 0
	}
	return a
}

func (a Attention) scale() float64 {
	if a.Scale.Set {
		return a.Scale.Value + 0 // -0 becomes 0
	}
	return 1 / math.Sqrt(float64(a.HeadDim))
}

// Validate returns a *ShapeError or *ArgError that names the field, or nil.
func (a Attention) Validate() error {
	if err := a.validateSizes(); err != nil {
		return err
	}
	if err := cmp.Or(inRange("Chunk", a.Chunk, 0, MaxSequence), inRange("SinkTokens", a.SinkTokens, 0, MaxSequence),
		inRange("MaskBlock", a.MaskBlock, 0, MaxSequence),
		inRange("DescaleBlock", a.DescaleBlock, 0, MaxSequence)); err != nil {
		return err
	}
	c := a.Canonical()
	for _, f := range []struct {
		name  string
		heads int
	}{{"HeadsK", c.HeadsK}, {"HeadsV", c.HeadsV}} {
		if c.HeadsQ%f.heads != 0 {
			return &ShapeError{f.name, "", f.heads, fmt.Sprintf("a divisor of HeadsQ %d", c.HeadsQ)}
		}
	}
	if a.Align > AlignOffset {
		return &ShapeError{"Align", "", uint8(a.Align), "AlignBottomRight, AlignTopLeft or AlignOffset"}
	}
	if a.With&^allWith != 0 {
		return &ShapeError{"With", "", uint16(a.With), "known inputs only"}
	}
	if err := c.validateTypes(); err != nil {
		return err
	}
	if v := a.Scale.Value; math.IsNaN(v) || math.IsInf(v, 0) {
		return &ArgError{"Scale", fmt.Sprintf("is %v, want a finite number", v)}
	}
	if v := float64(float32(a.Scale.Value * math.Log2E)); math.IsInf(v, 0) { // exponents are to base 2
		return &ArgError{"Scale", fmt.Sprintf("is %v, which times log2(e) is beyond float32", a.Scale.Value)}
	}
	if c := a.Softcap; !(c >= 0) || math.IsInf(float64(float32(c)), 0) {
		return &ArgError{"Softcap", fmt.Sprintf("is %v, want 0 (off) or a positive finite number", c)}
	}
	if c := a.Softcap; c > 0 && float32(c) < 0x1p-100 {
		return &ArgError{"Softcap", fmt.Sprintf("is %v, too small for float32", c)}
	}
	for _, f := range []struct {
		name string
		b    Bound
	}{{"Window.Left", a.Window.Left}, {"Window.Right", a.Window.Right}} {
		if f.b.N < -MaxSequence || f.b.N > MaxSequence {
			return &ShapeError{f.name, "", f.b.N, fmt.Sprintf("%d to %d, or unbounded", -MaxSequence, MaxSequence)}
		}
	}
	if a.Packed && a.With.Has(WithKeyLengths) {
		return &ArgError{"KeyLengths", "packed sequences carry their lengths in CuSeqK"}
	}
	return nil
}

// validateTypes checks a canonical op: heads fill whole blocks, and only 8-bit floats have descale factors.
func (a Attention) validateTypes() error {
	for _, f := range []struct {
		name    string
		t       Type
		dimName string
		dim     int
		descale With
	}{
		{"TypeQ", a.TypeQ, "HeadDim", a.HeadDim, WithDescaleQ}, {"TypeK", a.TypeK, "HeadDim", a.HeadDim, WithDescaleK},
		{"TypeV", a.TypeV, "ValueDim", a.ValueDim, WithDescaleV}, {"TypeOut", a.TypeOut, "ValueDim", a.ValueDim, 0},
	} {
		if !f.t.Valid() || f.t == Bool {
			return &ShapeError{f.name, "", f.t, "a number type"}
		}
		if n, _ := f.t.Block(); f.dim%n != 0 {
			return &ShapeError{f.dimName, "", f.dim, fmt.Sprintf("a multiple of %d, as %s is %s", n, f.name, f.t)}
		}
		if a.With&f.descale != 0 && !f.t.is8BitFloat() {
			return &ArgError{f.name, fmt.Sprintf("is %s, and With names %s: only f8_e4m3 and f8_e5m2 have descale factors", f.t, f.descale)}
		}
	}
	return nil
}

// Hash is a stable 64-bit FNV-1a hash of the canonical op, the same in every process.
func (a Attention) Hash() uint64 { return hash(a.Canonical()) }

// hash is of the type and the fields of a canonical op.
func hash(op Op) uint64 {
	h := uint64(0xcbf29ce484222325)
	for _, c := range fmt.Appendf(nil, "%#v", op) {
		h = (h ^ uint64(c)) * 0x100000001b3
	}
	return h
}

func (a Attention) String() string {
	c := a.Canonical()
	var b strings.Builder
	fmt.Fprintf(&b, "attention %s q%d k%d %s", c.headsName(), c.SeqQ, c.SeqK, c.rowsName())
	if a.Scale.Set && c.Scale.Value != (Attention{HeadDim: c.HeadDim}).scale() {
		fmt.Fprintf(&b, " scale%g", c.Scale.Value)
	}
	if c.Softcap > 0 {
		fmt.Fprintf(&b, " cap%g", c.Softcap)
	}
	if c.Causal {
		b.WriteString(" causal")
	}
	if c.Align != AlignBottomRight {
		fmt.Fprintf(&b, " %s", c.Align)
	}
	if c.Window.Given() {
		fmt.Fprintf(&b, " window%s:%s", c.Window.Left, c.Window.Right)
	}
	if c.Chunk > 0 {
		fmt.Fprintf(&b, " chunk%d", c.Chunk)
	}
	if c.SinkTokens > 0 {
		fmt.Fprintf(&b, " sinktokens%d", c.SinkTokens)
	}
	if c.DescaleBlock > 0 {
		fmt.Fprintf(&b, " descaleblock%d", c.DescaleBlock)
	}
	if c.With != 0 {
		fmt.Fprintf(&b, " +%s", c.With)
	}
	if c.MaskBlock > 0 {
		fmt.Fprintf(&b, " maskblock%d", c.MaskBlock)
	}
	return b.String()
}

// MaskColumn is the element of a row of Args.Mask that hides or shows key j.
func (a Attention) MaskColumn(j int) int { return j / max(a.MaskBlock, 1) }

func (b Bound) String() string {
	if !b.Set {
		return "inf"
	}
	return fmt.Sprint(b.N)
}

// AttentionGrad is the backward pass of Attention. The name is reserved: every backend refuses it.
type AttentionGrad struct{ Forward Attention }

func (AttentionGrad) op() {}

// Validate checks the forward op.
func (g AttentionGrad) Validate() error { return g.Forward.Validate() }

func (g AttentionGrad) String() string { return "grad of " + g.Forward.String() }
