package dispatch

import (
	"fmt"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/vk"
)

// types are the element types of a call.
type types struct{ Q, K, V, Out vkattn.Type }

func typesOf(op vkattn.Attention) types { return types{op.TypeQ, op.TypeK, op.TypeV, op.TypeOut} }

// float32Only says why kernels that know float32 alone cannot run op, or "".
func float32Only(op vkattn.Attention) string {
	for i, x := range typesOf(op).all() {
		if x != vkattn.Float32 {
			return fmt.Sprintf("%s is %s, this one reads and writes f32", typeNames[i], x)
		}
	}
	return ""
}

var typeNames = [...]string{"q", "k", "v", "out"}

func (t types) all() [4]vkattn.Type { return [...]vkattn.Type{t.Q, t.K, t.V, t.Out} }

// refused says why a kernel cannot compute in these types, or "".
func (t types) refused(kernel string) string {
	for i, x := range t.all() {
		switch {
		case kernel == "standard" && x != vkattn.Float32:
			return fmt.Sprintf("%s is %s, the unfused baseline reads and writes f32", typeNames[i], x)
		case x != vkattn.Float32 && x != vkattn.Float16 && x != vkattn.BFloat16:
			return fmt.Sprintf("%s is %s, the kernels read and write f32, f16 and bf16", typeNames[i], x)
		}
	}
	return ""
}

// read is what a build has to decode: the format of a texel buffer does it for keys and values.
func (t types) read(variant string) types {
	if variant == texelVariant {
		t.K, t.V = vkattn.Float32, vkattn.Float32
	}
	return t
}

// texelFormat reads four elements of a type as numbers, TexelNone where no format does.
func texelFormat(t vkattn.Type) vk.TexelFormat {
	switch t {
	case vkattn.Float32:
		return vk.TexelRGBA32F
	case vkattn.Float16:
		return vk.TexelRGBA16F
	}
	return vk.TexelNone
}
