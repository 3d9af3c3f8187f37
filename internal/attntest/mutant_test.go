package attntest

import (
	"context"
	"math"
	"slices"

	"github.com/vkattn/vkattn"
)

// mutation is a mistake that somebody might make in a kernel.
type mutation string

// none is no mistake.
const none mutation = ""

// mutations are the mistakes that the suite must find, each with what it does.
var mutations = map[mutation]string{
	"window-left-off-by-one":      "keeps one key too few on the left of the window",
	"window-left-one-more":        "keeps one key too many on the left of the window",
	"window-right-off-by-one":     "keeps one key too many on the right of the window",
	"empty-window-is-none":        "takes an empty window for no window",
	"window-forgets-offset":       "lays the window around i, not around i+off",
	"head-map-modulo":             "maps query heads to key heads by modulo",
	"head-map-values-as-keys":     "reads the value head with the number of key heads",
	"cyclic-is-block":             "ignores the cyclic head map",
	"causal-top-left":             "aligns causal top-left always",
	"causal-bottom-right":         "aligns causal bottom-right always",
	"causal-strict":               "hides the diagonal itself",
	"causal-tile":                 "skips causal masking in the last tile of 64 keys",
	"offset-first-batch":          "uses the first offset for all sequences",
	"sink-per-split":              "counts the sink logit once per split of the keys",
	"sink-scaled":                 "multiplies the sink logit by the scale",
	"sink-not-in-maximum":         "leaves the sink logit out of the running maximum and clamps its weight",
	"sink-value":                  "gives the weight of the sink to the first value",
	"lse-without-sink":            "leaves the sink out of the log-sum-exp",
	"lse-base-2":                  "writes the log-sum-exp to base 2",
	"lse-empty-zero":              "writes 0 as the log-sum-exp of an empty row",
	"softcap-after-mask":          "caps after bias and mask, which rescues hidden keys",
	"softcap-after-bias":          "adds the bias before the cap",
	"softcap-before-scale":        "caps before it scales",
	"missed-last-tile":            "drops the last partial tile of 64 keys",
	"tail-as-zero-keys":           "counts padding of the last key tile as keys of score 0",
	"alibi-sign":                  "adds the ALiBi term",
	"alibi-no-abs":                "uses the signed distance",
	"alibi-forgets-offset":        "measures the distance from i, not from i+off",
	"alibi-power-of-two":          "reads the slope of another head beyond the largest power of two",
	"key-length-ignored":          "sees all keys of the tensor",
	"key-length-diagonal":         "computes the diagonal from the tensor's keys, not from the key length",
	"prefix-ignored":              "ignores the prefix",
	"prefix-off-by-one":           "keeps one key more than the prefix",
	"prefix-and-causal":           "ANDs the prefix with causal",
	"chunk-off-by-one":            "shifts the chunk of the row by one",
	"chunk-truncates":             "divides negative positions towards 0",
	"sink-tokens-ignored":         "ignores sink tokens",
	"sink-tokens-beat-causal":     "lets sink tokens be seen in spite of causal",
	"global-rows-ignored":         "lets global tokens be seen but not see",
	"global-keys-ignored":         "lets global tokens see but not be seen",
	"global-beats-causal":         "lets global tokens be seen in spite of causal",
	"mask-ors":                    "ORs the boolean mask with causal",
	"mask-adds":                   "hides by adding -10000",
	"mask-byte-is-one":            "takes only the byte 1 for true",
	"mask-batch-ignored":          "uses the mask of the first sequence",
	"mask-head-ignored":           "uses the mask of the first head",
	"mask-block-shifted":          "reads the mask of the block of the key behind",
	"mask-block-ignored":          "takes the mask by blocks for one by keys",
	"mask-block-of-32":            "reads a mask by blocks once for 32 keys, whatever the block",
	"tree-transposed":             "reads the tree as j, i",
	"bias-head-ignored":           "uses the bias of the first head",
	"bias-infinity-is-finite":     "takes -inf in a bias for -30",
	"bias-large-negative-hides":   "takes a bias below -1e8 for a mask",
	"relative-forgets-offset":     "leaves the diagonal out of a bias by distance",
	"relative-batch-ignored":      "uses the bias by distance of the first sequence",
	"relative-transposed":         "takes i-j for j-i in a bias by distance",
	"relative-clips-early":        "clips distances at R-1",
	"block-shifted":               "shifts the block mask by one key block",
	"block-full-skips-causal":     "skips masks by position in full blocks",
	"block-partial-skips-mask":    "skips the boolean mask in partial blocks",
	"block-pairs-ignored":         "keeps all pairs of a block that has its own",
	"block-batch-ignored":         "uses the lists of the first sequence",
	"scale-by-value-size":         "defaults to 1/sqrt(Dv)",
	"scale-zero-is-unset":         "takes a scale of 0 for the default",
	"scale-negative-maximum":      "computes the running maximum without the sign of the scale",
	"zero-length-leak":            "lets an empty sequence see the keys of the next one",
	"packed-key-start":            "starts a packed sequence's keys where its rows start",
	"empty-row-nan":               "divides by 0 in an empty row",
	"empty-row-mean":              "averages all values in an empty row",
	"bases-ignored":               "ignores QBase and KBase",
	"bases-32-bit":                "cuts positions to 32 bits",
	"head-size-rounded":           "drops the last numbers of a head size that four does not divide",
	"value-size-is-key-size":      "leaves out value numbers beyond the key's head size",
	"last-row-missed":             "does not write the last row of a partial tile of 16",
	"writes-row-gap":              "writes one number behind each row",
	"writes-packed-slack":         "writes 0 to packed tokens of no sequence",
	"poison-multiplies":           "multiplies hidden values by a weight of 0",
	"poison-reads-tail":           "reads one key beyond the length and weighs it with 0",
	"stride-contiguous":           "ignores the row stride of K",
	"broadcast-batch-ignored":     "reads the first batch of V for all",
	"batch-shares-sinks":          "uses the sink logits of the first sequence",
	"half-precision-weights":      "rounds weights to 11 bits",
	"lse-half-precision":          "rounds the log-sum-exp to 11 bits",
	"low-precision-exp":           "computes the exponential to 1e-4",
	"running-maximum-not-updated": "keeps the maximum of the first tile of 64 keys",
}

