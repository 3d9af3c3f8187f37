package dispatch_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/dispatch"
	"github.com/vkattn/vkattn/internal/attntest"
)

// dots opens a backend that multiplies keys in blocks by integer dot products, accelerated or not.
func dots(t *testing.T, cfg dispatch.Config) *dispatch.Backend {
	t.Helper()
	cfg.CacheDir, cfg.Kernel = "off", "flash_dot"
	b := open(t, cfg)
	if !b.Caps().Features.IntegerDotProduct {
		t.Skip("no integer dot products")
	}
	op := vkattn.Attention{Batch: 1, HeadsQ: 1, SeqQ: 1, SeqK: 1, HeadDim: 32, TypeK: vkattn.Q8_0}
	plan, err := b.Plan(t.Context(), op)
	if err != nil {
		t.Fatal(err)
	}
	if e := plan.Explain(); e.Kernel != "flash_dot" {
		t.Fatalf("%s: %v", e.Kernel, e.NotTaken)
	}
	return b
}

// Of the cases of types, those with keys in blocks, and a few of them: compiling is what takes the time.
var (
	dotCases = regexp.MustCompile(`^types/[^-/]*-q[84]_0-[^/]*/`)
	dotFew   = regexp.MustCompile(`^types/(f16-q8_0-q8_0-f16/blocks|bf16-q4_0-q4_0-bf16/decode|f32-q8_0-f16-f32/alibi-bias|f32-q8_0-q8_0-f32/rows-3)/.*_d64`)
)

// TestDot: all kinds of calls with keys in blocks, few rows and many.
func TestDot(t *testing.T) {
	b := dots(t, dispatch.Config{})
	o := attntest.Options{Filter: dotFew, RequireAll: true}
	if full {
		o.Filter = dotCases
	}
	attntest.RunTypes(t, b, o)
	t.Logf("%d pipelines", b.PipelinesCreated())
}

// TestDotDecode: what integer dot products are for, whole and in parts.
func TestDotDecode(t *testing.T) {
	for _, splits := range []int{0, 3} {
		b := dots(t, dispatch.Config{Splits: splits})
		o := attntest.Options{Sample: !full, RequireAll: true}
		if splits > 0 || testing.Short() {
			o.Filter = regexp.MustCompile(`_d32$`)
		}
		t.Run(fmt.Sprintf("splits %d", splits), func(t *testing.T) {
			attntest.RunDecode(t, b, o)
			t.Logf("%d pipelines", b.PipelinesCreated())
		})
	}
}

// TestDotCache: keys of a cache, in pages of all kinds and without.
func TestDotCache(t *testing.T) {
	b := dots(t, dispatch.Config{})
	for i, page := range []int{3, 0, 4, 32} {
		if !full && i > 1 {
			continue
		}
		spec := attntest.TypedCacheSpecs()[4]
		spec.Page = page
		t.Run(fmt.Sprintf("page %d", page), func(t *testing.T) {
			c, err := b.NewCache(t.Context(), spec)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if err := attntest.NewCacheRun(c, uint64(i)).Do(t.Context(), 60); err != nil {
				t.Fatal(err)
			}
		})
	}
	t.Logf("%d pipelines", b.PipelinesCreated())
}

// TestDotInWindows: windows and slices of the keys change no bit.
func TestDotInWindows(t *testing.T) {
	dots(t, dispatch.Config{SkipSelfTest: true})
	testTypesInWindows(t, "flash_dot", [][4]vkattn.Type{{vkattn.Float32, vkattn.Q8_0, vkattn.Q4_0, vkattn.Float32}, {vkattn.Float16, vkattn.Q4_0, vkattn.Q8_0, vkattn.Float16}})
}

// TestDotTiles: groups of all sizes that the device's subgroups hold, with fewer and more rows than lanes that share a key.
func TestDotTiles(t *testing.T) {
	size := dots(t, dispatch.Config{SkipSelfTest: true}).Caps().Subgroup.Size
	op := vkattn.Attention{Batch: 1, HeadsQ: 8, HeadsK: 2, SeqQ: 1, SeqK: 530, HeadDim: 64, Causal: true, TypeK: vkattn.Q8_0}
	for _, tile := range []dispatch.Tile{{Lanes: 4, Rows: 2}, {Lanes: 4, Rows: 8}, {Lanes: 8, Rows: 1}, {Lanes: 8, Rows: 16}, {Lanes: 16, Rows: 4}, {Lanes: 16, Rows: 8}, {Lanes: 32, Rows: 4}, {Lanes: 32, Rows: 16}} {
		if tile.Lanes > size {
			continue
		}
		t.Run(fmt.Sprintf("%d lanes, %d rows", tile.Lanes, tile.Rows), func(t *testing.T) {
			tile.Invocations = size
			b := dots(t, dispatch.Config{SkipSelfTest: true, Tiles: map[string]dispatch.Tile{"subgroup d64 rows4": tile}})
			args := inTypes(t, op, problem(op, 3))
			r := run(t, b, op, args)
			check(t, op, &args)
			if want := fmt.Sprintf("%d rows per %d lanes", tile.Rows, tile.Lanes); !strings.Contains(r.Tile, want) {
				t.Errorf("%s, want %s", r.Tile, want)
			}
		})
	}
}
