package dispatch

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/cpu"
)

// Tuned says what Tune found for one class of problems.
type Tuned struct {
	Class   string  `json:"class"`
	Problem string  `json:"problem"`
	Rule    Tile    `json:"rule"` // the planner's own
	RuleNS  float64 `json:"rule_ns"`
	Tile    Tile    `json:"tile"` // the fastest right one; Rule, where nothing is faster by a margin
	TileNS  float64 `json:"tile_ns"`
	Tried   int     `json:"tried"` // shapes that fit the device
	Wrong   int     `json:"wrong"` // of them computed something else: never chosen
}

// margin is by how much a tile must beat the planner's to be taken.
const margin = 0.97

// tuneDims are the padded head sizes that Tune looks at.
var tuneDims = []int{64, 128, 256}

// Tune measures which tile is fastest on this device, for classes of problems (tileClass), and keeps the result
// in the cache directory: backends that open this device with this driver later take it. Every tile is
// compared with float64 before it is timed. progress, if not nil, hears of every class. It takes minutes.
//
// Tiles given in Config are not used meanwhile. It returns ctx's error when ctx ends first; nothing is kept then.
func (b *Backend) Tune(ctx context.Context, progress func(done, all int, class string)) ([]Tuned, error) {
	if err := b.alive(); err != nil {
		return nil, err
	}
	path := ""
	for _, r := range rungs {
		if _, off := b.disabled[r.path]; !off {
			path = r.path
			break
		}
	}
	var all []Tuned
	tiles := map[string]Tile{}
	counts := append([]int{0}, fewRows...)
	for i, d := range tuneDims {
		for j, few := range counts {
			if progress != nil {
				progress(i*len(counts)+j, len(tuneDims)*len(counts), tileClass(path, d, d, few))
			}
			t, err := b.tuneClass(ctx, path, d, few)
			if err != nil {
				return nil, err
			}
			all = append(all, t)
			if t.Tile != t.Rule {
				tiles[t.Class] = t.Tile
			}
		}
	}
	if err := saveCache(b.tilesFile(), tiles); err != nil {
		return all, fmt.Errorf("dispatch: the result cannot be kept: %w", err)
	}
	return all, nil
}

// flashKey is the kernel of a plan that this file made.
func flashKey(p *Plan) kernelKey { return p.decision.(*choice).key }

func (b *Backend) tilesFile() string {
	return b.cacheFile("tiles", "", "flash_subgroup", "flash_texels", "flash_plain", fewVariant)
}

// loadTiles takes what an earlier Tune found, apart from shapes that no kernel has.
func (b *Backend) loadTiles() map[string]Tile {
	var tiles map[string]Tile
	if !loadCache(b.tilesFile(), &tiles) {
		return nil
	}
	for class, t := range tiles {
		if !t.valid() {
			delete(tiles, class)
		}
	}
	return tiles
}

// tuneProblem is a typical problem of a class, sized to take a while on this device.
func (b *Backend) tuneProblem(d, few int) vkattn.Attention {
	software := b.caps.DeviceType == "cpu"
	op := vkattn.Attention{Batch: 1, HeadsQ: 8, HeadsK: 8, HeadDim: d}
	if few > 0 {
		op.HeadsQ, op.SeqQ, op.SeqK = 8*few, 1, 16384
		if software {
			op.SeqK = 1024
		}
		return op.Canonical()
	}
	n := 2048
	if software {
		n = 256
	}
	op.SeqQ, op.SeqK = n, n
	return op.Canonical()
}

func (b *Backend) tuneClass(ctx context.Context, path string, d, few int) (Tuned, error) {
	op := b.tuneProblem(d, few)
	t := Tuned{Class: tileClass(path, d, d, few), Problem: op.String()}
	x, err := b.newTrial(op)
	if err != nil {
		return t, err
	}
	defer x.close()
	rule := *b.planner
	rule.tiles, rule.fixedTile = nil, false
	plan := func(p *planner) (*Plan, error) {
		c, err := p.choose(&b.caps, op, "flash", b.disabled)
		if err != nil {
			return nil, err
		}
		return b.newPlan(c), nil
	}
	base, err := plan(&rule)
	if err != nil {
		return t, err
	}
	shape := func(k kernelKey) Tile { return Tile{k.Lanes, k.Rows, k.Invocations} }
	t.Rule = shape(flashKey(base))
	if right, err := x.right(ctx, base); err != nil {
		return t, err
	} else if !right {
		return t, fmt.Errorf("dispatch: tune: %s is wrong on %s", t.Rule, op)
	}
	best := base
	bestNS, err := x.time(ctx, base, 5)
	if err != nil {
		return t, err
	}
	seen := map[kernelKey]bool{flashKey(base): true}
	for _, tile := range candidates(few) {
		p := rule
		p.tiles = map[string]Tile{t.Class: tile}
		other, err := plan(&p)
		if err != nil || shape(flashKey(other)) != tile || seen[flashKey(other)] {
			continue // it does not fit as it is
		}
		seen[flashKey(other)] = true
		t.Tried++
		right, err := x.right(ctx, other)
		if err != nil {
			return t, err
		}
		if !right {
			t.Wrong++
			continue
		}
		ns, err := x.time(ctx, other, 3)
		if err != nil {
			return t, err
		}
		if ns < bestNS {
			best, bestNS = other, ns
		}
	}
	t.Tile = t.Rule
	if best == base {
		t.RuleNS, t.TileNS = bestNS, bestNS
		return t, nil
	}
	// The final, in turns.
	ruleNS := math.Inf(1)
	bestNS = ruleNS
	for range 4 {
		for _, f := range []struct {
			p  *Plan
			ns *float64
		}{{base, &ruleNS}, {best, &bestNS}} {
			ns, err := x.time(ctx, f.p, 2)
			if err != nil {
				return t, err
			}
			*f.ns = min(*f.ns, ns)
		}
	}
	t.RuleNS, t.TileNS = ruleNS, ruleNS
	if bestNS < margin*ruleNS {
		t.Tile, t.TileNS = shape(flashKey(best)), bestNS
	}
	return t, nil
}

