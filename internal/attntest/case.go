package attntest

import (
	"fmt"
	"slices"
	"strings"

	"github.com/vkattn/vkattn"
)

// Case is one entry of the table. Its data is made on demand.
type Case struct {
	Name string
	Op   vkattn.Attention
	// Tags are the masks and extras of the case; see Features.
	Tags []string
	// Bucket is the padded head size, "64" or "192/128" for keys and values.
	Bucket string
	// Group says how query heads share key heads: "mha", "mqa", "gqa2", "gqa7", ...
	Group string
	// Pipeline is an estimate of what a backend specialises a kernel on: head bucket, access by vectors
	// of four or not, and kind of mask.
	Pipeline string
	// FLOPs counts the work with no mask.
	FLOPs float64
	// Sample says that the case belongs to the fixed sample that covers pairs of tags.
	Sample bool

	spec *spec
}

// Build makes the data of the case. The same seed makes the same data.
func (c Case) Build(seed uint64) *Problem { return c.spec.build(c.Name, seed) }

// Features are the masks and extras that Tags names.
var Features = []string{
	"causal-br", "causal-tl", "offset", "window", "chunk", "sinktokens", "global", "prefix", "varlen", "keylen",
	"mask", "tree", "bias", "alibi", "relative", "softcap", "sinklogits", "blocks", "lse", "scale", "kvheads", "cyclic",
	"gqa", "dv", "strided", "base",
}

// combining are the features that change which pairs count or how much; the others change where data lies.
var combining = func() map[string]bool {
	m := map[string]bool{}
	for _, f := range Features {
		m[f] = !slices.Contains([]string{"lse", "kvheads", "cyclic", "gqa", "dv", "strided"}, f)
	}
	return m
}()

// Combines counts the masks and extras of the case that act on the scores together.
func (c Case) Combines() (n int) {
	for _, t := range c.Tags {
		if combining[t] {
			n++
		}
	}
	return n
}

var headBuckets = []int{32, 64, 96, 128, 160, 192, 256, 320, 512, 576}

func bucketOf(d int) int {
	for _, b := range headBuckets {
		if d <= b {
			return b
		}
	}
	return d
}

func (s *spec) bucket() string {
	c := s.op.Canonical()
	k, v := bucketOf(c.HeadDim), bucketOf(c.ValueDim)
	if k == v {
		return fmt.Sprint(k)
	}
	return fmt.Sprintf("%d/%d", k, v)
}

func (s *spec) group() string {
	c := s.op.Canonical()
	switch {
	case c.HeadsK == c.HeadsQ:
		return "mha"
	case c.HeadsK == 1:
		return "mqa"
	}
	return fmt.Sprintf("gqa%d", c.HeadsQ/c.HeadsK)
}

func (s *spec) tags() []string {
	a := s.op
	c := a.Canonical()
	diagonal := a.Causal || a.Window.Given() || a.Chunk > 0 || s.alibi != noSlopes || s.relative > 0
	placed := s.shared != ""
	for _, l := range s.layouts {
		placed = placed || !l.plain()
	}
	for _, t := range []*table{s.mask, s.tree, s.bias} {
		placed = placed || t != nil && (t.pad != 0 || t.shift != 0)
	}
	on := map[string]bool{
		"causal-br": a.Causal && a.Align == vkattn.AlignBottomRight, "causal-tl": a.Causal && a.Align == vkattn.AlignTopLeft,
		"offset": diagonal && a.Align == vkattn.AlignOffset, "window": a.Window.Given(), "chunk": a.Chunk > 0,
		"sinktokens": a.SinkTokens > 0, "global": s.hasGlobal, "prefix": s.prefix != nil, "varlen": a.Packed,
		"keylen": s.keyLen != nil, "mask": s.mask != nil, "tree": s.tree != nil, "bias": s.bias != nil,
		"alibi": s.alibi != noSlopes, "relative": s.relative > 0, "softcap": a.Softcap > 0, "sinklogits": s.sinks != noSinks, "blocks": s.blocks != nil,
		"lse": s.lse, "scale": a.Scale.Set, "kvheads": c.HeadsK != c.HeadsV, "cyclic": a.HeadMap == vkattn.HeadCyclic,
		"gqa": c.HeadsK < c.HeadsQ || c.HeadsV < c.HeadsQ, "dv": c.ValueDim != c.HeadDim, "strided": placed,
		"base": s.qbase != 0 || s.kbase != 0,
	}
	var tags []string
	for _, f := range Features {
		if on[f] {
			tags = append(tags, f)
		}
	}
	return tags
}