// naive is a backend of plain loops in float32 that makes one mistake.
type naive struct {
	vkattn.Backend // only what follows is implemented
	m              mutation
}

func (n naive) Info() vkattn.Info {
	return vkattn.Info{Backend: "naive", Device: "naive " + string(n.m)}
}

func (n naive) Supports(op vkattn.Op) error { return op.Validate() }

func (n naive) Plan(_ context.Context, op vkattn.Op) (vkattn.Plan, error) {
	return naivePlan{m: n.m, op: op.(vkattn.Attention)}, op.Validate()
}

type naivePlan struct {
	vkattn.Plan
	m  mutation
	op vkattn.Attention
}

func (p naivePlan) Op() vkattn.Op               { return p.op }
func (p naivePlan) Explain() vkattn.Explanation { return vkattn.Explanation{Kernel: "naive"} }
func (p naivePlan) Close() error                { return nil }

func (p naivePlan) Run(_ context.Context, args vkattn.Args) (vkattn.Report, error) {
	if _, err := p.op.Check(&args); err != nil {
		return vkattn.Report{}, err
	}
	run := naiveRun{p: Problem{Op: p.op, Args: args}, op: p.op.Canonical(), m: p.m}
	run.all()
	return vkattn.Report{}, nil
}

type naiveRun struct {
	p  Problem
	op vkattn.Attention // canonical
	m  mutation
}

func (r *naiveRun) is(m mutation) bool { return r.m == m }

// vector is row s of a float32 tensor.
func (r *naiveRun) vector(t *vkattn.Tensor, b, h, s int) []float32 {
	stride := t.Stride
	if r.is("stride-contiguous") && t == &r.p.Args.K {
		stride[2] = t.Shape[3]
	}
	if r.is("broadcast-batch-ignored") && t == &r.p.Args.V {
		b = 0
	}
	at := t.Offset + b*stride[0] + h*stride[1] + s*stride[2]
	return t.Mem.(*vkattn.Host).Float32s()[at : at+t.Shape[3]]
}

