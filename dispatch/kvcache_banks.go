package dispatch

import (
	"slices"

	"github.com/vkattn/vkattn/internal/pages"
)

// banks says where the pages of a pool lie: bank after bank, in each head by head, in each of these the bank's pages. One bank has all
// pages if the device binds all of a head's at once. Else a bank is what it binds of all heads, and a dispatch sees one bank: keys
// whose pages lie in several are taken one run after the other, with the running state carried between them.
type banks struct {
	page, pages int // tokens of a page, and pages
	bank        int // pages of a bank
	heads       int
}

// onePool is a pool without banks.
func onePool(page, pages int) banks {
	return banks{page: page, pages: pages, bank: max(1, pages), heads: 1}
}

// count is how many banks there are.
func (b *banks) count() int { return max(1, ceilDiv(b.pages, b.bank)) }

// slot is the place of a page among those that the first head has, counted in pages of the whole pool: what tables say.
func (b *banks) slot(page int32) int {
	return int(page)/b.bank*b.heads*b.bank + int(page)%b.bank
}

// slots is the end of all slots.
func (b *banks) slots() int { return (b.count()-1)*b.heads*b.bank + b.bank }

// rows are those of a bank that the first head has.
func (b *banks) rows(bank int) (lo, hi int) {
	lo = bank * b.heads * b.bank * b.page
	return lo, lo + b.bank*b.page
}

// bankOf is the bank of a row that the first head has.
func (b *banks) bankOf(row int) int { return row / (b.heads * b.bank * b.page) }

// appendTable adds the slots of a table. A page that is gone stands for the one before it, which is where its tile looks.
func (b *banks) appendTable(words []uint32, table []int32) []uint32 {
	last := uint32(0)
	for _, page := range table {
		if page != pages.Hole {
			last = uint32(b.slot(page))
		}
		words = append(words, last)
	}
	return words
}

// bankRun is keys that follow each other, from first on, whose pages lie in one bank.
type bankRun struct{ first, bank int }

// runs are those of a table. The last one goes on for ever, as a sequence may.
func (b *banks) runs(table []int32) (runs []bankRun) {
	for i, page := range table {
		if page == pages.Hole {
			continue
		}
		if at := int(page) / b.bank; len(runs) == 0 {
			runs = append(runs, bankRun{0, at})
		} else if runs[len(runs)-1].bank != at {
			runs = append(runs, bankRun{i * b.page, at})
		}
	}
	return runs
}

// span bounds the rows of the banks that keys [key0, key1) of some sequences lie in.
func (b *banks) span(sequences [][]bankRun, key0, key1 int) (lo, hi int) {
	if b.count() == 1 {
		return b.rows(0)
	}
	first, last := b.count(), -1
	for _, runs := range sequences {
		for i, r := range runs {
			if r.first < key1 && (i+1 == len(runs) || runs[i+1].first > key0) {
				first, last = min(first, r.bank), max(last, r.bank)
			}
		}
	}
	if last < 0 {
		return b.rows(0)
	}
	lo, _ = b.rows(first)
	_, hi = b.rows(last)
	return lo, hi
}

// sameRuns reports whether what is recorded for some runs does for others.
func sameRuns(a, b [][]bankRun) bool {
	return slices.EqualFunc(a, b, slices.Equal[[]bankRun])
}
