package vkattn

import (
	"cmp"
	"fmt"
	"math"
	"strings"
)

// Linear is the family of linear attention: a state of FeatureDim x ValueDim numbers per head takes the place
// of the keys and values, so that time grows with the length and memory does not. With q and k the features
// of Args.Q and Args.K (see FeatureMap), for each token t of a causal call:
//
//	S = diag(exp(g_t)) S                g_t: none, one number a head, one a token, one a token and feature
//	u_t = v_t                           or beta_t (v_t - S^T k_t), the delta rule
//	S = S + k_t u_t^T
//	out_t = Scale S^T q_t               read after write: a token sees itself
//
// A call that is not causal sums over all keys first: S = sum_j k_j v_j^T; then Decay and Rule must be none.
// With NormSum a column of ones beside v gives the denominator z, by the same rule, Scale included: out = num / (den + Eps).
// The state is float32 whatever the types of the tensors.
//
// This covers Katharopoulos et al. (elu+1), Performer, ReLU attention, RetNet, Lightning Attention, GLA,
// simple GLA and Mamba-2's SSD, DeltaNet, Gated DeltaNet, TransNormer, and ONNX LinearAttention.
//
// Sizes are capacities, as in Attention. HeadsQ, HeadsK and HeadsV may each be any divisor of the largest,
// Heads(); the output has that many heads. There is a state for each of States() heads, the larger of HeadsK
// and HeadsV, of which one divides the other.
//
// Sources: arXiv:2006.16236, 2009.14794 (FAVOR+), 2307.08621 (RetNet), 2401.04658 (Lightning-2), 2312.06635
// (GLA), 2405.21060 (SSD), 2406.06484 (DeltaNet), 2412.06464 (Gated DeltaNet), 2210.10340 (TransNormer).
type Linear struct {
	Batch    int     `json:"batch"`
	HeadsQ   int     `json:"heads_q"`
	HeadsK   int     `json:"heads_k"` // 0: HeadsQ
	HeadsV   int     `json:"heads_v"` // 0: HeadsK
	HeadMap  HeadMap `json:"head_map"`
	SeqQ     int     `json:"seq_q"`   // largest number of tokens of a sequence, queries
	SeqK     int     `json:"seq_k"`   // the same of keys; 0: SeqQ, and causal calls have no other
	Packed   bool    `json:"packed"`  // sequences lie one behind the other, Args.CuSeqQ and CuSeqK say where
	TotalQ   int     `json:"total_q"` // packed: largest number of query tokens; 0 otherwise
	TotalK   int     `json:"total_k"` // packed: the same of keys
	HeadDim  int     `json:"head_dim"`
	ValueDim int     `json:"value_dim"` // 0: HeadDim

	TypeQ   Type `json:"type_q"`
	TypeK   Type `json:"type_k"`
	TypeV   Type `json:"type_v"`
	TypeOut Type `json:"type_out"`

	Map      FeatureMap `json:"map"`
	MapEps   Number     `json:"map_eps"`  // added to each feature; unset: 1e-6 for MapFavor, else 0
	Features int        `json:"features"` // > 0: the map works on Args.Projection x, of so many rows; MapFavor needs it

	Causal bool       `json:"causal"`
	Rule   UpdateRule `json:"rule"`
	Decay  Decay      `json:"decay"`
	Norm   Norm       `json:"norm"`
	Eps    Number     `json:"eps"`   // of the norm; unset: 1e-6 for NormSum, 1e-8 for NormSRMS, 1e-5 for NormLiteral
	Scale  Number     `json:"scale"` // of the queries' features; unset: 1/sqrt(HeadDim), and 1 for MapFavor

	StateIn  bool `json:"state_in"`  // Args.StateIn is the state before the first token, else zeros
	StateOut bool `json:"state_out"` // Args.StateOut is written: the state after the last token
}

// FeatureMap is applied to queries and keys, or to their projections, element by element unless said
// otherwise.
type FeatureMap uint8

