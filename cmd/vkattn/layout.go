package main

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/internal/tensorio"
)

// guessLayout names the order of the axes. Tensors of three axes are token-major unless only the number of
// heads being first makes sense; of two axes, one head.
func guessLayout(asked string, q, k, v []int, packed bool) (layout, why string, err error) {
	if len(q) != len(k) || len(q) != len(v) {
		return "", "", fmt.Errorf("q, k and v have %d, %d and %d axes, want the same number", len(q), len(k), len(v))
	}
	switch len(q) {
	case 4:
		if packed {
			return "", "", fmt.Errorf("packed sequences are token-major [tokens, heads, size], q is %v", q)
		}
		switch asked {
		case "bhsd", "bshd":
			return asked, "", nil
		case "thd":
			return "", "", fmt.Errorf("--layout thd has three axes, q is %v", q)
		}
		asBHSD := q[1] > 0 && k[1] > 0 && q[1]%k[1] == 0 && k[2] == v[2]
		asBSHD := q[2] > 0 && k[2] > 0 && q[2]%k[2] == 0 && k[1] == v[1]
		if asBSHD && !asBHSD {
			return "bshd", "taking the axes as batch, sequence, heads, size (--layout bshd)", nil
		}
		if asBSHD {
			why = "taking the axes as batch, heads, sequence, size (--layout bhsd); --layout bshd is the other way round"
		}
		return "bhsd", why, nil
	case 3:
		switch {
		case packed || asked == "thd" || asked == "bshd":
			return "thd", "", nil
		case asked == "bhsd":
			return "hsd", "", nil
		}
		asTHD := q[1] > 0 && k[1] > 0 && q[1]%k[1] == 0 && k[0] == v[0]
		asHSD := q[0] > 0 && k[0] > 0 && q[0]%k[0] == 0 && k[1] == v[1]
		if asHSD && !asTHD {
			return "hsd", "taking the axes as heads, sequence, size (--layout bhsd)", nil
		}
		return "thd", "taking the axes as tokens, heads, size (--layout thd)", nil
	case 2:
		return "sd", "", nil
	}
	return "", "", fmt.Errorf("q has %d axes, want 4 (bhsd, bshd), 3 (thd, or heads first) or 2 (one head)", len(q))
}

// asTensor views an array in a layout of guessLayout.
func asTensor(a *tensorio.Array, layout string) vkattn.Tensor {
	m, s := vkattn.Float32s(a.Float32s()), a.Shape
	switch layout {
	case "thd":
		return vkattn.THD(m, s[0], s[1], s[2])
	case "hsd":
		return vkattn.BHSD(m, 1, s[0], s[1], s[2])
	case "sd":
		return vkattn.BHSD(m, 1, 1, s[0], s[1])
	case "bshd":
		return vkattn.BSHD(m, s[0], s[1], s[2], s[3])
	}
	return vkattn.BHSD(m, s[0], s[1], s[2], s[3])
}

// asScores views an array of up to four axes as [batch, heads, rows, keys], aligned at the right and
// broadcast where an axis is 1 or missing, as in NumPy.
func asScores(a *tensorio.Array, want [4]int) (vkattn.Tensor, error) {
	s := [4]int{1, 1, 1, 1}
	if len(a.Shape) > 4 {
		return vkattn.Tensor{}, usagef("%s is %v, want at most four axes", a.Name, a.Shape)
	}
	copy(s[4-len(a.Shape):], a.Shape)
	for i, n := range s {
		if n != 1 && n != want[i] {
			return vkattn.Tensor{}, usagef("%s is %v, which does not broadcast to batch, heads, rows, keys = %v", a.Name, a.Shape, want)
		}
	}
	var t vkattn.Tensor
	if a.DType == tensorio.Bool {
		t = vkattn.BHSD(vkattn.Bytes(a.Data), s[0], s[1], s[2], s[3]).As(vkattn.Bool)
	} else {
		t = vkattn.BHSD(vkattn.Float32s(a.Float32s()), s[0], s[1], s[2], s[3])
	}
	return t.Broadcast(want[0], want[1], want[2], want[3]), nil
}

// scoreFile reads a score-shaped flag.
func (p *problemFlags) scoreFile(files *opener, flag, text string, want [4]int, to *vkattn.Tensor) error {
	a, err := files.ref(text, namesOf[flag]...)
	if err != nil {
		return err
	}
	*to, err = asScores(a, want)
	return err
}

// write stores the results in the layout of the inputs.
func (pr *problem) write(path string, out, lse []float32, state vkattn.Tensor) error {
	op, s := pr.op.Canonical(), pr.args.Q.Shape
	if pr.linear != nil {
		s[1] = pr.linear.Heads()
	}
	shapes := map[string][2][]int{
		"bhsd": {{s[0], s[1], s[2], op.ValueDim}, {s[0], s[1], s[2]}},
		"bshd": {{s[0], s[2], s[1], op.ValueDim}, {s[0], s[1], s[2]}},
		"thd":  {{s[2], s[1], op.ValueDim}, {s[2], s[1]}},
		"hsd":  {{s[1], s[2], op.ValueDim}, {s[1], s[2]}},
		"sd":   {{s[2], op.ValueDim}, {s[2]}},
	}[pr.layout]
	arrays := []*tensorio.Array{pr.outArray(path, shapes[0], out)}
	if lse != nil && !strings.EqualFold(filepath.Ext(path), ".npy") {
		arrays = append(arrays, tensorio.NewFloat32("lse", shapes[1], lse))
	}
	if state.Given() && !strings.EqualFold(filepath.Ext(path), ".npy") {
		arrays = append(arrays, tensorio.NewFloat32("state", state.Shape[:], state.Mem.(*vkattn.Host).Float32s()))
	}
	return tensorio.Write(path, arrays...)
}