func (r *naiveRun) all() {
	args := &r.p.Args
	views := r.p.views()
	for n, v := range views {
		if r.is("offset-first-batch") && r.op.Align == vkattn.AlignOffset {
			v.off = args.Offset[0]
		}
		if r.is("key-length-ignored") && args.KeyLengths != nil {
			v.sk = args.K.Shape[2]
		}
		if r.is("key-length-diagonal") && args.KeyLengths != nil && r.op.Align == vkattn.AlignBottomRight {
			v.off = args.K.Shape[2] - v.sq
		}
		if r.is("zero-length-leak") && v.sk == 0 && n+1 < len(views) && r.op.Packed {
			v.sk = views[n+1].sk
		}
		if r.is("packed-key-start") && r.op.Packed {
			v.k0 = min(v.q0, max(0, args.K.Shape[2]-v.sk))
		}
		for h := range r.op.HeadsQ {
			for i := range v.sq {
				r.row(&v, h, i)
			}
		}
	}
	if r.is("writes-packed-slack") && r.op.Packed {
		out := args.Out.Mem.(*vkattn.Host).Float32s()
		for s := int(args.CuSeqQ[len(args.CuSeqQ)-1]); s < args.Out.Shape[2]; s++ {
			out[args.Out.Index(0, 0, s, 0)] = 0
		}
	}
}

// closed is Problem.closed with room for mistakes.
func (r *naiveRun) closed(v *view, i, j int) bool {
	a, args := &r.op, r.p.Args
	if r.is("bases-ignored") {
		args.QBase, args.KBase = 0, 0
	}
	off := v.off
	diagonal, key := args.QBase+i+off, args.KBase+j
	if r.is("bases-32-bit") {
		// A float32 holds 24 bits of a position.
		diagonal, key = int(float32(diagonal)), int(float32(key))
	}
	if c := a.Chunk; c > 0 {
		row := diagonal
		if r.is("chunk-off-by-one") {
			row++
		}
		if r.is("chunk-truncates") {
			if row/c != key/c {
				return false
			}
		} else if math.Floor(float64(row)/float64(c)) != math.Floor(float64(key)/float64(c)) {
			return false
		}
	}
	edge := diagonal
	switch {
	case r.is("causal-top-left"):
		edge = args.QBase + i
	case r.is("causal-bottom-right"):
		edge = args.QBase + i + v.sk - v.sq
	case r.is("causal-strict"):
		edge--
	}
	prefix := v.prefix
	switch {
	case r.is("prefix-ignored"):
		prefix = math.MinInt
	case r.is("prefix-off-by-one") && prefix != math.MinInt:
		prefix++
	}
	sink := a.SinkTokens > 0 && key < a.SinkTokens
	globalKey, globalRow := r.listed(key), r.listed(diagonal)
	causal := !a.Causal || key <= edge || key < prefix
	if r.is("prefix-and-causal") && prefix != math.MinInt {
		causal = !a.Causal || key <= edge && key < prefix
	}
	if r.is("causal-tile") && v.sk > 64 && j >= (v.sk-1)/64*64 {
		causal = true
	}
	if r.is("sink-tokens-beat-causal") && sink || r.is("global-beats-causal") && globalKey {
		causal = true
	}
	if !causal {
		return false
	}
	w := a.Window
	if r.is("window-forgets-offset") {
		diagonal -= off
	}
	left, right := diagonal-w.Left.N, diagonal+w.Right.N
	switch {
	case r.is("window-left-off-by-one"):
		left++
	case r.is("window-left-one-more"):
		left--
	case r.is("window-right-off-by-one"):
		right++
	}
	if r.is("empty-window-is-none") && w.Left.Set && w.Right.Set && left > right {
		return true
	}
	if w.Left.Set && key < left || w.Right.Set && key > right {
		return sink && !r.is("sink-tokens-ignored") || globalKey && !r.is("global-keys-ignored") || globalRow && !r.is("global-rows-ignored")
	}
	return true
}

