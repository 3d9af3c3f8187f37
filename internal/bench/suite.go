package bench

import (
	"fmt"
	"strings"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/internal/preset"
)

// Case is one problem of a suite.
type Case struct {
	Suite string
	Table string // the part of the suite that it belongs to, "" where there is but one
	Name  string // within Suite and Table
	// Against names the case of the same table that Ratio compares with; "" compares the contestants of this case.
	Against string
	Op      vkattn.Attention // of linear attention, the shape alone
	Preset  *preset.Preset   // where the op comes from, when it needs more than an op
	// Linear is linear attention of that shape, with the decays of a model; nil is softmax attention.
	Linear *vkattn.Linear
	Decays string
	// BlockMask is a sparse pattern as the command's --block-mask has it, in blocks of 64 x 64; "" is none.
	BlockMask string
	// Tiled keeps the unfused baseline out: the case compares tiled runs with each other.
	Tiled bool
	// Whole refuses the unfused baseline where the whole score matrix does not fit in the device's memory.
	Whole bool
}

// Path is the name of the case among all suites.
func (c *Case) Path() string {
	if c.Table == "" {
		return c.Suite + "/" + c.Name
	}
	return c.Suite + "/" + c.Table + "/" + c.Name
}

// Problem is the op of the case.
func (c *Case) Problem() vkattn.Op {
	if c.Linear != nil {
		return preset.Shaped(*c.Linear, c.Op)
	}
	return c.Op
}

// Suites are the names that Suite takes, and what they hold.
var Suites = []struct{ Name, Text string }{
	{"fa", "FlashAttention's grid: 16k tokens in all, hidden size 2048, head sizes 64, 128 and 256, causal or not, sequences of 512 to 16k"},
	{"llama", "Llama 3.1 8B and 70B: prefill of 512 to 32k tokens, and one row over 1 to 128k keys"},
	{"window", "sliding windows of 128 to 4096 keys against all keys, over 4k, 16k and 64k tokens"},
	{"presets", "the layers of 'vkattn bench --preset list' at 512, 2k and 8k tokens"},
	{"seed", "unfused against tiled attention at 4k, 16k, 128k and 200k tokens; MHA, GQA-8 and MQA; windows of 512 to 4096 against all keys; linear against softmax attention up to 1000k tokens; sparse patterns against all pairs"},
}

// Suite lists the cases of a suite. quick makes the grid of fa smaller, which all of whose problems would otherwise
// break QuickCut's rule.
func Suite(name string, quick bool) ([]Case, error) {
	switch name {
	case "fa":
		if quick {
			return flashGrid(QuickTokens), nil
		}
		return flashGrid(16 << 10), nil
	case "llama":
		return llama(), nil
	case "window":
		return windows(), nil
	case "presets":
		return presets(), nil
	case "seed":
		return seed(), nil
	}
	var names []string
	for _, s := range Suites {
		names = append(names, s.Name)
	}
	return nil, fmt.Errorf("no suite %q, want one of %s, or serve by itself", name, strings.Join(names, ", "))
}

// QuickTokens and QuickKeys bound what --quick leaves of a suite.
const QuickTokens, QuickKeys = 4 << 10, 32 << 10

// QuickCut says why --quick leaves a case out, or is empty.
func QuickCut(c *Case) string {
	if n := c.Op.Batch * c.Op.SeqQ; n > QuickTokens {
		return fmt.Sprintf("--quick measures at most %s query tokens, this has %s", Size(QuickTokens), Size(n))
	}
	if c.Op.SeqK > QuickKeys {
		return fmt.Sprintf("--quick measures at most %s keys, this has %s", Size(QuickKeys), Size(c.Op.SeqK))
	}
	return ""
}

// flashGrid is the grid of FlashAttention's benchmark_flash_attention.py: the batch is what makes the tokens
// come to total. Lengths beyond total are left out, which no more than total could fill.
func flashGrid(total int) (cases []Case) {
	for _, dim := range []int{64, 128, 256} {
		for _, causal := range []bool{false, true} {
			for n := 512; n <= total; n *= 2 {
				op := attention(total/n, 2048/dim, 2048/dim, n, n, dim)
				op.Causal = causal
				name := fmt.Sprintf("d%d %s", dim, Size(n))
				if causal {
					name = fmt.Sprintf("d%d causal %s", dim, Size(n))
				}
				cases = append(cases, Case{Suite: "fa", Name: name, Op: op})
			}
		}
	}
	return cases
}

func llama() (cases []Case) {
	for _, name := range []string{"llama3.1-8b", "llama3.1-70b"} {
		p, err := preset.Find(name)
		if err != nil {
			panic(err) // a test lists the suite
		}
		add := func(table string, rows, keys int) {
			op := p.Op
			op.Batch, op.SeqQ, op.SeqK = 1, rows, keys
			cases = append(cases, Case{Suite: "llama", Table: table, Name: strings.TrimPrefix(name, "llama3.1-") + " " + Size(keys), Op: op})
		}
		for n := 512; n <= 32<<10; n *= 2 {
			add("prefill", n, n)
		}
		for _, n := range []int{1, 16, 128} {
			add("decode", 1, n)
		}
		for n := 512; n <= 128<<10; n *= 2 {
			add("decode", 1, n)
		}
	}
	return cases
}

// windows has one group of Llama's heads.
func windows() (cases []Case) {
	for _, n := range []int{4 << 10, 16 << 10, 64 << 10} {
		cases = append(cases, windowed("window", Size(n)+" tokens", attention(1, 4, 1, n, n, 128), 128, 256, 512, 1024, 2048, 4096)...)
	}
	return cases
}

