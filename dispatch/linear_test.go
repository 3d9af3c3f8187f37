package dispatch_test

import (
	"math/rand/v2"
	"testing"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/dispatch"
)

// linearCase is a call of the linear family.
type linearCase struct {
	op         vkattn.Linear
	lens       []int   // packed
	strength   float64 // of the decay of a token
	correlated bool    // keys
	tolerance  float64 // 0: 1e-5
}

func (c *linearCase) run(t *testing.T, b *dispatch.Backend, seed uint64) vkattn.Args {
	t.Helper()
	args := linearArgs(c.op, c.lens, seed, max(c.strength, 0.05), c.correlated)
	want := linearOracle(t, c.op, &args)
	run(t, b, c.op, args)
	tolerance := c.tolerance
	if tolerance == 0 {
		tolerance = 1e-5
	}
	checkLinear(t, c.op, &args, want, tolerance)
	return args
}

// linearCases cover each feature, and each map, at awkward sizes.
func linearCases() []linearCase {
	base := vkattn.Linear{Batch: 1, HeadsQ: 2, SeqQ: 65, HeadDim: 40, Causal: true}
	with := func(f func(*vkattn.Linear)) vkattn.Linear { op := base; f(&op); return op }
	return []linearCase{
		{op: base},
		{op: with(func(l *vkattn.Linear) {
			l.Norm, l.Map = vkattn.NormSum, vkattn.MapELU
			l.StateIn, l.StateOut = true, true
		})},
		{op: with(func(l *vkattn.Linear) { l.Rule = vkattn.RuleDelta; l.StateOut = true })},
		{op: with(func(l *vkattn.Linear) {
			l.Decay, l.Rule = vkattn.DecayToken, vkattn.RuleDelta
			l.StateIn, l.StateOut = true, true
		})},
		{op: with(func(l *vkattn.Linear) {
			l.Decay, l.ValueDim = vkattn.DecayChannel, 59
			l.StateIn, l.StateOut = true, true
		})},
		{op: with(func(l *vkattn.Linear) {
			l.Decay, l.Norm, l.HeadDim = vkattn.DecayHead, vkattn.NormSRMS, 32
			l.Batch = 2
		})},
	}
}

func TestLinear(t *testing.T) {
	for _, disable := range []string{"", "texels", "subgroup"} {
		b := open(t, dispatch.Config{CacheDir: "off", Disable: []string{disable}})
		for i, c := range linearCases() {
			t.Run(disable+"/"+c.op.String(), func(t *testing.T) { c.run(t, b, uint64(i)) })
		}
		if n := b.PipelinesCreated(); n > 10 && b.Caps().DeviceType == "cpu" { // where each costs seconds
			t.Errorf("%d pipelines, the budget is 10", n)
		}
	}
}

// randomLinear is a call of any features at an awkward size. Sums that may vanish are kept off 0: NormSum has
// positive features and plain sums, and no state to begin with that could cancel them.
func randomLinear(rng *rand.Rand) linearCase {
	dims := []int{32, 40, 59, 64, 100}
	op := vkattn.Linear{Batch: 1 + rng.IntN(2), HeadDim: dims[rng.IntN(len(dims))], Causal: rng.IntN(4) != 0, HeadMap: vkattn.HeadMap(rng.IntN(2)),
		SeqQ: []int{1, 15, 17, 63, 64, 65, 100, 257}[rng.IntN(8)], StateIn: rng.IntN(2) == 0, StateOut: rng.IntN(2) == 0, Norm: vkattn.Norm(rng.IntN(4))}
	if rng.IntN(2) == 0 {
		op.ValueDim = dims[rng.IntN(len(dims))]
	}
	heads := [][3]int{{2, 2, 2}, {4, 2, 2}, {6, 1, 1}, {1, 1, 4}, {2, 2, 4}, {4, 1, 2}, {8, 2, 1}}[rng.IntN(7)]
	op.HeadsQ, op.HeadsK, op.HeadsV = heads[0], heads[1], heads[2]
	op.Map = vkattn.FeatureMap(rng.IntN(8))
	c := linearCase{strength: []float64{0.01, 0.1, 1, 5}[rng.IntN(4)]}
	if op.Causal {
		op.Decay = vkattn.Decay(rng.IntN(4))
		if rng.IntN(2) == 0 {
			op.Rule, op.Map, op.StateIn, c.correlated, c.tolerance = vkattn.RuleDelta, vkattn.MapIdentity, false, rng.IntN(2) == 0, 1e-4
			if op.Norm != vkattn.NormSRMS {
				op.Norm = vkattn.NormNone
			}
		}
	} else if rng.IntN(2) == 0 {
		op.SeqK = []int{1, 33, 300}[rng.IntN(3)]
	}
	if op.Norm == vkattn.NormSum || op.Norm == vkattn.NormLiteral {
		op.Map = []vkattn.FeatureMap{vkattn.MapELU, vkattn.MapExp, vkattn.MapSoftmax, vkattn.MapFavor}[rng.IntN(4)]
	}
	if op.Map == vkattn.MapFavor {
		op.Features = []int{33, 96}[rng.IntN(2)]
		c.tolerance = 3e-5
		if op.Decay == vkattn.DecayChannel {
			op.Decay = vkattn.DecayNone
		}
	} else if rng.IntN(6) == 0 && op.Rule == vkattn.RuleAdd {
		op.Features, c.tolerance = 48, 3e-5
	}
	if rng.IntN(4) == 0 {
		op.Packed = true
		n := op.SeqQ
		c.lens = []int{n, 0, n / 2, 1}
		op.Batch, op.TotalQ, op.SeqK = 4, n+n/2+1, 0
	}
	if op.Norm == vkattn.NormLiteral { // of few keys it is nearly 0: the queries' features sum to 0
		op.Packed, op.Batch, op.TotalQ, op.SeqQ, op.SeqK = false, 1, 0, 63, 0
	}
	c.op = op
	return c
}

// TestLinearCombinations samples combinations of all features.
func TestLinearCombinations(t *testing.T) {
	b := open(t, dispatch.Config{CacheDir: "off"})
	rng := rand.New(rand.NewPCG(3, 3))
	n := 60
	if testing.Short() {
		n = 10
	}
	for i := range n {
		c := randomLinear(rng)
		t.Run(c.op.String(), func(t *testing.T) { c.run(t, b, uint64(i)) })
	}
	t.Logf("%d pipelines", b.PipelinesCreated())
}