func (r *naiveRun) listed(position int) bool {
	if r.op.With.Has(vkattn.WithGlobal) {
		for _, g := range r.p.Args.Global {
			if int(g) == position {
				return true
			}
		}
	}
	return false
}

// visible says whether row i sees key j, and whether a mask of bytes was what hid it.
func (r *naiveRun) visible(v *view, h, i, j int) bool {
	a, args := &r.op, &r.p.Args
	closed := r.closed(v, i, j)
	boolean := true
	full := false
	if a.With.Has(vkattn.WithBlocks) {
		b, key := v.index, j
		if r.is("block-batch-ignored") {
			b = 0
		}
		if r.is("block-shifted") {
			key += args.Blocks.BlockK
		}
		var found bool
		full, found = r.p.blockAt(b, h, i, key)
		if r.is("block-pairs-ignored") {
			all := *args.Blocks
			all.Tile = nil
			keys, _ := all.List(b, h, i/all.BlockQ)
			found = slices.Contains(keys, int32(key/all.BlockK))
		}
		if !found {
			return false
		}
		if r.is("block-full-skips-causal") && full {
			closed = true
		}
	}
	read := func(t vkattn.Tensor, b, h, i, j int) bool {
		at := t.Index(b, h, i, j)
		bytes := t.Mem.(*vkattn.Host).Bytes()
		if at >= len(bytes) {
			return false
		}
		if r.is("mask-byte-is-one") {
			return bytes[at] == 1
		}
		return bytes[at] != 0
	}
	if a.With.Has(vkattn.WithMask) && !(r.is("block-partial-skips-mask") && a.With.Has(vkattn.WithBlocks) && !full) {
		b, hh := v.index, h
		if r.is("mask-batch-ignored") {
			b = 0
		}
		if r.is("mask-head-ignored") {
			hh = 0
		}
		column := j
		if n := a.MaskBlock; n > 1 {
			switch column = j / n; {
			case r.is("mask-block-shifted"):
				column = min((j+1)/n, args.Mask.Shape[3]-1)
			case r.is("mask-block-ignored"):
				column = min(j, args.Mask.Shape[3]-1)
			case r.is("mask-block-of-32"):
				column = j / 32 * 32 / n
			}
		}
		boolean = read(args.Mask, b, hh, i, column)
		if r.is("mask-ors") && a.Causal {
			return boolean || closed
		}
	}
	if a.With.Has(vkattn.WithTree) {
		if r.is("tree-transposed") {
			if j < args.Tree.Shape[2] && i < args.Tree.Shape[3] {
				boolean = boolean && read(args.Tree, v.index, 0, j, i)
			}
		} else {
			boolean = boolean && read(args.Tree, v.index, 0, i, j)
		}
	}
	if a.With.Has(vkattn.WithRelative) {
		boolean = boolean && !math.IsInf(float64(r.byDistance(v, h, i, j)), -1)
	}
	return closed && boolean
}

func (r *naiveRun) row(v *view, h, i int) {
	a := &r.op
	hk, hv := a.HeadMap.Map(h, a.HeadsQ, a.HeadsK), a.HeadMap.Map(h, a.HeadsQ, a.HeadsV)
	switch {
	case r.is("head-map-modulo"):
		hk, hv = h%a.HeadsK, h%a.HeadsV
	case r.is("cyclic-is-block"):
		hk, hv = h/(a.HeadsQ/a.HeadsK), h/(a.HeadsQ/a.HeadsV)
	case r.is("head-map-values-as-keys"):
		hv = min(hk, a.HeadsV-1)
	}
	scale := float32(a.Scale.Value)
	given := r.p.Op.Scale
	if r.is("scale-by-value-size") && !given.Set {
		scale = float32(1 / math.Sqrt(float64(a.ValueDim)))
	}
	if r.is("scale-zero-is-unset") && given.Set && given.Value == 0 {
		scale = float32(1 / math.Sqrt(float64(a.HeadDim)))
	}
	keys := v.sk
	if r.is("missed-last-tile") && keys > 64 {
		keys = keys / 64 * 64
	}
	if r.is("last-row-missed") && i == v.sq-1 && v.sq%16 != 0 {
		return
	}
	s := make([]float32, keys)
	seen := make([]bool, keys)
	any := false
	for j := range s {
		if seen[j] = r.visible(v, h, i, j); seen[j] {
			s[j] = r.score(v, h, hk, i, j, scale)
			if a.With.Has(vkattn.WithBias) {
				switch b := r.bias(v, h, i, j); {
				case math.IsInf(float64(b), -1) && !r.is("bias-infinity-is-finite") && !r.is("softcap-after-mask"):
					seen[j] = false
				case r.is("bias-large-negative-hides") && b < -1e8:
					seen[j] = false
				}
			}
		} else if r.is("mask-adds") && a.With.Has(vkattn.WithMask) && r.closed(v, i, j) {
			s[j], seen[j] = r.score(v, h, hk, i, j, scale)-10000, true
		}
		any = any || seen[j]
	}
	r.finish(v, h, hv, i, s, seen, any)
}

