package cpu

import "github.com/vkattn/vkattn"

// canDecode says that the processor has what the assembly that decodes takes.
var canDecode = hasAVX2 && hasF16C()

// decode runs on assembly, but for what is left beyond whole vectors.
func (*avx2Kernel) decode(dst []float32, t vkattn.Type, src []byte) {
	var do func(dst *float32, src *byte, n int)
	elements, size := t.Block()
	if elements == 1 {
		elements, size = vectorLen, vectorLen*size
	}
	switch t {
	case vkattn.Float16:
		do = decodeFloat16
	case vkattn.BFloat16:
		do = decodeBFloat16
	case vkattn.F8E4M3:
		do = decodeFloat8E4M3
	case vkattn.F8E5M2:
		do = decodeFloat8E5M2
	case vkattn.Q8_0:
		do = decodeQ8_0
	case vkattn.Q4_0:
		do = decodeQ4_0
	}
	if n := len(src) / max(size, 1); do != nil && canDecode && n > 0 {
		rest := dst[n*elements:] // also looks whether there is room
		do(&dst[0], &src[0], n)
		dst, src = rest, src[n*size:]
	}
	t.Decode(dst, src)
}
