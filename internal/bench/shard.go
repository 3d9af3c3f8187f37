package bench

import (
	"fmt"
	"strconv"
	"strings"
)

// Shard is the share Index of Of equal ones of a list, counted from 0. The zero Shard is all of it.
type Shard struct{ Index, Of int }

// ParseShard reads "i/n", i from 0 to n-1.
func ParseShard(text string) (Shard, error) {
	i, n, ok := strings.Cut(text, "/")
	index, err1 := strconv.Atoi(i)
	of, err2 := strconv.Atoi(n)
	if !ok || err1 != nil || err2 != nil || of < 1 || index < 0 || index >= of {
		return Shard{}, fmt.Errorf("%q is no shard, want i/n with i from 0 to n-1, such as 0/4", text)
	}
	return Shard{index, of}, nil
}

// Has says whether the shard owns item i of a list. Each run of Of items has one for every shard, and the next run
// starts one shard later: suites count lengths up again and again, and nobody shall get all the long ones.
func (s Shard) Has(i int) bool { return s.Of < 2 || (i+i/s.Of)%s.Of == s.Index }

func (s Shard) String() string {
	if s.Of == 0 {
		return ""
	}
	return fmt.Sprintf("%d/%d", s.Index, s.Of)
}
