package dispatch

import (
	"context"
	"fmt"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/vk"
)

// fewVariant is the build of the subgroup rung for few rows, which do little but read their keys and values. Graphics cards alone gain by it.
const fewVariant = "flash_few"

// fewRung is the name by which Config.Disable turns fewVariant off.
const fewRung = "few-rows"

// fewRows are the numbers of rows for which a kernel of its own is worth while: one that spends nothing on
// rows that are not there, for then the keys and values are all that counts.
var fewRows = []int{1, 4, 8}

// few is the first of fewRows that holds all rows of a sequence, and of heads that share their keys, or 0.
func (p *planner) few(op vkattn.Attention) int {
	if p.fixedTile || op.SeqK < 512 {
		return 0
	}
	for _, n := range fewRows {
		if op.SeqQ*sharing(op) <= n {
			return n
		}
	}
	return 0
}

// takesTeams reports whether op is for fewVariant.
func (p *planner) takesTeams(caps *vk.Caps, op vkattn.Attention) bool {
	return p.team != nil || caps.DeviceType != "cpu" && p.few(op) > 0
}

// team is how fewVariant goes through the keys: groups of lanes share their rows, each takes its own keys.
type team struct {
	Keys uint32 // of a group, at a time
	Team uint32 // groups
}

// forcedTeam is a team of groups of so many lanes.
type forcedTeam struct {
	team
	lanes int
}

// members is how many row groups share their rows.
func (t team) members() uint32 { return max(1, t.Team) }

func (t team) String() string {
	return fmt.Sprintf("%d keys at a time in each of %d groups", t.Keys, t.Team)
}

// teamOf is the team of a kernel: what is left of a subgroup, so that it has as many keys under way as it can, and each lane
// fewer partners to add up with.
func (p *planner) teamOf(k kernelKey, subgroup uint32) team {
	t := team{Keys: 4, Team: keyTile}
	if p.team != nil {
		t = p.team.team
	}
	t.Team = max(1, min(t.Team, subgroup/k.Lanes, keyTile/t.Keys))
	return t
}

// testFew computes a small problem of few rows. It returns why fewVariant may not serve, or "".
func (b *Backend) testFew(ctx context.Context) (reason string, err error) {
	return b.testAttention(ctx, fewProblem, rungSubgroup)
}

var fewProblem = vkattn.Attention{Batch: 1, HeadsQ: 4, HeadsK: 1, SeqQ: 1, SeqK: 523, HeadDim: 36, ValueDim: 52, Causal: true, With: vkattn.WithLSE}.Canonical()
