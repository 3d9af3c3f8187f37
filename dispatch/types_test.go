package dispatch_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"regexp"
	"slices"
	"testing"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/cpu"
	"github.com/vkattn/vkattn/dispatch"
	"github.com/vkattn/vkattn/internal/attntest"
	"github.com/vkattn/vkattn/vk"
)

// someTypes are the cases of types with head sizes up to 64, and one of each kernel of larger ones: compiling is what takes
// the time.
var someTypes = regexp.MustCompile(`_d(64|64-48)$|f16/softcap|q8_0-q4_0-f16/blocks|f32-q8_0-q8_0-f32/mask|f16-q8_0-q8_0-f16/no-keys`)

// fewTypes are some of them.
var fewTypes = regexp.MustCompile(`/(f16|f32-q8_0-q8_0-f32|f8_e4m3-f8_e4m3-f8_e4m3-bf16)/.*_d(64|64-48)$`)

// TestTypes runs the conformance suite of types: a sample, or all of it with VKATTN_FULL=1.
func TestTypes(t *testing.T) {
	for name, cfg := range map[string]dispatch.Config{"default": {}, "plain": {Disable: []string{"subgroup"}}, "storage": {Disable: []string{"texels"}}} {
		t.Run(name, func(t *testing.T) {
			o := attntest.Options{RequireAll: true}
			if !full {
				o.Sample, o.Filter = true, someTypes
				if testing.Short() || name != "default" {
					o.Filter = fewTypes
				}
			}
			cfg.CacheDir = "off"
			b := open(t, cfg)
			attntest.RunTypes(t, b, o)
			t.Logf("%d pipelines", b.PipelinesCreated())
		})
	}
}

// floatTypes are the types that the kernels also write.
var floatTypes = []vkattn.Type{vkattn.Float16, vkattn.BFloat16, vkattn.F8E4M3, vkattn.F8E5M2}

// codesOf is all codes of a float type and their values.
func codesOf(t *testing.T, typ vkattn.Type) (codes []byte, values []float32) {
	t.Helper()
	n := 1 << (8 * typ.Size())
	for c := range n {
		codes = append(codes, byte(c), byte(c>>8))[:(c+1)*typ.Size()]
	}
	values = make([]float32, n)
	if err := typ.Decode(values, codes); err != nil {
		t.Fatal(err)
	}
	return codes, values
}

func finite(x float32) bool { return x-x == 0 }

// rowsOf is a tensor of so many rows of 32 numbers, one to a sequence.
func rowsOf(typ vkattn.Type, raw []byte) vkattn.Tensor {
	return vkattn.BHSD(vkattn.Bytes(raw), len(raw)/typ.Bytes(32), 1, 1, 32).As(typ)
}