const (
	MapIdentity    FeatureMap = iota // x
	MapELU                           // elu(x) + 1: x+1 above 0, else exp(x)
	MapReLU                          // max(x, 0)
	MapSiLU                          // x / (1 + exp(-x))
	MapExp                           // exp(x)
	MapSquaredReLU                   // max(x, 0)^2
	MapSoftmax                       // exp(x) / sum exp(x), over the elements of a token's head
	// MapFavor is FAVOR+: with y = x HeadDim^(-1/4), feature r is exp(w_r.y - |y|^2/2 - c) / sqrt(Features) +
	// MapEps / sqrt(Features), w_r the rows of Args.Projection. c, which keeps exp from overflowing, is the
	// largest w_r.y of the token for queries, and for keys the largest w_r.y - |y|^2/2 so far of the sequence and
	// head (of all keys if the call is not causal); what was summed up under a smaller c is scaled to the new
	// one, so that no key shows in a token before it. (Choromanski et al. take the maximum of all keys
	// always, and without |y|^2/2.)
	MapFavor
	mapCount
)

var mapNames = [mapCount]string{"identity", "elu", "relu", "silu", "exp", "relu2", "softmax", "favor"}

func (m FeatureMap) String() string { return enumName(mapNames[:], int(m)) }

// UpdateRule is how a token enters the state.
type UpdateRule uint8

const (
	RuleAdd   UpdateRule = iota // u = v
	RuleDelta                   // u = beta (v - S^T k), after the decay. Keys should have norm 1: see Args.Beta
	ruleCount
)

var ruleNames = [ruleCount]string{"add", "delta"}

func (r UpdateRule) String() string { return enumName(ruleNames[:], int(r)) }

// Decay is what a log decay g depends on.
type Decay uint8

const (
	DecayNone    Decay = iota
	DecayHead          // Args.Decay is [1, States, 1, 1]: RetNet, Lightning
	DecayToken         // [B, States, Sk, 1]: simple GLA, Mamba-2, Gated DeltaNet
	DecayChannel       // [B, States, Sk, FeatureDim]: GLA, Kimi's KDA
	decayCount
)

var decayNames = [decayCount]string{"none", "head", "token", "channel"}

func (d Decay) String() string { return enumName(decayNames[:], int(d)) }

// Norm is what happens to the output of all tokens.
type Norm uint8

const (
	NormNone Norm = iota
	NormSum       // divide by the sum of the weights (plus Eps); a token whose sum plus Eps is 0 gives 0
	NormSRMS      // divide each token by its root mean square over all heads and values, plus Eps (0 stays 0): TransNormer's NormAttention
	// NormLiteral is the formula that this project's first description prints for TransNormer, which is not the
	// paper's: layer normalisation (over the features of a head, with Eps, no gain) of the queries' features,
	// and row r of the state divided by z_r, the sum of feature r over the keys (0 where z_r is 0).
	NormLiteral
	normCount
)

var normNames = [normCount]string{"none", "sum", "srms", "literal"}

func (n Norm) String() string { return enumName(normNames[:], int(n)) }

func enumName(names []string, i int) string {
	if i < len(names) {
		return names[i]
	}
	return fmt.Sprint(i)
}

func (Linear) op() {}

// Heads is the number of heads of the output.
func (l Linear) Heads() int {
	l = l.defaults()
	return max(l.HeadsQ, l.HeadsK, l.HeadsV)
}

// States is the number of heads that have a state.
func (l Linear) States() int {
	l = l.defaults()
	return max(l.HeadsK, l.HeadsV)
}

// FeatureDim is the number of features of a query or key.
func (l Linear) FeatureDim() int {
	if l.Features > 0 {
		return l.Features
	}
	return l.HeadDim
}

