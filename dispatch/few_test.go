package dispatch_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/dispatch"
	"github.com/vkattn/vkattn/internal/attntest"
	"github.com/vkattn/vkattn/vk"
)

// teamCases are masks, lengths, biases, groups and block lists with small heads; teamWide have larger ones.
var (
	teamCases = regexp.MustCompile(`^(headsize/causal|window/(3:0|64:1)|sinktokens/200|varlen/offsets|keylen/100|mask/(rows|block-all)|bias/inf|tree/spec|gqa/(rows|decode)|kvheads/rows|blocks/1x64-mask|base/shard).*_d40$`)
	teamWide  = regexp.MustCompile(`^(headsize/(causal|decode).*_d(128|576)|alibi/heads2.*_d40)$`)
	teamTypes = regexp.MustCompile(`^types/(f16-f8_e4m3-f8_e4m3-f16|bf16-f8_e5m2-f8_e4m3-bf16)/.*_d40$`)
)

// TestTeams: however many row groups share their rows, and however many keys they take at a time, the answers are right, and what no
// row may see changes no bit. The build runs all rows here, not few alone.
func TestTeams(t *testing.T) {
	for i, s := range []struct {
		keys, members uint32
		lanes         int
	}{{4, 2, 4}, {4, 4, 2}, {4, 1, 8}, {8, 2, 4}, {8, 1, 4}, {8, 4, 2}} {
		t.Run(fmt.Sprintf("%d keys, %d groups of %d", s.keys, s.members, s.lanes), func(t *testing.T) {
			if i >= 2 && testing.Short() {
				t.Skip("every shape compiles kernels of its own")
			}
			b := open(t, dispatch.Config{CacheDir: "off", SkipSelfTest: true})
			b.TakeTeams(s.keys, s.members, s.lanes)
			op := vkattn.Attention{Batch: 1, HeadsQ: 7, HeadsK: 1, SeqQ: 1, SeqK: 600, HeadDim: 40, With: vkattn.WithLSE}
			c := namedCall{op: op}
			args := c.args(1)
			r := run(t, b, op, args)
			checkRows(t, op, &args, 7)
			if r.Kernel != "flash_few" || !strings.Contains(r.Tile, fmt.Sprintf("%d keys at a time in each of", s.keys)) {
				t.Fatalf("%s ran, %s", r.Kernel, r.Tile)
			}
			attntest.Run(t, b, attntest.Options{Filter: teamCases, RequireAll: true})
			if i == 0 && !testing.Short() || full { // it takes a software driver 10 s to compile the widest
				attntest.Run(t, b, attntest.Options{Filter: teamWide, RequireAll: true})
			}
			if i < 2 || full {
				attntest.RunTypes(t, b, attntest.Options{Filter: teamTypes, RequireAll: true})
				attntest.RunDecode(t, b, attntest.Options{Sample: true, RequireAll: true})
			}
			for i, spec := range attntest.CacheSpecs() {
				t.Run(fmt.Sprintf("cache %d page %d", i, spec.Page), func(t *testing.T) {
					c := newCache(t, b, spec)
					if err := c.(*dispatch.KVCache).Poison(t.Context()); err != nil {
						t.Fatal(err)
					}
					r := attntest.NewCacheRun(c, uint64(i))
					r.Trees, r.Cascades = !spec.Op.Window.Given(), true
					if err := r.Do(t.Context(), 30); err != nil {
						t.Fatal(err)
					}
				})
			}
			t.Logf("%d pipelines", b.PipelinesCreated())
		})
	}
}

// asGraphicsCard is a software driver that is planned for as a graphics card.
func asGraphicsCard(c *vk.Caps) { c.DeviceType = "discrete" }

// TestManyParts: the plans of graphics cards for few rows over many keys, up to 1024 parts that up to 1024 invocations merge, many of
// which saw no key.
func TestManyParts(t *testing.T) {
	b := open(t, lowered(asGraphicsCard))
	if b.Caps().Subgroup.Size < 2 {
		t.Skip("no subgroups")
	}
	for _, c := range []struct {
		namedCall
		least int
	}{
		{namedCall{op: vkattn.Attention{HeadsQ: 4, HeadsK: 1, SeqQ: 1, SeqK: 32_700, With: vkattn.WithLSE | vkattn.WithSinkLogits}}, 1022},
		{namedCall{op: vkattn.Attention{HeadsQ: 1, SeqQ: 1, SeqK: 20_011, Window: vkattn.Window{Left: vkattn.Tokens(3000)}, SinkTokens: 2, Causal: true, With: vkattn.WithLSE}}, 600},
		{namedCall{op: vkattn.Attention{Batch: 2, HeadsQ: 14, HeadsK: 2, SeqQ: 1, SeqK: 5000, With: vkattn.WithKeyLengths}}, 150},
		{namedCall{op: vkattn.Attention{HeadsQ: 2, SeqQ: 3, SeqK: 600, Causal: true, With: vkattn.WithLSE}}, 19},
	} {
		c.op.Batch, c.op.HeadDim = max(1, c.op.Batch), 32
		t.Run(c.op.String(), func(t *testing.T) {
			args := c.args(1)
			r := run(t, b, c.op, args)
			checkRows(t, c.op, &args, 4)
			if r.Splits < c.least || !strings.HasPrefix(r.Kernel, "flash") {
				t.Errorf("%s, %s: %d parts", r.Kernel, r.Tile, r.Splits)
			}
		})
	}
}
