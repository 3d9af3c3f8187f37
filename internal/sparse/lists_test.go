package sparse

import (
	"testing"

	"github.com/vkattn/vkattn"
)

// TestLists: every row of every head sees in the calls by lists what the mask keeps under causal and the key lengths, once.
func TestLists(t *testing.T) {
	const batch, heads, kv, groups, sq, sk, width = 2, 6, 3, 3, 12, 700, 9
	index := make([]int32, batch*groups*sq*width)
	for n := range index {
		index[n] = int32(n*n*37%(sk+1)) - 1
	}
	m, err := vkattn.MaskGrid{SeqQ: sq, SeqK: sk, Batch: batch, Heads: heads}.SelectedKeys(index, width)
	if err != nil {
		t.Fatal(err)
	}
	tokens := func(h, s int) vkattn.Tensor {
		return vkattn.BHSD(vkattn.Float32s(make([]float32, batch*h*s)), batch, h, s, 1)
	}
	args := vkattn.Args{Q: tokens(heads, sq), K: tokens(kv, sk), V: tokens(kv, sk), Out: tokens(heads, sq), Blocks: m}
	op := vkattn.Attention{Batch: batch, HeadsQ: heads, HeadsK: kv, SeqQ: sq, SeqK: sk, HeadDim: 1, Causal: true, With: vkattn.WithBlocks | vkattn.WithKeyLengths}.Canonical()
	var seqs []vkattn.Sequence
	for b, n := range []int{sk, 300} {
		seqs = append(seqs, vkattn.Sequence{Index: b, Batch: b, Sq: sq, Sk: n, Off: n - sq, Rel: n - sq, Causal: true, SinkTokens: -1 << 60, Prefix: -1 << 60})
	}
	l, why := ByLists(op, &args, seqs)
	if l == nil {
		t.Fatalf("goes by blocks: %q", why)
	}
	type pair struct{ q, k int }
	seen := map[pair]int{}
	for _, x := range l.Calls(args, seqs, true) {
		for _, s := range x.Seqs {
			for h := range l.Op.HeadsQ {
				for j := range s.Sk {
					if s.Visible(0, j) {
						seen[pair{x.Args.Q.Index(s.Batch, h, s.Q0, 0), x.Args.K.Index(s.Batch, 0, int(x.Lists[s.Index][j]), 0)}]++
					}
				}
			}
		}
	}
	want := 0
	for b := range seqs {
		for h := range heads {
			for i := range sq {
				for j := range sk {
					if m.Listed(b, h, i, j) && seqs[b].Visible(i, j) {
						want++
						if n := seen[pair{args.Q.Index(b, h, i, 0), args.K.Index(b, h/(heads/kv), j, 0)}]; n != 1 {
							t.Fatalf("row %d of (%d, %d) sees key %d %d times", i, b, h, j, n)
						}
					}
				}
			}
		}
	}
	if len(seen) != want {
		t.Errorf("%d pairs, want %d", len(seen), want)
	}
}