// windowed is op, causal, with all keys and then with each window that is smaller; a window of W keeps the row's
// own key and W-1 before it.
func windowed(suite, table string, op vkattn.Attention, sizes ...int) []Case {
	op.Causal = true
	cases := []Case{{Suite: suite, Table: table, Name: "all keys", Op: op, Tiled: true}}
	for _, w := range sizes {
		if w < op.SeqK {
			c := cases[0]
			c.Name, c.Against = "window "+Size(w), "all keys"
			c.Op.Window = vkattn.Window{Left: vkattn.Tokens(w - 1), Right: vkattn.Tokens(0)}
			cases = append(cases, c)
		}
	}
	return cases
}

// presets takes each layer at lengths up to the model's context, and at that if it is short.
func presets() (cases []Case) {
	for _, p := range preset.All() {
		lengths := []int{512, 2 << 10, 8 << 10}
		if p.Context < 8<<10 {
			lengths = append(lengths, p.Context)
		}
		seen := map[int]bool{}
		for _, n := range lengths {
			if n > p.Context || seen[n] {
				continue
			}
			seen[n] = true
			op := p.Shape()
			op.Batch, op.SeqQ, op.SeqK = 1, n, n
			if p.Rows > 0 {
				op.SeqQ = p.Rows
			}
			cases = append(cases, Case{Suite: "presets", Name: p.Name + " " + Size(n), Op: op, Preset: &p,
				Linear: p.Linear, Decays: p.Decays, BlockMask: p.Blocks})
		}
	}
	return cases
}

// seed has the comparisons that made tiled attention known: what the score matrix costs, what shared key heads
// save, what windows and sparse patterns save, where linear attention overtakes. One head where all of it has to fit in a
// small machine.
func seed() (cases []Case) {
	for _, n := range []int{4 << 10, 16 << 10, 128 << 10, 200 << 10} {
		cases = append(cases, Case{Suite: "seed", Table: "unfused and tiled", Name: Size(n) + " tokens", Op: attention(1, 1, 1, n, n, 128), Whole: true})
	}
	for _, rows := range []int{1, 2 << 10} {
		keys, table := 16<<10, "shared key heads, one row over 16k keys"
		if rows > 1 {
			keys, table = rows, "shared key heads, prefill of 2k tokens"
		}
		for _, kv := range []struct {
			name  string
			heads int
		}{{"MHA", 32}, {"GQA-8", 8}, {"MQA", 1}} {
			op := attention(1, 32, kv.heads, rows, keys, 128)
			op.Causal = true
			c := Case{Suite: "seed", Table: table, Name: kv.name, Op: op, Tiled: true}
			if kv.heads != 32 {
				c.Against = "MHA"
			}
			cases = append(cases, c)
		}
	}
	for _, n := range []int{4 << 10, 16 << 10} {
		cases = append(cases, windowed("seed", "windows over "+Size(n)+" tokens", attention(1, 1, 1, n, n, 128), 512, 1024, 2048, 4096)...)
	}
	cases = append(cases, linearCases()...)
	for _, n := range []int{4 << 10, 16 << 10} {
		cases = append(cases, patternCases(n)...)
	}
	return cases
}

// linearCases sets linear attention, normalised with elu+1 and with the decay of RetNet's first head, beside causal
// softmax attention of the same length.
func linearCases() (cases []Case) {
	for _, n := range []int{4 << 10, 16 << 10, 128 << 10, 1000 << 10} {
		softmax := Case{Suite: "seed", Table: "linear and softmax attention", Name: "softmax " + Size(n), Op: attention(1, 1, 1, n, n, 64), Whole: true}
		softmax.Op.Causal = true
		cases = append(cases, softmax)
		for _, l := range []struct {
			name, decays string
			op           vkattn.Linear
		}{{"elu", "", vkattn.Linear{Map: vkattn.MapELU, Norm: vkattn.NormSum, Scale: vkattn.Num(1)}}, {"retnet", "retnet", vkattn.Linear{Decay: vkattn.DecayHead}}} {
			c := softmax
			c.Name, c.Against, c.Whole, c.Linear, c.Decays = l.name+" "+Size(n), softmax.Name, false, &l.op, l.decays
			cases = append(cases, c)
		}
	}
	return cases
}

// patternCases sets sparse patterns, each a block mask, beside all pairs, and the causal ones beside all causal pairs.
func patternCases(n int) (cases []Case) {
	const all, causal = "all pairs", "all causal pairs"
	for _, p := range []struct{ name, against, mask string }{
		{all, "", ""}, {causal, "", ""},
		{"window 512", causal, "window:window=511,0"},
		{"Longformer 512 + 64 global", all, "longformer:window=256,256:global=0-63"},
		{"BigBird 64 x 3", all, "bigbird"},
		{"strided 128", causal, "strided:stride=128"},
		{"StreamingLLM 4 + 1020", causal, "streaming:sink-tokens=4:window=1019,0"},
	} {
		c := Case{Suite: "seed", Table: "sparse patterns over " + Size(n) + " tokens", Name: p.name, Against: p.against, BlockMask: p.mask,
			Op: attention(1, 1, 1, n, n, 64), Tiled: true}
		c.Op.Causal = p.name == causal
		if p.mask != "" {
			c.Op.With |= vkattn.WithBlocks
		}
		cases = append(cases, c)
	}
	return cases
}

func attention(batch, heads, kv, rows, keys, dim int) vkattn.Attention {
	return vkattn.Attention{Batch: batch, HeadsQ: heads, HeadsK: kv, HeadsV: kv, SeqQ: rows, SeqK: keys, HeadDim: dim, ValueDim: dim}
}