// StateShape is the shape of Args.StateIn and StateOut, float32: [batch, States, rows, columns]. Rows are the
// features, columns the values. With NormSum and NormLiteral one more column is the denominator; with MapFavor
// one more row begins with the running maximum c of the keys (the rest of it is 0), under which the other
// rows are scaled; c is -Inf in a state that no key has entered.
func (l Linear) StateShape(batch int) [4]int {
	l = l.defaults()
	rows, columns := l.FeatureDim(), l.ValueDim
	if l.Norm == NormSum || l.Norm == NormLiteral {
		columns++
	}
	if l.Map == MapFavor {
		rows++
	}
	return [4]int{batch, l.States(), rows, columns}
}

func (l Linear) defaults() Linear {
	if l.HeadsK == 0 {
		l.HeadsK = l.HeadsQ
	}
	if l.HeadsV == 0 {
		l.HeadsV = l.HeadsK
	}
	if l.ValueDim == 0 {
		l.ValueDim = l.HeadDim
	}
	if l.SeqK == 0 {
		l.SeqK = l.SeqQ
	}
	if l.Packed && l.TotalK == 0 {
		l.TotalK = l.TotalQ
	}
	return l
}

// sizes are the sizes and types of the op, as far as Attention has them, too.
func (l Linear) sizes() Attention {
	return Attention{Batch: l.Batch, HeadsQ: l.HeadsQ, HeadsK: l.HeadsK, HeadsV: l.HeadsV, HeadMap: l.HeadMap, SeqQ: l.SeqQ, SeqK: l.SeqK,
		Packed: l.Packed, TotalQ: l.TotalQ, TotalK: l.TotalK, HeadDim: l.HeadDim, ValueDim: l.ValueDim,
		TypeQ: l.TypeQ, TypeK: l.TypeK, TypeV: l.TypeV, TypeOut: l.TypeOut}
}

// Canonical is the op with its defaults written out. Two ops mean the same exactly if their canonical
// forms are equal.
func (l Linear) Canonical() Linear {
	l = l.defaults()
	if !l.Packed {
		l.TotalQ, l.TotalK = 0, 0
	}
	number := func(n *Number, unset float64) {
		if !n.Set {
			*n = Num(unset)
		}
		n.Value += 0 // -0 becomes 0
	}
	if l.Map == MapFavor {
		number(&l.MapEps, 1e-6)
		number(&l.Scale, 1)
	}
	number(&l.MapEps, 0)
	number(&l.Scale, 1/math.Sqrt(float64(l.HeadDim)))
	switch l.Norm {
	case NormSum:
		number(&l.Eps, 1e-6)
	case NormSRMS:
		number(&l.Eps, 1e-8)
	case NormLiteral:
		number(&l.Eps, 1e-5)
	default:
		l.Eps = Num(0)
	}
	return l
}

