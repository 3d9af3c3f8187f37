package dispatch_test

import (
	"math"
	"strings"
	"testing"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/dispatch"
)

// TestKVCacheCascade: a prefix that 32 sequences share, attended once and merged, is the same as each on its own, whatever the masks; where
// it is not attended once the report says why.
func TestKVCacheCascade(t *testing.T) {
	b := open(t, dispatch.Config{})
	const once = "cascade: 256 shared tokens are attended once for 32 sequences"
	left := func(n int) vkattn.Window { return vkattn.Window{Left: vkattn.Tokens(n)} }
	for _, c := range []struct {
		name   string
		change func(op *vkattn.Attention)
		evict  bool
		note   string
		allow  float64 // of 1 or the number
	}{
		{"plain", func(op *vkattn.Attention) {}, false, once, 2e-6},
		{"float16", func(op *vkattn.Attention) { op.TypeOut = vkattn.Float16 }, false, once, 1e-3},
		{"alibi", func(op *vkattn.Attention) { op.With |= vkattn.WithALiBi }, false, once, 2e-5},
		{"alibi, bfloat16, softcap", func(op *vkattn.Attention) {
			op.With |= vkattn.WithALiBi
			op.TypeOut, op.Softcap = vkattn.BFloat16, 3
		}, false, once, 8e-3},
		{"a window that shows all", func(op *vkattn.Attention) { op.Window = left(260) }, false, once, 2e-6},
		{"a window that shows some, sink tokens", func(op *vkattn.Attention) { op.Window, op.SinkTokens = left(100), 20 }, true, "cascade: 96 shared tokens", 2e-6},
		{"a window, alibi", func(op *vkattn.Attention) { op.Window, op.With = left(100), op.With|vkattn.WithALiBi }, true, "cascade: 96 shared tokens", 2e-5},
		{"sink tokens that show all", func(op *vkattn.Attention) { op.Window, op.SinkTokens = left(5), 300 }, false, once, 2e-6},
		{"a window that hides all", func(op *vkattn.Attention) { op.Window = left(10) }, true, "cascade not taken: no shared page is seen whole by all rows", 0},
		{"a chunk", func(op *vkattn.Attention) { op.Chunk = 130 }, false, "cascade: 112 shared tokens", 2e-6},
		{"a chunk that hides all", func(op *vkattn.Attention) { op.Chunk = 128 }, false, "cascade not taken: no shared page", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			spec := bitsSpec(16)
			spec.Op.Batch, spec.Op.SeqK, spec.Op.With = 33, 400, vkattn.WithSinkLogits|vkattn.WithLSE
			c.change(&spec.Op)
			var results [2][][]float32
			for i, cascade := range []bool{false, true} {
				var r vkattn.Report
				results[i], r = sharedPrefix(t, newCache(t, b, spec), c.evict, cascade)
				if notes := strings.Join(r.Notes, "; "); cascade && !strings.HasPrefix(notes, c.note) || !cascade && notes != "" {
					t.Errorf("cascade %v: noted %q, want %q", cascade, notes, c.note)
				}
			}
			worst := 0.0
			for i := range results[0] {
				for d, x := range results[0][i] {
					e := math.Abs(float64(x-results[1][i][d])) / max(1, math.Abs(float64(x)))
					if worst = max(worst, e); !(e <= c.allow) {
						t.Fatalf("row %d, column %d: off by %g", i, d, e)
					}
				}
			}
			t.Logf("off by %.2g", worst)
			if c.allow > 0 && sameRows(results[0], results[1]) == nil {
				t.Error("equal bit for bit: the cascade has not run")
			}
		})
	}
}

// sharedPrefix is a step of 32 sequences of 257 tokens that share 16 pages of 16, with one to three more tokens each.
func sharedPrefix(t *testing.T, c vkattn.Cache, evict, cascade bool) ([][]float32, vkattn.Report) {
	prefix := addSeqs(t, c, 1)[0]
	at := 0
	for _, n := range []int{80, 80, 80, 17} {
		enter(t, c, []vkattn.CacheSeq{prefix}, []int{1}, []int{at}, []int{n}, false)
		at += n
	}
	var seqs []vkattn.CacheSeq
	var names, lens, n []int
	for s := range 32 {
		f, err := c.Fork(prefix)
		if err != nil {
			t.Fatal(err)
		}
		if evict && s%5 > 0 {
			if _, err := c.Evict(f); err != nil {
				t.Fatal(err)
			}
		}
		seqs, names, lens, n = append(seqs, f), append(names, 10+s), append(lens, at), append(n, 1+s%3)
	}
	rows, r := entered(t, c, seqs, names, lens, n, cascade)
	if st := c.Stats(); !evict && st.Shared != 16 || st.Copied != 32 {
		t.Errorf("%+v: 16 pages are shared, and one was copied for each sequence", st)
	}
	return rows, r
}

// TestKVCacheCascadeAlone: there has to be something that is shared.
func TestKVCacheCascadeAlone(t *testing.T) {
	c := newCache(t, open(t, dispatch.Config{}), bitsSpec(16))
	seqs := addSeqs(t, c, 2)
	_, one := entered(t, c, seqs[:1], []int{1}, []int{0}, []int{40}, true)
	_, apart := entered(t, c, seqs, []int{1, 2}, []int{40, 0}, []int{1, 40}, true)
	for _, x := range []struct {
		r    vkattn.Report
		want string
	}{{one, "cascade not taken: the step has one sequence"}, {apart, "cascade not taken: the sequences of the step share no page from their start on"}} {
		if len(x.r.Notes) != 1 || x.r.Notes[0] != x.want {
			t.Errorf("noted %q, want %q", x.r.Notes, x.want)
		}
	}
}