// TestEveryCode: with a single key, out is its value and the scores of unit queries are its elements, so that every code
// of a type shows what the kernels read. Bit for bit, numbers below the normal ones included.
func TestEveryCode(t *testing.T) {
	for name, disable := range map[string][]string{"default": nil, "storage": {"texels"}, "plain": {"subgroup"}} {
		b := open(t, dispatch.Config{CacheDir: "off", SkipSelfTest: true, Disable: disable})
		for i, typ := range floatTypes {
			if !full && i%2 == 1 && name == "storage" {
				continue // decodes as by default and as plain
			}
			t.Run(fmt.Sprintf("%s/%s", typ, name), func(t *testing.T) {
				codes, values := codesOf(t, typ)
				batch := len(values) / 32
				keys := append([]byte(nil), codes...)
				for i, x := range values {
					if !finite(x) { // it would spoil the scores of its row
						clear(keys[i*typ.Size():][:typ.Size()])
					}
				}
				unit := make([]float32, 32*32)
				for i := range 32 {
					unit[33*i] = 1
				}
				q, err := vkattn.BHSD(vkattn.Float32s(unit), 1, 1, 32, 32).To(typ)
				if err != nil {
					t.Fatal(err)
				}
				out, lse := make([]float32, batch*32*32), make([]float32, batch*32)
				op := vkattn.Attention{Batch: batch, HeadsQ: 1, SeqQ: 32, SeqK: 1, HeadDim: 32, Scale: vkattn.Num(1), TypeQ: typ, TypeK: typ, TypeV: typ, With: vkattn.WithLSE}
				run(t, b, op, vkattn.Args{Q: q.Broadcast(batch, 1, 32, 32), K: rowsOf(typ, keys), V: rowsOf(typ, codes),
					Out: vkattn.BHSD(vkattn.Float32s(out), batch, 1, 32, 32), LSE: vkattn.BHSD(vkattn.Float32s(lse), batch, 1, 32, 1)})
				wrong := 0
				for i, want := range values {
					got, score := out[i/32*1024+i%32], lse[i]
					tiny := math.Abs(float64(want)) < 0x1p-126 // float32 below the normal numbers: a device may take it for 0
					same := math.Float32bits(got) == math.Float32bits(want) || want != want && got != got || tiny && got == 0
					if finite(want) && score != want && !(tiny && score == 0) {
						same = false
					}
					if !same {
						if wrong++; wrong < 5 {
							t.Errorf("code %#x is %v: value %v, score %v", i, want, got, score)
						}
					}
				}
				if wrong > 0 {
					t.Errorf("%d codes are read wrongly", wrong)
				}
			})
		}
	}
}

// TestEveryBoundary: outputs are rounded as Type.Encode does, right at and beside the middle of any two neighbouring codes.
func TestEveryBoundary(t *testing.T) {
	for name, disable := range map[string][]string{"default": nil, "plain": {"subgroup"}} {
		b := open(t, dispatch.Config{CacheDir: "off", SkipSelfTest: true, Disable: disable})
		for _, typ := range floatTypes {
			t.Run(fmt.Sprintf("%s/%s", typ, name), func(t *testing.T) {
				_, values := codesOf(t, typ)
				inf := float32(math.Inf(1))
				x := []float32{float32(typ.Max()), math.MaxFloat32, -math.MaxFloat32, inf, -inf, float32(math.NaN()), 0}
				for i := range len(values) / 2 {
					a, b := values[i], values[i+1]
					if !finite(a) || !finite(b) {
						continue
					}
					middle := float32((float64(a) + float64(b)) / 2)
					for _, y := range []float32{math.Nextafter32(middle, -inf), middle, math.Nextafter32(middle, inf)} {
						if y >= 0x1p-126 {
							x = append(x, y, -y)
						}
					}
				}
				for y := float32(typ.Max()) * (1 - 1.0/1024); y < float32(typ.Max())*(1+1.0/64); y *= 1 + 1.0/(1<<16) {
					if finite(y) {
						x = append(x, y)
					}
				}
				for len(x)%32 != 0 {
					x = append(x, 1)
				}
				want, got := make([]byte, typ.Bytes(len(x))), make([]byte, typ.Bytes(len(x)))
				if err := typ.Encode(want, x); err != nil {
					t.Fatal(err)
				}
				zero := vkattn.BHSD(vkattn.Float32s(make([]float32, 32)), 1, 1, 1, 32).Broadcast(len(x)/32, 1, 1, 32)
				run(t, b, vkattn.Attention{Batch: len(x) / 32, HeadsQ: 1, SeqQ: 1, SeqK: 1, HeadDim: 32, TypeOut: typ},
					vkattn.Args{Q: zero, K: zero, V: rowsOf(vkattn.Float32, vkattn.Float32s(x).Bytes()), Out: rowsOf(typ, got)})
				codes, back := make([]float32, len(x)), make([]float32, len(x))
				if err := typ.Decode(codes, want); err != nil {
					t.Fatal(err)
				}
				if err := typ.Decode(back, got); err != nil {
					t.Fatal(err)
				}
				wrong := 0
				for i := range x {
					if math.Float32bits(back[i]) != math.Float32bits(codes[i]) && (codes[i] == codes[i] || back[i] == back[i]) {
						if wrong++; wrong < 5 {
							t.Errorf("%v (%#x) becomes %v, want %v", x[i], math.Float32bits(x[i]), back[i], codes[i])
						}
					}
				}
				if wrong > 0 {
					t.Errorf("%d of %d numbers are rounded wrongly", wrong, len(x))
				}
			})
		}
	}
}