// candidates are the shapes worth a try for a class.
func candidates(few int) []Tile {
	var tiles []Tile
	for _, lanes := range []uint32{4, 8, 16, 32} {
		rows := []uint32{4, 8, 16}
		if few > 0 {
			rows = []uint32{uint32(few)}
		}
		for _, r := range rows {
			for _, n := range []uint32{8, 16, 32, 64, 128} {
				if t := (Tile{lanes, r, n}); t.valid() {
					tiles = append(tiles, t)
				}
			}
		}
	}
	return tiles
}

// trial is a problem on device tensors, with some rows of the right answer.
type trial struct {
	be   *Backend
	args vkattn.Args
	out  vkattn.Tensor // in host memory
	rows []cpu.Row
	want *cpu.Result
}

func (b *Backend) newTrial(op vkattn.Attention) (*trial, error) {
	rng := rand.New(rand.NewPCG(3, 4))
	x := &trial{be: b}
	host := vkattn.Args{}
	for _, t := range []struct {
		host, device *vkattn.Tensor
		heads, rows  int
	}{{&host.Q, &x.args.Q, op.HeadsQ, op.SeqQ}, {&host.K, &x.args.K, op.HeadsK, op.SeqK}, {&host.V, &x.args.V, op.HeadsV, op.SeqK}, {&host.Out, &x.args.Out, op.HeadsQ, op.SeqQ}} {
		data := make([]float32, t.heads*t.rows*op.HeadDim)
		for i := range data {
			data[i] = float32(rng.NormFloat64())
		}
		*t.host = vkattn.BHSD(vkattn.Float32s(data), 1, t.heads, t.rows, op.HeadDim)
		var err error
		if *t.device, err = b.NewTensor(vkattn.Float32, t.host.Shape); err == nil {
			err = b.Copy(context.Background(), *t.device, *t.host)
		}
		if err != nil {
			x.close()
			return nil, err
		}
	}
	x.out = host.Out
	for n := range 4 {
		x.rows = append(x.rows, cpu.Row{Head: n * (op.HeadsQ - 1) / 3, I: n * (op.SeqQ - 1) / 3})
	}
	var err error
	if x.want, err = cpu.OracleRows(op, &host, x.rows); err != nil {
		x.close()
		return nil, err
	}
	return x, nil
}

func (x *trial) close() {
	for _, t := range []vkattn.Tensor{x.args.Q, x.args.K, x.args.V, x.args.Out} {
		if t.Given() {
			t.Mem.Close()
		}
	}
}

// right runs p and compares some rows with the right answer.
func (x *trial) right(ctx context.Context, p *Plan) (bool, error) {
	if _, err := p.Run(ctx, x.args); err != nil {
		return false, err
	}
	if err := x.be.Copy(ctx, x.out, x.args.Out); err != nil {
		return false, err
	}
	data := x.out.Mem.(*vkattn.Host).Float32s()
	dv := x.out.Shape[3]
	for n, row := range x.rows {
		at := x.out.Index(0, row.Head, row.I, 0)
		var diff, norm float64
		for d := range dv {
			w := x.want.Out[n*dv+d]
			diff += (float64(data[at+d]) - w) * (float64(data[at+d]) - w)
			norm += w * w
		}
		if !(math.Sqrt(diff) <= 1e-5*math.Sqrt(norm)) {
			return false, nil
		}
	}
	return true, nil
}

// time is the shortest of so many runs, in nanoseconds.
func (x *trial) time(ctx context.Context, p *Plan, runs int) (float64, error) {
	best := math.Inf(1)
	for range runs {
		r, err := p.Run(ctx, x.args)
		if err != nil {
			return 0, err
		}
		took := r.DeviceTime
		if took <= 0 {
			took = r.WallTime
		}
		best = min(best, float64(took.Nanoseconds()))
	}
	return best, nil
}