// aligned reports whether rows of Q, K and V all start at multiples of four elements.
func (s *spec) aligned() bool {
	c := s.op.Canonical()
	if c.HeadDim%4 != 0 || c.ValueDim%4 != 0 {
		return false
	}
	for _, t := range []struct {
		name string
		dim  int
	}{{"Q", c.HeadDim}, {"K", c.HeadDim}, {"V", c.ValueDim}, {"Out", c.ValueDim}} {
		l := s.layout(t.name)
		if l.offset%4 != 0 || l.pad[0]%4 != 0 || l.pad[1]%4 != 0 || l.pad[2]%4 != 0 {
			return false
		}
	}
	return true
}

func (s *spec) pipeline() string {
	access, kind := "scalar", "none"
	if s.aligned() {
		access = "vec4"
	}
	a := s.op
	if a.Causal || a.Window.Given() || a.Chunk > 0 || a.Packed || s.keyLen != nil {
		kind = "closed"
	}
	if s.mask != nil || s.tree != nil || s.bias != nil {
		kind = "data"
	}
	if s.blocks != nil {
		kind = "blocks"
	}
	return s.bucket() + " " + access + " " + kind
}

// makeCase freezes a spec.
func makeCase(name string, s *spec) Case {
	op := s.finish()
	return Case{Name: name + "/" + s.dimText(), Op: op, Tags: s.tags(), Bucket: s.bucket(), Group: s.group(),
		Pipeline: s.pipeline(), FLOPs: s.dense(), spec: s}
}

// Cases is the whole table: singles that walk the edges of each mask and extra, then combinations of
// three to seven. The order and the data are the same in every run.
func Cases() []Case {
	cases := singles()
	counts := map[string]int{}
	for _, c := range cases {
		for _, t := range c.Tags {
			counts[t]++
		}
	}
	cases = append(cases, combinations(counts)...)
	sample(cases)
	return cases
}

// essential are edges that no pair of tags describes: scores that overflow a wrong maximum, empty
// sequences beside full ones, hidden first tiles, live NaNs, shared memory.
var essential = []string{
	"scale/huge-scores", "scale/huge-negative", "softcap/saturated", "varlen/zero-keys/", "varlen/zero-keys-causal", "varlen/no-sequences/",
	"mask/late", "mask/block-48-causal/", "mask/block-tree/", "bias/late", "bias/finite/", "nan/live-q/", "nan/live-k/", "nan/live-v/", "nan/live-bias/", "strided/one-memory/", "strided/wild/",
	"strided/odd-all/", "empty/no-rows/", "empty/no-batch/", "chunk/negative-rows", "base/negative-window", "base/far-rows-see-all",
	"sinklogits/large-empty-rows", "headsize/latent-shared", "plain/long", "scale/0/", "sinklogits/per-batch-window/", "blocks/causal/", "blocks/pairs-causal/",
	"form/strided-11-gqa", "form/dilated-4-causal",
}

// sample marks the essential cases and then, greedily, those that cover the pairs of tags which the whole
// table has.
func sample(cases []Case) {
	const limit = 145
	values := make([][]string, len(cases))
	for i, c := range cases {
		values[i] = sampleValues(c)
	}
	covered := map[[2]string]bool{}
	chosen := 0
	for i := range cases {
		for _, e := range essential {
			if strings.HasPrefix(cases[i].Name, e) && !cases[i].Sample {
				cases[i].Sample = true
				chosen++
				eachPair(values[i], func(p [2]string) { covered[p] = true })
			}
		}
	}
	for range limit - chosen {
		best, gain := -1, 0.0
		for i, c := range cases {
			if c.Sample {
				continue
			}
			fresh := 0
			eachPair(values[i], func(p [2]string) {
				if !covered[p] {
					fresh++
				}
			})
			// Cheap cases first: a software driver has to run the sample.
			if g := float64(fresh) / (1 + c.FLOPs/20e6); g > gain {
				best, gain = i, g
			}
		}
		if best < 0 {
			return
		}
		cases[best].Sample = true
		eachPair(values[best], func(p [2]string) { covered[p] = true })
	}
}

// sampleValues are the values of a case whose pairs the sample covers.
func sampleValues(c Case) []string {
	family, _, _ := strings.Cut(c.Name, "/")
	v := append([]string{"D" + c.Bucket, "G" + c.Group}, c.Tags...)
	if family != "combination" {
		// The edge that a single case is about: at least one of each kind.
		v = append(v, "F"+family)
	}
	if !c.spec.aligned() {
		v = append(v, "unaligned")
	}
	if c.spec.sq == 1 {
		v = append(v, "decode")
	}
	return v
}

func eachPair(v []string, f func([2]string)) {
	for i := range v {
		for j := range i {
			f([2]string{v[j], v[i]})
		}
	}
}
