package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/internal/tensorio"
)

// opener opens tensor files, each once.
type opener struct{ files map[string]*tensorio.File }

// noFile is the path of a file that is not there.
type noFile string

func (n noFile) Error() string { return "there is no file " + string(n) }

func (noFile) Unwrap() error { return fs.ErrNotExist }

func (o *opener) close() {
	for _, f := range o.files {
		f.Close()
	}
}

func (o *opener) open(path string) (*tensorio.File, error) {
	if f := o.files[path]; f != nil {
		return f, nil
	}
	f, err := tensorio.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &usageError{noFile(path)}
	}
	if err != nil {
		return nil, err
	}
	if o.files == nil {
		o.files = map[string]*tensorio.File{}
	}
	o.files[path] = f
	return f, nil
}

// ref reads the array that FILE or FILE:NAME means. Without a name it is the file's only array, or the
// first of names that it has.
func (o *opener) ref(text string, names ...string) (*tensorio.Array, error) {
	path, name := text, ""
	if _, err := os.Stat(path); err != nil {
		if at := strings.LastIndexByte(text, ':'); at > 0 && filepath.Base(text[at:]) == text[at:] {
			path, name = text[:at], text[at+1:]
		}
	}
	f, err := o.open(path)
	if err != nil {
		return nil, err
	}
	have := f.Names()
	switch {
	case name != "":
		if !slices.Contains(have, name) {
			return nil, usagef("%s has no array %q; it has %s", path, name, strings.Join(have, ", "))
		}
	case len(have) == 1:
		name = have[0]
	default:
		if name = firstOf(have, names...); name == "" {
			return nil, usagef("%s has the arrays %s; say which, as %s:NAME", path, strings.Join(have, ", "), path)
		}
	}
	return f.Read(name)
}

// fourAxes is an array of booleans as [batch, heads, and two more], of which the first may be missing.
func fourAxes(a *tensorio.Array, last string) (keep []bool, shape [4]int, err error) {
	if len(a.Shape) > 4 {
		return nil, shape, usagef("has %d axes, want [batch, heads, %s] or the last of them", len(a.Shape), last)
	}
	shape = [4]int{1, 1, 1, 1}
	copy(shape[4-len(a.Shape):], a.Shape)
	keep, err = a.Bools()
	return keep, shape, err
}

// firstOf is the first of names that is in have, or "".
func firstOf(have []string, names ...string) string {
	for _, n := range names {
		if slices.Contains(have, n) {
			return n
		}
	}
	return ""
}

// namesOf lists what an array may be called in a file of --in, the best name first.
var namesOf = map[string][]string{
	"q": {"q", "Q", "query"}, "k": {"k", "K", "key"}, "v": {"v", "V", "value"},
	"bias": {"bias", "attn_bias"}, "mask": {"mask", "attn_mask"}, "tree": {"tree"},
	"slopes": {"slopes", "alibi_slopes"}, "sinks": {"sinks", "sink_logits"},
	"cu-seqlens-q": {"cu_seqlens_q"}, "cu-seqlens-k": {"cu_seqlens_k"},
	"key-lengths": {"key_lengths", "seqlens_k", "nonpad_kv_seqlen"},
	"decay":       {"decay", "g"}, "beta": {"beta"}, "projection": {"projection"}, "state": {"state_in", "past_state"},
	"out": {"out", "o", "O", "output", "Y"}, "lse": {"lse"},
}

// fromFiles reads the problem from files. What a flag says wins over what a file has.
func (p *problemFlags) fromFiles(s spec) (*problem, error) {
	files := &opener{}
	defer files.close()
	pr := &problem{op: s.op}
	arrays := map[string]*tensorio.Array{}
	var have []string
	if p.in != "" {
		f, err := files.open(p.in)
		if err != nil {
			return nil, err
		}
		have = f.Names()
		for what, names := range namesOf {
			if name := firstOf(have, names...); name != "" {
				if arrays[what], err = f.Read(name); err != nil {
					return nil, err
				}
			}
		}
		pr.wantOut, pr.wantLSE, pr.wantFrom = arrays["out"], arrays["lse"], p.in
	}
	for _, x := range []struct{ what, text string }{{"q", p.q}, {"k", p.k}, {"v", p.v}} {
		switch {
		case x.text != "":
			a, err := files.ref(x.text, namesOf[x.what]...)
			if err != nil {
				return nil, err
			}
			arrays[x.what] = a
		case p.in == "":
			return nil, usagef("--%s is missing: queries, keys and values come together, or all from --in", x.what)
		case arrays[x.what] == nil:
			return nil, usagef("%s has no %s; it has %s. Name another array with --%s FILE:NAME", p.in,
				strings.Join(namesOf[x.what], ", "), strings.Join(have, ", "), x.what)
		}
	}
	if err := p.adopt(pr, &s, arrays); err != nil {
		return nil, err
	}
	if s.linear != nil {
		if err := p.linearFromFiles(pr, s, arrays); err != nil {
			return nil, err
		}
		return pr, p.narrow(pr)
	}
	if err := p.extras(pr, s, files); err != nil {
		return nil, err
	}
	if err := p.fromArrays(pr, arrays); err != nil {
		return nil, err
	}
	return pr, p.narrow(pr)
}

