package llama

import (
	"container/heap"
	"unicode/utf8"
)

// Encode is the tokens of a text, Begin first. A text begins with a space, whether or not it has one.
// Neighbours that are a token together are joined, those of the best score first, the leftmost of equals, until there are none.
func (t *Tokenizer) Encode(text string) []int {
	tokens := []int{Begin}
	if text == "" {
		return tokens
	}
	var list []symbol
	push := func(token int) {
		list = append(list, symbol{token, len(list) - 1, len(list) + 1})
	}
	if space, ok := t.ids[" "]; ok {
		push(space)
	}
	for len(text) > 0 {
		_, n := utf8.DecodeRuneInString(text)
		if id, ok := t.ids[text[:n]]; ok {
			push(id)
		} else {
			for _, b := range []byte(text[:n]) {
				push(bytes0 + int(b))
			}
		}
		text = text[n:]
	}
	joins := make(pairs, 0, len(list))
	consider := func(left int) {
		if left < 0 || list[left].next >= len(list) {
			return
		}
		right := list[left].next
		if id, ok := t.ids[t.pieces[list[left].token]+t.pieces[list[right].token]]; ok {
			heap.Push(&joins, pair{left, right, list[left].token, list[right].token, id, t.scores[id]})
		}
	}
	for i := range list {
		consider(i)
	}
	for len(joins) > 0 {
		p := heap.Pop(&joins).(pair)
		l, r := &list[p.left], &list[p.right]
		if l.token != p.leftToken || r.token != p.rightToken || l.next != p.right {
			continue // one of them is part of another token by now
		}
		l.token, l.next = p.token, r.next
		r.token = gone
		if l.next < len(list) {
			list[l.next].before = p.left
		}
		consider(l.before)
		consider(p.left)
	}
	for i := 0; i < len(list); i = list[i].next {
		tokens = append(tokens, list[i].token)
	}
	return tokens
}

// symbol is a token of a text that is being encoded, in a list.
type symbol struct{ token, before, next int }

// gone marks a symbol that was joined to the one before it.
const gone = -1

// pair is two neighbours that are a token together.
type pair struct {
	left, right           int // in the list
	leftToken, rightToken int // as they were
	token                 int // of both
	score                 float32
}

// pairs is a heap, the pair to join first on top.
type pairs []pair

func (p pairs) Len() int { return len(p) }
func (p pairs) Less(i, j int) bool {
	if p[i].score != p[j].score {
		return p[i].score > p[j].score
	}
	return p[i].left < p[j].left
}
func (p pairs) Swap(i, j int) { p[i], p[j] = p[j], p[i] }
func (p *pairs) Push(x any)   { *p = append(*p, x.(pair)) }
func (p *pairs) Pop() any {
	last := (*p)[len(*p)-1]
	*p = (*p)[:len(*p)-1]
	return last
}
