package main

import (
	"slices"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/internal/bench"
	"github.com/vkattn/vkattn/internal/preset"
)

// spec is a problem without tensors: the op and the short lists of its arguments.
type spec struct {
	op                   vkattn.Attention // of linear attention, the shape alone
	linear               *vkattn.Linear   // without the shape; nil for softmax attention
	choosing             *choosing        // nil unless rows choose blocks of keys for themselves
	decays               string           // the model whose decays linear attention has; "" makes them up
	offset               []int
	prefix, global       []int32
	cuQ, cuK, keyLengths []int32
	blockMask            string // a pattern, or FILE[:NAME]; "" is none
	blockQ, blockK       int
	valueInKey           bool   // values are a part of the keys, see preset.Preset
	sinksFromPreset      bool   // the preset has sink logits, which are generated unless given
	layout               string // bhsd, bshd, thd or auto
}

// specs expands the flags into one spec for every combination of the lists; run and plan want exactly one.
func (p *problemFlags) specs(lists bool) ([]spec, error) {
	base, pre, err := p.base()
	if err != nil {
		return nil, err
	}
	axis := func(flag, text string, fallback int) ([]int, error) {
		if text == "" {
			return []int{fallback}, nil
		}
		if !lists {
			n, err := one(flag, text)
			return []int{n}, err
		}
		n, err := bench.ParseSizes(text)
		if err != nil {
			return nil, usagef("--%s: %w", flag, err)
		}
		return n, nil
	}
	pick := func(flag, text string, fromPreset int) ([]int, error) {
		if pre != nil && !p.given(flag) {
			return []int{fromPreset}, nil
		}
		return axis(flag, text, 0)
	}
	batches, err := axis("batch", p.batch, 1)
	if err != nil {
		return nil, err
	}
	heads, err := pick("heads", p.heads, base.op.HeadsQ)
	if err != nil {
		return nil, err
	}
	headsKV, err := pick("heads-kv", p.headsKV, base.op.HeadsK)
	if err != nil {
		return nil, err
	}
	fallbackV := 0
	if base.linear != nil && !p.given("heads-kv") {
		fallbackV = base.op.HeadsV
	}
	headsV, err := axis("heads-v", p.headsV, fallbackV)
	if err != nil {
		return nil, err
	}
	dims := [][2]int{{base.op.HeadDim, base.op.ValueDim}}
	if pre == nil || p.given("headdim") {
		if dims, err = headdims(p.headdim); err != nil {
			return nil, err
		}
	}
	lengths, err := p.lengths(axis, pre)
	if err != nil {
		return nil, err
	}
	causals, err := p.causals(lists, base.op.Causal)
	if err != nil {
		return nil, err
	}
	if n := len(dims); !lists && n != 1 {
		return nil, usagef("--headdim %s: one value, please; vkattn bench takes lists", p.headdim)
	}
	var all []spec
	for _, at := range product(len(batches), len(heads), len(headsKV), len(headsV), len(dims), len(lengths), len(causals)) {
		s := base
		s.op.Batch, s.op.HeadsQ, s.op.HeadsK, s.op.HeadsV = batches[at[0]], heads[at[1]], headsKV[at[2]], headsV[at[3]]
		s.op.HeadDim, s.op.ValueDim = dims[at[4]][0], dims[at[4]][1]
		s.op.SeqQ, s.op.SeqK = lengths[at[5]][0], lengths[at[5]][1]
		s.op.Causal = causals[at[6]]
		if err := s.pack(); err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

// product lists every combination of indices below sizes, the last one fastest.
func product(sizes ...int) [][]int {
	all := [][]int{nil}
	for _, n := range sizes {
		var longer [][]int
		for _, head := range all {
			for i := range n {
				longer = append(longer, append(slices.Clone(head), i))
			}
		}
		all = longer
	}
	return all
}

// lengths gives the pairs of rows and keys.
func (p *problemFlags) lengths(axis func(flag, text string, fallback int) ([]int, error), pre *preset.Preset) ([][2]int, error) {
	both, err := axis("seqlen", p.seqlen, 0)
	if err != nil {
		return nil, err
	}
	rows := 0
	if pre != nil {
		rows = pre.Rows
		if !p.given("seqlen") {
			both = []int{min(2048, pre.Context)}
			if rows > 0 {
				both = []int{min(4096, pre.Context)}
			}
		}
	}
	qs, err := axis("seqlen-q", p.seqlenQ, -1)
	if err != nil {
		return nil, err
	}
	ks, err := axis("seqlen-k", p.seqlenK, -1)
	if err != nil {
		return nil, err
	}
	if !p.given("seqlen") && qs[0] >= 0 && ks[0] >= 0 {
		both = both[:1] // both are overridden
	}
	var all [][2]int
	for _, n := range both {
		for _, q := range qs {
			for _, k := range ks {
				l := [2]int{n, n}
				if rows > 0 {
					l[0] = rows
				}
				if q >= 0 {
					l[0] = q
				}
				if k >= 0 {
					l[1] = k
				}
				all = append(all, l)
			}
		}
	}
	return all, nil
}

func (p *problemFlags) causals(lists, fromPreset bool) ([]bool, error) {
	if !p.given("causal") && p.preset != "" {
		return []bool{fromPreset}, nil
	}
	switch p.causal {
	case "true":
		return []bool{true}, nil
	case "false":
		return []bool{false}, nil
	case "both":
		if lists {
			return []bool{false, true}, nil
		}
	}
	return nil, usagef("--causal=%s: want true or false (in bench also both)", p.causal)
}

// base is what is the same in every combination: masks, scores, extras.
func (p *problemFlags) base() (spec, *preset.Preset, error) {
	var s spec
	var pre *preset.Preset
	var linear *vkattn.Linear
	if p.preset != "" {
		found, err := preset.Find(p.preset)
		if err != nil {
			return s, nil, usagef("--preset: %w", err)
		}
		pre = &found
		s.op, s.global, s.valueInKey = found.Shape(), found.Global, found.ValueInKey
		linear, s.decays, s.blockMask = found.Linear, found.Decays, found.Blocks
		s.sinksFromPreset = found.Op.With.Has(vkattn.WithSinkLogits)
		if p.given("headdim") || p.given("heads-kv") || p.given("heads-v") {
			s.valueInKey = false
		}
	}
	op := &s.op
	var err error
	if s.linear, err = p.linearOf(linear); err != nil {
		return s, nil, err
	}
	if p.given("decay") {
		s.decays = p.decay
	}
	if err = p.types(op); err != nil {
		return s, nil, err
	}
	if s.linear != nil && max(op.TypeQ, op.TypeK, op.TypeV, op.TypeOut) > vkattn.BFloat16 {
		return s, nil, usagef("--type: linear attention takes f32, f16 and bf16")
	}
	if s.choosing, err = p.choosingOf(); err != nil {
		return s, nil, err
	}
	set := func(flag string, f func() error) {
		if err == nil && (pre == nil || p.given(flag)) {
			err = f()
		}
	}
	set("head-map", func() error {
		switch p.headMap {
		case "block":
			op.HeadMap = vkattn.HeadBlock
		case "cyclic":
			op.HeadMap = vkattn.HeadCyclic
		default:
			return usagef("--head-map %s: want block or cyclic", p.headMap)
		}
		return nil
	})
	set("align", func() (err error) { op.Align, s.offset, err = parseAlign(p.align); return })
	set("window", func() (err error) {
		if op.Window, err = parseWindow(p.window); !op.Window.Given() { // the preset's, switched off
			op.With &^= vkattn.WithGlobal
			s.global = nil
		}
		return
	})
	set("chunk", func() (err error) { op.Chunk, err = one("chunk", p.chunk); return })
	set("sink-tokens", func() (err error) { op.SinkTokens, err = one("sink-tokens", p.sinkTokens); return })
	set("global", func() (err error) { s.global, err = positions("global", p.global); return })
	set("prefix", func() (err error) { s.prefix, err = whole32("prefix", p.prefix); return })
	set("key-lengths", func() (err error) { s.keyLengths, err = whole32("key-lengths", p.keyLengths); return })
	set("cu-seqlens-q", func() (err error) { s.cuQ, err = whole32("cu-seqlens-q", p.cuQ); return })
	set("cu-seqlens-k", func() (err error) { s.cuK, err = whole32("cu-seqlens-k", p.cuK); return })
	set("block-mask", func() error { s.blockMask = p.blockMask; op.With &^= vkattn.WithBlocks; return nil })
	set("softcap", func() (err error) { op.Softcap, err = number("softcap", p.softcap); return })
	set("scale", func() (err error) {
		op.Scale = vkattn.Number{}
		if p.scale != "" {
			op.Scale.Set = true
			op.Scale.Value, err = number("scale", p.scale)
		}
		return
	})
	if err != nil {
		return s, nil, err
	}
	if s.blockQ, s.blockK, err = blockSizes(p.blockSize); err != nil {
		return s, nil, err
	}
	if p.given("block-size") && s.blockMask == "" {
		return s, nil, usagef("--block-size is that of --block-mask, give both")
	}
	if isPattern(s.blockMask) {
		if _, _, err := parsePattern(s.blockMask); err != nil {
			return s, nil, usagef("--block-mask: %w", err)
		}
	}
	switch p.layout {
	case "auto", "bhsd", "bshd", "thd":
		s.layout = p.layout
	default:
		return s, nil, usagef("--layout %s: want bhsd, bshd or thd", p.layout)
	}
	if len(s.prefix) > 0 && !p.causalGiven(op.Causal) {
		return s, nil, usagef("--prefix extends --causal, give both")
	}
	if (s.global != nil || op.SinkTokens > 0) && !op.Window.Given() {
		return s, nil, usagef("--global and --sink-tokens extend the window, give --window too")
	}
	for _, x := range []struct {
		given bool
		with  vkattn.With
	}{
		{s.global != nil, vkattn.WithGlobal}, {s.prefix != nil, vkattn.WithPrefix}, {s.keyLengths != nil, vkattn.WithKeyLengths},
		{p.lse, vkattn.WithLSE}, {p.bias != "", vkattn.WithBias}, {p.mask != "", vkattn.WithMask},
		{p.treeMask != "", vkattn.WithTree}, {p.alibi || p.slopes != "", vkattn.WithALiBi},
		{p.relative != "", vkattn.WithRelative}, {p.sinks != "", vkattn.WithSinkLogits}, {s.blockMask != "", vkattn.WithBlocks},
	} {
		if x.given {
			op.With |= x.with
		}
	}
	if s.choosing != nil && s.choosing.nsa != nil {
		op.With &^= vkattn.WithLSE // --check wants it where there is one
	}
	return s, pre, nil
}

func (p *problemFlags) causalGiven(fromPreset bool) bool {
	if p.given("causal") {
		return p.causal != "false"
	}
	return fromPreset
}

// pack turns the spec into one of packed sequences when there are cumulative lengths: those decide about
// batch, longest sequence and totals.
func (s *spec) pack() error {
	if s.cuQ == nil && s.cuK == nil {
		return nil
	}
	if s.cuQ == nil {
		return usagef("--cu-seqlens-k needs --cu-seqlens-q")
	}
	if s.cuK == nil {
		s.cuK = s.cuQ
	}
	s.op.Packed = true
	s.op.Batch = len(s.cuQ) - 1
	s.op.SeqQ, s.op.TotalQ = longest(s.cuQ)
	s.op.SeqK, s.op.TotalK = longest(s.cuK)
	return nil
}

// longest is the longest sequence of cumulative lengths, and their total. Falling sums are found later.
func longest(cu []int32) (most, total int) {
	for i := 1; i < len(cu); i++ {
		most = max(most, int(cu[i]-cu[i-1]))
	}
	return most, max(int(cu[len(cu)-1]), 0)
}
