package serve

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"
)

// Lengths is a log-normal distribution of lengths in tokens.
type Lengths struct {
	Median float64 `json:"median"`
	Spread float64 `json:"spread"` // standard deviation of the natural logarithm
	Min    int     `json:"min"`
	Max    int     `json:"max"`
}

func (l Lengths) String() string {
	return fmt.Sprintf("log-normal, median %g, spread %g, %d to %d", l.Median, l.Spread, l.Min, l.Max)
}

func (l Lengths) check(name string) error {
	if !(l.Median > 0) || math.IsInf(l.Median, 0) || !(l.Spread >= 0) || math.IsInf(l.Spread, 0) || l.Min < 1 || l.Max < l.Min {
		return fmt.Errorf("serve: %s: %v is no distribution of lengths", name, l)
	}
	return nil
}

// draw is one length.
func (l Lengths) draw(r *rand.Rand) int {
	n := l.Median * math.Exp(l.Spread*r.NormFloat64())
	return int(min(max(math.Round(n), float64(l.Min)), float64(l.Max)))
}

// Load is what arrives.
type Load struct {
	Seed   uint64  `json:"seed"`
	Rate   float64 `json:"rate"` // sequences in a second, on average, one after the other independently (Poisson); 0: the next one as soon as one can start
	Prompt Lengths `json:"prompt"`
	Output Lengths `json:"output"`
}

// request is one sequence of a load.
type request struct {
	number         int
	at             time.Duration // of its arrival, since the start
	prompt, output int
}

// arrivals draws requests in the order of their arrival, the same ones for the same seed, whatever happens to them.
type arrivals struct {
	load Load
	rand *rand.Rand
	next request
}

func newArrivals(l Load) *arrivals {
	a := &arrivals{load: l, rand: rand.New(rand.NewPCG(l.Seed, 0x5e4e))}
	a.next = request{number: -1}
	a.draw()
	return a
}

func (a *arrivals) draw() {
	gap := a.rand.ExpFloat64()
	a.next.number++
	a.next.prompt, a.next.output = a.load.Prompt.draw(a.rand), a.load.Output.draw(a.rand)
	if a.load.Rate > 0 {
		a.next.at += time.Duration(gap / a.load.Rate * float64(time.Second))
	}
}

// take is the next request if it is there by now. Without a rate it arrives whenever it is asked for.
func (a *arrivals) take(now time.Duration) (request, bool) {
	if a.load.Rate > 0 && a.next.at > now {
		return request{}, false
	}
	r := a.next
	if a.load.Rate == 0 {
		r.at = now
	}
	a.draw()
	return r, true
}