// TestUnalignedTypes: tensors on the device whose elements share words with what is not theirs.
func TestUnalignedTypes(t *testing.T) {
	for name, cfg := range map[string]dispatch.Config{"default": {}, "plain": {Disable: []string{"subgroup"}}, "splits": {Splits: 3}} {
		cfg.CacheDir, cfg.SkipSelfTest = "off", true
		b := open(t, cfg)
		rng := rand.New(rand.NewPCG(11, 0))
		for i, typ := range floatTypes {
			if !full && i%2 == 1 && name != "default" {
				continue
			}
			t.Run(fmt.Sprintf("%s/%s", typ, name), func(t *testing.T) {
				op := vkattn.Attention{Batch: 2, HeadsQ: 4, HeadsK: 2, SeqQ: 40, SeqK: 130, HeadDim: 29, ValueDim: 21, Causal: true,
					TypeQ: typ, TypeK: floatTypes[(i+1)%len(floatTypes)], TypeV: typ, TypeOut: typ}
				args := problem(op, 5)
				want := args.Out
				host, device := vkattn.Args{}, vkattn.Args{}
				for _, x := range []struct {
					from, host, device *vkattn.Tensor
					typ                vkattn.Type
				}{{&args.Q, &host.Q, &device.Q, op.TypeQ}, {&args.K, &host.K, &device.K, op.TypeK}, {&args.V, &host.V, &device.V, op.TypeV}, {&args.Out, &host.Out, &device.Out, op.TypeOut}} {
					var err error
					if *x.host, err = x.from.To(x.typ); err != nil {
						t.Fatal(err)
					}
					*x.device = strided(t, rng, b, true, x.typ, x.host.Shape)
					whole := *x.device
					whole.Offset, whole.Shape, whole.Stride = 0, [4]int{1, 1, 1, int(whole.Mem.Size()) / x.typ.Size()}, [4]int{0, 0, 0, 1}
					if err := b.Copy(t.Context(), whole, filled(x.typ, whole.Shape[3])); err != nil { // NaN
						t.Fatal(err)
					}
					if err := b.Copy(t.Context(), *x.device, *x.host); err != nil {
						t.Fatal(err)
					}
				}
				run(t, b, op, device)
				if err := b.Copy(t.Context(), host.Out, device.Out); err != nil {
					t.Fatal(err)
				}
				if err := vkattn.Convert(want, host.Out, vkattn.Conversion{}); err != nil {
					t.Fatal(err)
				}
				oracle, err := cpu.Oracle(op, &host)
				if err != nil {
					t.Fatal(err)
				}
				step := map[vkattn.Type]float64{vkattn.Float16: 0x1p-11, vkattn.BFloat16: 0x1p-8, vkattn.F8E4M3: 0x1p-4, vkattn.F8E5M2: 0x1p-3}[typ]
				smallest := map[vkattn.Type]float64{vkattn.F8E4M3: 0x1p-10, vkattn.F8E5M2: 0x1p-17}[typ]
				for n, got := range want.Mem.(*vkattn.Host).Float32s() {
					if x := oracle.Out[n]; !(math.Abs(float64(got)-x) <= 1e-5+smallest+1.001*step*math.Abs(x)) {
						t.Fatalf("element %d is %v, want %v", n, got, x)
					}
				}
				around := device.Out
				n := int(around.Mem.Size()) / typ.Size()
				all := filled(typ, n)
				around.Offset, around.Shape, around.Stride = 0, all.Shape, all.Stride
				if err := b.Copy(t.Context(), all, around); err != nil {
					t.Fatal(err)
				}
				inside := make([]bool, n)
				x := device.Out
				for k := range x.Len() {
					d, i := k%x.Shape[3], k/x.Shape[3]
					inside[x.Index(i/x.Shape[2]/x.Shape[1], i/x.Shape[2]%x.Shape[1], i%x.Shape[2], d)] = true
				}
				raw := all.Mem.(*vkattn.Host).Bytes()
				for k := range inside {
					for _, c := range raw[k*typ.Size() : (k+1)*typ.Size()] {
						if !inside[k] && c != 0xFF {
							t.Fatalf("element %d, which is not in out, was written to", k)
						}
					}
				}
			})
		}
	}
}