// adopt takes shapes, layout and lengths from q, k and v.
func (p *problemFlags) adopt(pr *problem, s *spec, arrays map[string]*tensorio.Array) error {
	for flag, cu := range map[string]*[]int32{"cu-seqlens-q": &s.cuQ, "cu-seqlens-k": &s.cuK} {
		if a := arrays[flag]; a != nil && !p.given(flag) {
			var err error
			if *cu, err = a.Int32s(); err != nil {
				return err
			}
			pr.note("using %s of %s", a.Name, p.in)
		}
	}
	if s.cuQ != nil && s.cuK == nil {
		s.cuK = s.cuQ
	}
	q, k, v := arrays["q"], arrays["k"], arrays["v"]
	layout, why, err := guessLayout(p.layout, q.Shape, k.Shape, v.Shape, s.cuQ != nil)
	if err != nil {
		return usagef("%w", err)
	}
	if why != "" {
		pr.note("%s", why)
	}
	pr.layout = layout
	a := &pr.args
	a.Q, a.K, a.V = asTensor(q, layout), asTensor(k, layout), asTensor(v, layout)
	for _, x := range []struct {
		a   *tensorio.Array
		typ vkattn.Type
	}{{q, s.op.TypeQ}, {k, s.op.TypeK}, {v, s.op.TypeV}} {
		if have := x.a.DType; have != tensorio.F32 && have.String() != x.typ.String() {
			pr.note("%s is %v, computing in %v", x.a.Name, have, x.typ)
		}
	}
	op := &pr.op
	shape := func(flag string, have int, field *int) error {
		if p.given(flag) && *field != have {
			return usagef("--%s is %d, but the tensors say %d (q %v, k %v, v %v as %s)", flag, *field, have, q.Shape, k.Shape, v.Shape, layout)
		}
		*field = have
		return nil
	}
	op.SeqQ, op.SeqK = a.Q.Shape[2], a.K.Shape[2]
	op.HeadDim, op.ValueDim = a.Q.Shape[3], a.V.Shape[3]
	op.HeadsV = a.V.Shape[1]
	if err := shape("batch", a.Q.Shape[0], &op.Batch); err != nil {
		return err
	}
	if err := shape("heads", a.Q.Shape[1], &op.HeadsQ); err != nil {
		return err
	}
	if err := shape("heads-kv", a.K.Shape[1], &op.HeadsK); err != nil {
		return err
	}
	// The other axes have to agree too: say it in the words of the file.
	for _, c := range []struct {
		what      string
		got, want int
	}{
		{"k has batch", a.K.Shape[0], a.Q.Shape[0]}, {"v has batch", a.V.Shape[0], a.Q.Shape[0]},
		{"k has head size", a.K.Shape[3], op.HeadDim}, {"v has length", a.V.Shape[2], op.SeqK},
	} {
		if c.got != c.want {
			return usagef("%s %d, want %d (q %v, k %v, v %v as %s; --layout says otherwise)", c.what, c.got, c.want, q.Shape, k.Shape, v.Shape, layout)
		}
	}
	if s.cuQ != nil {
		s.op = *op
		if err := s.pack(); err != nil {
			return err
		}
		*op = s.op
		op.TotalQ, op.TotalK = a.Q.Shape[2], a.K.Shape[2]
	}
	if n := arrays["key-lengths"]; n != nil && !p.given("key-lengths") && s.linear == nil {
		lengths, err := n.Int32s()
		if err != nil {
			return err
		}
		s.keyLengths = lengths
		op.With |= vkattn.WithKeyLengths
		pr.note("using %s of %s", n.Name, p.in)
	}
	return nil
}

// fromArrays takes the extras that the file has and no flag gives.
func (p *problemFlags) fromArrays(pr *problem, arrays map[string]*tensorio.Array) error {
	op, a := &pr.op, &pr.args
	c := op.Canonical()
	batch := op.Batch
	score := [4]int{batch, c.HeadsQ, c.SeqQ, c.SeqK}
	take := func(flag string) *tensorio.Array {
		x := arrays[flag]
		if x == nil || p.given(flag) {
			return nil
		}
		pr.note("using %s of %s", x.Name, p.in)
		return x
	}
	if x := take("bias"); x != nil {
		t, err := asScores(x, score)
		if err != nil {
			return err
		}
		a.Bias, op.With = t, op.With|vkattn.WithBias
	}
	if x := take("mask"); x != nil {
		t, err := asScores(x, score)
		switch {
		case err != nil:
			return err
		case t.Type == vkattn.Bool:
			a.Mask, op.With = t, op.With|vkattn.WithMask
		case a.Bias.Given():
			return usagef("%s of %s holds numbers, so it is a bias, and there is a bias already", x.Name, p.in)
		default:
			pr.note("%s holds numbers: it is added to the scores, as a bias", x.Name)
			a.Bias, op.With = t, op.With|vkattn.WithBias
		}
	}
	if x := take("tree"); x != nil {
		t, err := asScores(x, [4]int{batch, 1, c.SeqQ, c.SeqK})
		if err != nil {
			return err
		}
		a.Tree, op.With = t, op.With|vkattn.WithTree
	}
	for _, v := range []struct {
		flag string
		to   *vkattn.Tensor
		with vkattn.With
	}{{"slopes", &a.Slopes, vkattn.WithALiBi}, {"sinks", &a.SinkLogits, vkattn.WithSinkLogits}} {
		if v.flag == "slopes" && p.alibi {
			continue
		}
		if x := take(v.flag); x != nil {
			if x.Elements() != c.HeadsQ {
				return usagef("%s of %s has %d numbers, want one for each of %d query heads", x.Name, p.in, x.Elements(), c.HeadsQ)
			}
			*v.to, op.With = vkattn.Vector(vkattn.Float32s(x.Float32s()), c.HeadsQ), op.With|v.with
		}
	}
	return nil
}
