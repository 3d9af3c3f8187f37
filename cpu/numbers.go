package cpu

import "github.com/vkattn/vkattn"

// numbers is the memory of a tensor of any number type.
type numbers struct {
	typ vkattn.Type
	f32 []float32 // of Float32
	raw []byte    // of every other type
}

// argument names the tensor t, whose elements m is to be.
func (m *numbers) argument(name string, t vkattn.Tensor) argument {
	m.typ = t.Type
	return argument{name, t, &m.f32, &m.raw}
}

// inPlace says that rows can be used where they lie.
func (m *numbers) inPlace() bool { return m.typ == vkattn.Float32 }

// bytes is the memory of n elements from element at on, in whole blocks; not of Float32.
func (m *numbers) bytes(at, n int) []byte { return m.raw[m.typ.Bytes(at):][:m.typ.Bytes(n)] }

// load fills dst with the elements from at on, times factor.
func (m *numbers) load(k kernel, dst []float32, at int, factor float32) {
	if m.inPlace() {
		copy(dst, m.f32[at:])
		return
	}
	k.decode(dst, m.typ, m.bytes(at, len(dst)))
	if factor != 1 {
		for i := range dst {
			dst[i] *= factor
		}
	}
}

// row is where n results for the elements from at on are to be left before store: in place, or in scratch.
func (m *numbers) row(scratch []float32, at, n int) []float32 {
	if m.inPlace() {
		return m.f32[at : at+n]
	}
	return scratch[:n]
}

// store brings what lies in row to the elements from at on.
func (m *numbers) store(at int, row []float32) {
	if !m.inPlace() {
		m.typ.Encode(m.bytes(at, len(row)), row)
	}
}