// Validate returns a *ShapeError or *ArgError that names the field, or nil.
func (l Linear) Validate() error {
	if err := cmp.Or(l.sizes().validateSizes(), inRange("Features", l.Features, 0, maxHeadDim)); err != nil {
		return err
	}
	c := l.Canonical()
	for _, f := range []struct {
		name  string
		heads int
	}{{"HeadsQ", c.HeadsQ}, {"HeadsK", c.HeadsK}, {"HeadsV", c.HeadsV}} {
		if c.Heads()%f.heads != 0 {
			return &ShapeError{f.name, "", f.heads, fmt.Sprintf("a divisor of %d, the largest number of heads", c.Heads())}
		}
	}
	if c.States()%c.HeadsK != 0 || c.States()%c.HeadsV != 0 {
		return &ShapeError{"HeadsV", "", c.HeadsV, fmt.Sprintf("a divisor or multiple of HeadsK %d", c.HeadsK)}
	}
	for _, f := range []struct {
		name string
		v, n uint8
		all  []string
	}{{"Map", uint8(l.Map), uint8(mapCount), mapNames[:]}, {"Rule", uint8(l.Rule), uint8(ruleCount), ruleNames[:]},
		{"Decay", uint8(l.Decay), uint8(decayCount), decayNames[:]}, {"Norm", uint8(l.Norm), uint8(normCount), normNames[:]}} {
		if f.v >= f.n {
			return &ShapeError{f.name, "", f.v, strings.Join(f.all, ", ")}
		}
	}
	for _, f := range []struct {
		name string
		n    Number
		sign bool // may be negative
	}{{"Scale", c.Scale, true}, {"Eps", c.Eps, false}, {"MapEps", c.MapEps, true}} {
		if v := float64(float32(f.n.Value)); math.IsNaN(v) || math.IsInf(v, 0) || v < 0 && !f.sign {
			return &ArgError{f.name, fmt.Sprintf("is %v, want a finite float32%s", f.n.Value, map[bool]string{false: " of at least 0"}[f.sign])}
		}
	}
	switch {
	case l.Map == MapFavor && l.Features == 0:
		return &ArgError{"Features", "is 0, but MapFavor needs a projection"}
	case l.Map == MapFavor && (l.Rule != RuleAdd || l.Decay == DecayChannel):
		return &ArgError{"Map", "is favor, whose sums only the plain rule without decay of channels can scale"}
	case l.Causal && c.SeqQ != c.SeqK:
		return &ShapeError{"SeqK", "", c.SeqK, fmt.Sprintf("%d, as SeqQ: a causal call has a key for each query", c.SeqQ)}
	case l.Causal && c.TotalQ != c.TotalK:
		return &ShapeError{"TotalK", "", c.TotalK, fmt.Sprintf("%d, as TotalQ: a causal call has a key for each query", c.TotalQ)}
	case !l.Causal && l.Rule != RuleAdd:
		return &ArgError{"Rule", fmt.Sprintf("is %s, which needs an order of tokens: a causal call", l.Rule)}
	case !l.Causal && l.Decay != DecayNone:
		return &ArgError{"Decay", fmt.Sprintf("is %s, which needs an order of tokens: a causal call", l.Decay)}
	}
	return nil
}

// Hash is a stable 64-bit FNV-1a hash of the canonical op, the same in every process.
func (l Linear) Hash() uint64 { return hash(l.Canonical()) }

func (l Linear) String() string {
	c := l.Canonical()
	var b strings.Builder
	fmt.Fprintf(&b, "linear %s q%d", c.sizes().headsName(), c.SeqQ)
	if c.SeqK != c.SeqQ {
		fmt.Fprintf(&b, " k%d", c.SeqK)
	}
	fmt.Fprintf(&b, " %s %s", c.sizes().rowsName(), c.Map)
	if c.Features > 0 {
		fmt.Fprintf(&b, " features%d", c.Features)
	}
	if unset := (Linear{HeadDim: c.HeadDim, Map: c.Map}).Canonical(); c.MapEps != unset.MapEps {
		fmt.Fprintf(&b, " mapeps%g", c.MapEps.Value)
	}
	if c.Causal {
		b.WriteString(" causal")
	}
	if c.Rule != RuleAdd {
		fmt.Fprintf(&b, " %s", c.Rule)
	}
	if c.Decay != DecayNone {
		fmt.Fprintf(&b, " decay-%s", c.Decay)
	}
	if c.Norm != NormNone {
		fmt.Fprintf(&b, " norm-%s", c.Norm)
	}
	if unset := (Linear{HeadDim: c.HeadDim, Map: c.Map, Norm: c.Norm}).Canonical(); c.Eps != unset.Eps {
		fmt.Fprintf(&b, " eps%g", c.Eps.Value)
	}
	if unset := (Linear{HeadDim: c.HeadDim, Map: c.Map}).Canonical(); c.Scale != unset.Scale {
		fmt.Fprintf(&b, " scale%g", c.Scale.Value)
	}
	if c.StateIn {
		b.WriteString(" state-in")
	}
	if c.StateOut {
		b.WriteString(" state-out")
	}
	return b.String()
}
