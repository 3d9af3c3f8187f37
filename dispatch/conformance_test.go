package dispatch_test

import (
	"os"
	"regexp"
	"testing"

	"github.com/vkattn/vkattn/dispatch"
	"github.com/vkattn/vkattn/internal/attntest"
	"github.com/vkattn/vkattn/internal/attntest/property"
	"github.com/vkattn/vkattn/vk"
)

// full runs everything instead of samples.
var full = os.Getenv("VKATTN_FULL") == "1"

// smallHeads are the cases with head sizes up to 69: software drivers compile the kernels of larger ones for 10 s.
var smallHeads = regexp.MustCompile(`_d[1-6]?[0-9](-[0-9]+)?$`)

// conform runs the conformance suite: the fixed sample that covers pairs of features, of a second build
// of the same kernel with small heads only, or with VKATTN_FULL=1 all of it; in short mode small heads for all.
// Compiling is what takes the time, so the pipelines are a budget.
func conform(t *testing.T, b *dispatch.Backend, second bool) {
	t.Helper()
	o := attntest.Options{Sample: !full, RequireAll: true}
	if testing.Short() || second && !full {
		o.Filter = smallHeads
	}
	attntest.Run(t, b, o)
	n := b.PipelinesCreated()
	t.Logf("%d pipelines", n)
	if n > 60 {
		t.Errorf("the suite created %d pipelines, the budget is 60", n)
	}
}

func TestConformance(t *testing.T) {
	conform(t, open(t, dispatch.Config{CacheDir: "off"}), false)
}

func TestConformancePlain(t *testing.T) {
	conform(t, open(t, dispatch.Config{CacheDir: "off", Disable: []string{"subgroup"}}), true)
}

func TestConformanceStandard(t *testing.T) {
	conform(t, open(t, dispatch.Config{CacheDir: "off", Kernel: "standard"}), false)
}

// TestConformanceStorage: keys and values through storage buffers, which graphics cards use, on software drivers too.
func TestConformanceStorage(t *testing.T) {
	conform(t, open(t, dispatch.Config{CacheDir: "off", Disable: []string{"texels"}}), true)
}

// TestConformanceLinear is the conformance suite of Linear, or in full with VKATTN_FULL=1.
func TestConformanceLinear(t *testing.T) {
	b := open(t, dispatch.Config{CacheDir: "off"})
	attntest.RunLinear(t, b, attntest.Options{Sample: !full})
	t.Logf("%d pipelines", b.PipelinesCreated())
}

func TestProperties(t *testing.T) {
	property.Check(t, open(t, dispatch.Config{CacheDir: "off"}))
}

func TestClosedBackend(t *testing.T) {
	attntest.Closed(t, open(t, dispatch.Config{CacheDir: "off"}))
}

func TestBadInputs(t *testing.T) {
	attntest.BadInputs(t, open(t, dispatch.Config{CacheDir: "off"}))
}

// TestPatterns: key tiles lie at the same places whatever is listed, so that a block mask and the dense mask of its
// pattern give the same bits.
func TestPatterns(t *testing.T) {
	for _, kernel := range []string{"", "standard"} {
		t.Run("kernel "+kernel, func(t *testing.T) {
			attntest.RunPatterns(t, open(t, dispatch.Config{CacheDir: "off", Kernel: kernel}), true)
		})
	}
}

// TestConformanceNarrowCard: what is planned for a graphics card, in parts and with heads taken together, fits one that binds little.
func TestConformanceNarrowCard(t *testing.T) {
	if testing.Short() {
		t.Skip("many problems: runs without -short")
	}
	b := open(t, lowered(func(c *vk.Caps) { asGraphicsCard(c); c.Limits.MaxStorageBufferRange = 64 << 10 }))
	o := attntest.Options{Sample: true, RequireAll: true, Filter: smallHeads}
	attntest.Run(t, b, o)
	attntest.RunDecode(t, b, o)
	attntest.RunSparse(t, b, o)
	attntest.RunLinear(t, b, attntest.Options{Sample: true, RequireAll: true})
}