func (r *naiveRun) bias(v *view, h, i, j int) float32 {
	if r.is("bias-head-ignored") {
		h = 0
	}
	return r.p.floatAt(r.p.Args.Bias, v.index, h, i, j)
}

func (r *naiveRun) byDistance(v *view, h, i, j int) float32 {
	t, args := &r.p.Args.Relative, &r.p.Args
	off, b := v.off, min(v.index, t.Shape[0]-1)
	if r.is("relative-forgets-offset") {
		off = 0
	}
	if r.is("relative-batch-ignored") {
		b = 0
	}
	distance := args.KBase + j - (args.QBase + i + off)
	if r.is("relative-transposed") {
		distance = -distance
	}
	at := distance + t.Shape[3]/2
	if r.is("relative-clips-early") {
		at = max(1, min(at, t.Shape[3]-2))
	}
	return r.p.floatAt(*t, b, h, 0, max(0, min(at, t.Shape[3]-1)))
}

func (r *naiveRun) score(v *view, h, hk, i, j int, scale float32) float32 {
	a, args := &r.op, &r.p.Args
	d := a.HeadDim
	if r.is("head-size-rounded") && d > 4 {
		d = d / 4 * 4
	}
	var s float32
	key := r.vector(&args.K, v.batch, hk, v.k0+j)
	for e, q := range r.vector(&args.Q, v.batch, h, v.q0+i)[:d] {
		s += q * key[e]
	}
	c := float32(a.Softcap)
	capped := func(s float32) float32 {
		if c == 0 {
			return s
		}
		return c * float32(math.Tanh(float64(s)/float64(c)))
	}
	late := r.is("softcap-after-mask") || r.is("softcap-after-bias")
	if r.is("softcap-before-scale") {
		s = capped(s) * scale
	} else if s *= scale; !late {
		s = capped(s)
	}
	if a.With.Has(vkattn.WithALiBi) {
		head, off := h, v.off
		if r.is("alibi-power-of-two") {
			for power := 64; power > 0; power /= 2 {
				if power < a.HeadsQ && h >= power {
					head = h - power
					break
				}
			}
		}
		if r.is("alibi-forgets-offset") {
			off = 0
		}
		distance := float64(args.QBase + i + off - args.KBase - j)
		if !r.is("alibi-no-abs") {
			distance = math.Abs(distance)
		}
		if r.is("alibi-sign") {
			distance = -distance
		}
		s -= args.Slopes.Mem.(*vkattn.Host).Float32s()[args.Slopes.HeadIndex(v.index, head)] * float32(distance)
	}
	if a.With.Has(vkattn.WithRelative) {
		s += r.byDistance(v, h, i, j)
	}
	if a.With.Has(vkattn.WithBias) {
		b := r.bias(v, h, i, j)
		if r.is("bias-infinity-is-finite") && math.IsInf(float64(b), -1) {
			b = -30
		}
		s += b
	}
	if late {
		s = capped(s)
	}
	return s
}

