package dispatch

import (
	"fmt"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/vk"
)

// types are the element types of a call.
type types struct{ Q, K, V, Out vkattn.Type }

func typesOf(op vkattn.Attention) types { return types{op.TypeQ, op.TypeK, op.TypeV, op.TypeOut} }

var typeNames = [...]string{"q", "k", "v", "out"}

func (t types) all() [4]vkattn.Type { return [...]vkattn.Type{t.Q, t.K, t.V, t.Out} }

// refused says why a kernel cannot compute in these types, or "".
func (t types) refused(kernel string) string {
	for i, x := range t.all() {
		switch {
		case kernel == "standard" && x != vkattn.Float32:
			return fmt.Sprintf("%s is %s, the unfused baseline reads and writes f32", typeNames[i], x)
		case x.Size() == 0 && i == len(typeNames)-1:
			return fmt.Sprintf("%s is %s, the kernels write float types", typeNames[i], x)
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

// texelFormat is how a build reads a type through a texel buffer, TexelNone where it cannot.
func texelFormat(variant string, t vkattn.Type) vk.TexelFormat {
	numbers := variant != codesVariant
	switch {
	case numbers && t == vkattn.Float32:
		return vk.TexelRGBA32F
	case numbers && t == vkattn.Float16:
		return vk.TexelRGBA16F
	case numbers:
		return vk.TexelNone
	case t == vkattn.Float32:
		return vk.TexelRGBA32U
	case t.Size() == 2:
		return vk.TexelRG32U
	}
	return vk.TexelR32U
}

// descaleOf is DESCALE of lib/descale.glsl.
func descaleOf(op vkattn.Attention) uint32 {
	switch {
	case op.With&(vkattn.WithDescaleQ|vkattn.WithDescaleK|vkattn.WithDescaleV) == 0:
		return 0
	case op.DescaleBlock == 0:
		return 1
	}
	return 2
}

// descale lays out the factors of a call; those that are not given are 1.
func (r *run) descale(op vkattn.Attention, a *vkattn.Args, s *sections) error {
	if descaleOf(op) == 0 {
		return nil
	}
	p := &s.params
	p.DescaleBlock = uint32(max(op.DescaleBlock, 1))
	for i, x := range []struct {
		t      vkattn.Tensor
		heads  int
		blocks *uint32
	}{{a.DescaleQ, op.HeadsQ, &p.DescaleQBlocks}, {a.DescaleK, op.HeadsK, &p.DescaleKBlocks}, {a.DescaleV, op.HeadsV, &p.DescaleVBlocks}} {
		f, blocks, err := r.factors(x.t, x.heads)
		if err != nil {
			return err
		}
		s.descale[i], *x.blocks = f, uint32(blocks)
	}
	return nil
}

// factors reads the descale factors of so many heads, and of how many blocks of tokens they are.
func (r *run) factors(t vkattn.Tensor, heads int) (perHead, int, error) {
	if t.Len() == 0 { // not given, or of no tokens
		one := make([]float32, heads)
		for i := range one {
			one[i] = 1
		}
		return perHead{values: one}, 1, nil
	}
	t, err := r.hostCopy(t)
	if err != nil {
		return perHead{}, 0, err
	}
	batch, blocks := t.Shape[0], t.Shape[2]
	if t.Stride[0] == 0 {
		batch = 1
	}
	f, data := perHead{}, t.Mem.(*vkattn.Host).Float32s()
	if batch > 1 {
		f.batchStride = heads * blocks
	}
	for b := range batch {
		for h := range heads {
			for n := range blocks {
				f.values = append(f.values, data[t.Index(b, min(h, t.Shape[1]-1), n, 0)])
			}
		}
	}
	return f, blocks, nil
}