// filled is n elements of all ones, NaN, in host memory.
func filled(typ vkattn.Type, n int) vkattn.Tensor {
	raw := make([]byte, typ.Bytes(n))
	for i := range raw {
		raw[i] = 0xFF
	}
	return vkattn.BHSD(vkattn.Bytes(raw), 1, 1, 1, n).As(typ)
}

// inTypes is a call in host memory with its tensors in the op's types.
func inTypes(t *testing.T, op vkattn.Attention, a vkattn.Args) vkattn.Args {
	t.Helper()
	for _, x := range []struct {
		t   *vkattn.Tensor
		typ vkattn.Type
	}{{&a.Q, op.TypeQ}, {&a.K, op.TypeK}, {&a.V, op.TypeV}, {&a.Out, op.TypeOut}} {
		var err error
		if *x.t, err = x.t.To(x.typ); err != nil {
			t.Fatal(err)
		}
	}
	return a
}

// TestTypesInWindows: a device that binds little sees tensors of narrow types through windows, which start at whole blocks,
// and gives the same bits.
func TestTypesInWindows(t *testing.T) {
	testTypesInWindows(t, "", [][4]vkattn.Type{
		{vkattn.Float32, vkattn.Q8_0, vkattn.Q4_0, vkattn.Float32},
		{vkattn.Float16, vkattn.F8E4M3, vkattn.BFloat16, vkattn.Float16},
	})
}

func testTypesInWindows(t *testing.T, kernel string, all [][4]vkattn.Type) {
	wide, small := lowered(nil), lowered(func(c *vk.Caps) {
		c.Limits.MaxStorageBufferRange, c.Limits.MinStorageBufferOffsetAlignment = 48<<10, 256
		c.Limits.MaxTexelBufferElements, c.Limits.MinTexelBufferOffsetAlignment = 1<<13, 64
	})
	wide.Kernel, small.Kernel = kernel, kernel
	whole, narrow := open(t, wide), open(t, small)
	for _, types := range all {
		op := vkattn.Attention{Batch: 2, HeadsQ: 4, HeadsK: 2, SeqQ: 12, SeqK: 3000, HeadDim: 64, Causal: true, With: vkattn.WithLSE,
			TypeQ: types[0], TypeK: types[1], TypeV: types[2], TypeOut: types[3]}
		t.Run(op.String(), func(t *testing.T) {
			c := namedCall{op: op, layout: "bshd"}
			args := inTypes(t, op, c.args(3))
			w := run(t, whole, op, args)
			want, lse := slices.Clone(args.Out.Mem.(*vkattn.Host).Bytes()), slices.Clone(args.LSE.Mem.(*vkattn.Host).Bytes())
			if op.TypeOut == vkattn.Float32 {
				checkRows(t, op, &args, 4)
			}
			clear(args.Out.Mem.(*vkattn.Host).Bytes())
			r := run(t, narrow, op, args)
			if r.Splits != w.Splits {
				t.Skipf("%d splits instead of %d: other bits", r.Splits, w.Splits)
			}
			if r.Slices <= w.Slices {
				t.Errorf("%d slices: no window was needed", r.Slices)
			}
			if !slices.Equal(args.Out.Mem.(*vkattn.Host).Bytes(), want) || !slices.Equal(args.LSE.Mem.(*vkattn.Host).Bytes(), lse) {
				t.Error("other bits")
			}
		})
	}
}