// finish is the softmax of the scores s and the output.
func (r *naiveRun) finish(v *view, h, hv, i int, s []float32, seen []bool, any bool) {
	a, args := &r.op, &r.p.Args
	inf := float32(math.Inf(-1))
	exp := func(x float32) float32 {
		e := math.Exp(float64(x))
		if r.is("low-precision-exp") {
			e *= 1 + 1e-4*math.Sin(float64(x)*50)
		}
		if r.is("half-precision-weights") {
			e = roundTo11(e)
		}
		return float32(e)
	}
	sink, m := inf, inf
	if a.With.Has(vkattn.WithSinkLogits) {
		b := v.index
		if r.is("batch-shares-sinks") {
			b = 0
		}
		sink = args.SinkLogits.Mem.(*vkattn.Host).Float32s()[args.SinkLogits.HeadIndex(b, h)]
		if r.is("sink-scaled") {
			sink *= float32(a.Scale.Value)
		}
		if !r.is("sink-not-in-maximum") {
			m = sink
		}
	}
	for j, keep := range seen {
		if keep && !(r.is("running-maximum-not-updated") && j >= 64 && m > inf) {
			if r.is("scale-negative-maximum") && a.Scale.Value < 0 {
				m = max(m, -s[j])
			} else {
				m = max(m, s[j])
			}
		}
	}
	weights := make([]float32, len(s))
	var l float32
	for j, keep := range seen {
		if keep {
			weights[j] = exp(s[j] - m)
			l += weights[j]
		}
	}
	if r.is("tail-as-zero-keys") && any && v.sk%64 != 0 {
		l += exp(0-m) * float32(64-v.sk%64)
	}
	lse := m + float32(math.Log(float64(l)))
	sinkWeight := float32(0)
	if a.With.Has(vkattn.WithSinkLogits) {
		times := float32(1)
		if r.is("sink-per-split") && len(s) > 128 {
			times = 2
		}
		sinkWeight = times * exp(min(sink-m, 0))
		l += sinkWeight
		if !r.is("lse-without-sink") {
			lse = m + float32(math.Log(float64(l)))
		}
	}
	if !any {
		lse = sink
		if r.is("lse-empty-zero") && sink == inf {
			lse = 0
		}
		if r.is("lse-without-sink") {
			lse = inf
		}
	}
	if r.is("lse-base-2") {
		lse *= math.Log2E
	}
	if r.is("lse-half-precision") && !math.IsInf(float64(lse), 0) {
		lse = float32(roundTo11(float64(lse)))
	}
	at := args.Out.Index(v.batch, h, v.q0+i, 0)
	out := args.Out.Mem.(*vkattn.Host).Float32s()[at : at+a.ValueDim+1]
	clear(out[:a.ValueDim])
	add := func(w float32, j int) {
		for d, x := range r.vector(&args.V, v.batch, hv, v.k0+j) {
			out[d] += w * x
		}
	}
	for j, w := range weights {
		if seen[j] {
			add(w, j)
		} else if r.is("poison-multiplies") {
			add(0, j)
		}
	}
	if r.is("poison-reads-tail") && v.k0+v.sk < args.V.Shape[2] {
		add(0, v.sk)
	}
	if r.is("sink-value") && sinkWeight > 0 && any {
		add(sinkWeight, 0)
	}
	if r.is("empty-row-mean") && !any {
		l = float32(len(s))
		for j := range s {
			add(1, j)
		}
	}
	for d := range a.ValueDim {
		if out[d] /= l; !any && !r.is("empty-row-nan") && !r.is("empty-row-mean") || r.is("value-size-is-key-size") && d >= a.HeadDim {
			out[d] = 0
		}
	}
	if r.is("writes-row-gap") {
		if i == v.sq-1 || args.Out.Stride[2] > a.ValueDim {
			out[a.ValueDim] = 0
		}
	}
	if a.With.Has(vkattn.WithLSE) {
		args.LSE.Mem.(*vkattn.Host).Float32s()[args.LSE.Index(v.batch, h, v.q0+i, 0)] = lse
	}
}

// roundTo11 keeps 11 bits of the significand, as float16 does.
func roundTo11(x float64) float64 {
	f, e := math.Frexp(x)
	return math.Ldexp(math.Round(f*2048)/2048, e)
}
