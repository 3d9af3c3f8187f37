package tensorio

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"runtime"
	"strings"
	"testing"
)

func npyFile(version byte, header string, data []byte) []byte {
	b := append([]byte(npyMagic), version, 0)
	if version == 1 {
		b = le.AppendUint16(b, uint16(len(header)))
	} else {
		b = le.AppendUint32(b, uint32(len(header)))
	}
	return append(append(b, header...), data...)
}

func safetensorsFile(header string, data []byte) []byte {
	b := le.AppendUint64(nil, uint64(len(header)))
	return append(append(b, header...), data...)
}

// entry is one file of a zip; size 0 means the true size.
type entry struct {
	name   string
	data   []byte
	method uint16
	flags  uint16
	crc    uint32
	size   uint64 // claimed
	packed uint64 // claimed
}

func zipFile(entries ...entry) []byte {
	var buf bytes.Buffer
	z := zip.NewWriter(&buf)
	for _, e := range entries {
		body := e.data
		if e.method == zip.Deflate {
			var d bytes.Buffer
			w, _ := flate.NewWriter(&d, 9)
			w.Write(e.data)
			w.Close()
			body = d.Bytes()
		}
		h := &zip.FileHeader{Name: e.name, Method: e.method, Flags: e.flags, CRC32: crc32.ChecksumIEEE(e.data) ^ e.crc,
			UncompressedSize64: uint64(len(e.data)), CompressedSize64: uint64(len(body))}
		if e.size != 0 {
			h.UncompressedSize64 = e.size
		}
		if e.packed != 0 {
			h.CompressedSize64 = e.packed
		}
		w, err := z.CreateRaw(h)
		if err != nil {
			panic(err)
		}
		w.Write(body)
	}
	if err := z.Close(); err != nil {
		panic(err)
	}
	return buf.Bytes()
}

const f4 = "{'descr': '<f4', 'fortran_order': False, 'shape': %s, }"

func npyOf(shape string, n int) []byte { return npyFile(1, fmt.Sprintf(f4, shape), make([]byte, n)) }

func hostile() []struct {
	name string // with the extension
	data []byte
	want string
} {
	npyHead := func(h string) []byte { return npyFile(1, h, make([]byte, 8)) }
	good := npyOf("(2,)", 8)
	st := func(h string, n int) []byte { return safetensorsFile(h, make([]byte, n)) }
	lie := le.AppendUint64(nil, 1<<60)
	lie = append(lie, '{', '}')
	claim := func(n uint32) []byte {
		b := npyFile(2, fmt.Sprintf(f4, "(2,)"), make([]byte, 8))
		le.PutUint32(b[8:], n)
		return b
	}
	cut := zipFile(entry{name: "a.npy", data: good})
	bomb := npyOf("(1000000,)", 4_000_000)
	return []struct {
		name string
		data []byte
		want string
	}{
		// npy
		{"empty.npy", nil, "truncated"},
		{"magic.npy", []byte("\x93NUMPY"), "truncated"},
		{"other.npy", []byte("hello world, this is text"), "not in npy"},
		{"version.npy", npyFile(9, "{}", nil), "version"},
		{"headercut.npy", good[:40], "truncated"},
		{"datacut.npy", good[:len(good)-1], "truncated"},
		{"tail.npy", append(bytes.Clone(good), 0), "1 bytes follow"},
		{"headerlen.npy", claim(math.MaxUint32), "header of"},
		{"headerlen2.npy", claim(60_000), "truncated"},
		{"huge.npy", npyHead(fmt.Sprintf(f4, "(1000000000000,)")), "truncated"},
		{"overflow.npy", npyHead(fmt.Sprintf(f4, "(4294967296, 4294967296)")), "overflows"},
		{"overflow64.npy", npyHead(fmt.Sprintf(f4, "(4611686018427387904,)")), "overflows"},
		{"zerooverflow.npy", npyHead(fmt.Sprintf(f4, "(0, 4611686018427387904, 4611686018427387904)")), "overflows"},
		{"bigint.npy", npyHead(fmt.Sprintf(f4, "(99999999999999999999999,)")), "bad length"},
		{"negative.npy", npyHead(fmt.Sprintf(f4, "(-1,)")), "negative"},
		{"negatives.npy", npyHead(fmt.Sprintf(f4, "(-2, -1)")), "negative"},
		{"rank.npy", npyHead(fmt.Sprintf(f4, "("+strings.Repeat("1,", 65)+")")), "axes"},
		{"notuple.npy", npyHead(fmt.Sprintf(f4, "(2)")), "tuple"},
		{"list.npy", npyHead(fmt.Sprintf(f4, "[2]")), "expected"},
		{"expr.npy", npyHead(fmt.Sprintf(f4, "(2**3,)")), "bad header"},
		{"object.npy", npyHead("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"), "pickle"},
		{"object2.npy", npyHead("{'descr': 'O', 'fortran_order': False, 'shape': (1,), }"), "pickle"},
		{"struct.npy", npyHead("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }"), "structured"},
		{"string.npy", npyHead("{'descr': '<U8', 'fortran_order': False, 'shape': (1,), }"), "not supported"},
		{"complex.npy", npyHead("{'descr': '<c8', 'fortran_order': False, 'shape': (1,), }"), "not supported"},
		{"native.npy", npyHead("{'descr': '=f4', 'fortran_order': False, 'shape': (2,), }"), "not supported"},
		{"noorder.npy", npyHead("{'descr': '|f4', 'fortran_order': False, 'shape': (2,), }"), "not supported"},
		{"fortran.npy", npyHead("{'descr': '<f4', 'fortran_order': 1, 'shape': (2,), }"), "fortran_order"},
		{"missing.npy", npyHead("{'descr': '<f4', 'shape': (2,), }"), "missing"},
		{"twice.npy", npyHead("{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (2,)}"), "repeated"},
		{"extra.npy", npyHead("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), 'x': 1}"), "unknown"},
		{"after.npy", npyHead(fmt.Sprintf(f4, "(2,)") + " import os"), "after the header"},
		{"unclosed.npy", npyHead("{'descr': '<f4', 'fortran_order': False, 'shape': (2,"), "bad"},
		{"nul.npy", npyHead("\x00\x00\x00\x00"), "expected"},
		{"nothing.npy", npyHead(""), "expected"},
		{"quote.npy", npyHead("{'descr: "), "bad string"},

		// npz
		{"nozip.npz", []byte("PK\x03\x04 and then nothing at all"), "zip"},
		{"cut.npz", cut[:len(cut)-10], "zip"},
		{"twice.npz", zipFile(entry{name: "a.npy", data: good}, entry{name: "a.npy", data: good}), "two arrays"},
		{"pickle.npz", zipFile(entry{name: "a.npy", data: npyHead("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }")}), "pickle"},
		{"short.npz", zipFile(entry{name: "a.npy", data: npyOf("(3,)", 8)}), "truncated"},
		{"long.npz", zipFile(entry{name: "a.npy", data: npyOf("(1,)", 8)}), "follow"},
		{"notnpy.npz", zipFile(entry{name: "a.npy", data: []byte("hello, hello, hello")}), "not in npy"},
		{"crc.npz", zipFile(entry{name: "a.npy", data: good, crc: 1}), "checksum"},
		{"crcdeflate.npz", zipFile(entry{name: "a.npy", data: bomb, method: zip.Deflate, crc: 1}), "checksum"},
		{"encrypted.npz", zipFile(entry{name: "a.npy", data: good, flags: 1}), "encrypted"},
		{"method.npz", zipFile(entry{name: "a.npy", data: good, method: 14}), "compression method"},
		{"sizes.npz", zipFile(entry{name: "a.npy", data: good, size: uint64(len(good)) + 4}), "two different sizes"},
		{"claim.npz", zipFile(entry{name: "a.npy", data: good, size: 1 << 50, packed: 1 << 50}), "truncated"},
		{"bomb.npz", zipFile(entry{name: "a.npy", data: npyOf("(1099511627776,)", 8), method: zip.Deflate, size: 1<<42 + 78}), "cannot do"},
		{"bomb2.npz", zipFile(entry{name: "a.npy", data: bomb[:3_900_000], method: zip.Deflate, size: uint64(len(bomb))}), "truncated"},
		{"longer.npz", zipFile(entry{name: "a.npy", data: append(bytes.Clone(bomb), make([]byte, 100)...), method: zip.Deflate, size: uint64(len(bomb))}), "zip"},

		// safetensors
		{"empty.safetensors", nil, "truncated"},
		{"short.safetensors", []byte{1, 2, 3}, "truncated"},
		{"headerlen.safetensors", lie, "header of"},
		{"headerlen2.safetensors", append(le.AppendUint64(nil, 1000), "{}"...), "truncated"},
		{"headermax.safetensors", append(le.AppendUint64(nil, maxSafetensorsHeader), "{}"...), "truncated"},
		{"list.safetensors", st("[]", 0), "start with {"},
		{"null.safetensors", st(`{"a":null}`, 0), "expected"},
		{"json.safetensors", st(`{"a":`, 0), "bad header"},
		{"after.safetensors", st(`{}{}`, 0), "after the header"},
		{"deep.safetensors", st(`{"a":`+strings.Repeat(`{"a":`, 100_000), 0), "bad header"},
		{"deeplist.safetensors", st(`{"a":{"shape":`+strings.Repeat(`[`, 100_000), 0), "no length"},
		{"dtype.safetensors", st(`{"a":{"dtype":"F4","shape":[1],"data_offsets":[0,4]}}`, 4), "not supported"},
		{"nodtype.safetensors", st(`{"a":{"dtype":"","shape":[1],"data_offsets":[0,4]}}`, 4), "not supported"},
		{"mismatch.safetensors", st(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}`, 4), "needs 8"},
		{"range.safetensors", st(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}`, 4), "arrays end"},
		{"far.safetensors", st(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[9223372036854775803,9223372036854775807]}}`, 4), "bad data_offsets"},
		{"backwards.safetensors", st(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}`, 4), "bad data_offsets"},
		{"negative.safetensors", st(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[-4,0]}}`, 4), "no length"},
		{"negshape.safetensors", st(`{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}`, 4), "no length"},
		{"float.safetensors", st(`{"a":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}}`, 4), "no length"},
		{"three.safetensors", st(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4,8]}}`, 4), "more than 2"},
		{"rank.safetensors", st(`{"a":{"dtype":"F32","shape":[`+strings.Repeat("1,", 64)+`1],"data_offsets":[0,4]}}`, 4), "more than 64"},
		{"overflow.safetensors", st(`{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]}}`, 4), "overflows"},
		{"overlap.safetensors", st(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}`, 12), "overlap"},
		{"same.safetensors", st(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}`, 4), "overlap"},
		{"hole.safetensors", st(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}`, 8), "hole"},
		{"tail.safetensors", st(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}`, 8), "arrays end"},
		{"twice.safetensors", st(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}`, 2), "two arrays"},
		{"key.safetensors", st(`{"a":{"dtype":"U8","dtype":"I8","shape":[1],"data_offsets":[0,1]}}`, 1), "repeated"},
		{"case.safetensors", st(`{"a":{"DType":"U8","shape":[1],"data_offsets":[0,1]}}`, 1), "unknown"},
		{"lacks.safetensors", st(`{"a":{"dtype":"U8","data_offsets":[0,1]}}`, 1), "missing"},
		{"meta.safetensors", st(`{"__metadata__":{"a":1}}`, 0), "string expected"},
		{"meta2.safetensors", st(`{"__metadata__":{"a":"1","a":"2"}}`, 0), "two metadata"},
	}
}

// tryAll opens data and reads everything in it.
func tryAll(data []byte, path string) ([]*Array, error) {
	f, err := NewFile(bytes.NewReader(data), int64(len(data)), path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var all []*Array
	var first error
	for _, name := range f.Names() {
		h, herr := f.Header(name)
		a, err := f.Read(name)
		if err == nil && (herr != nil || h.Elements()*h.DType.Size() != len(a.Data)) {
			return nil, fmt.Errorf("header %+v, %v of an array of %d bytes", h, herr, len(a.Data))
		}
		if err != nil && first == nil {
			first = err
		}
		if err == nil {
			all = append(all, a)
		}
	}
	return all, first
}

func TestHostile(t *testing.T) {
	for _, c := range hostile() {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := tryAll(c.data, c.name)
		runtime.ReadMemStats(&after)
		var format *FormatError
		switch {
		case !errors.As(err, &format):
			t.Errorf("%s: %v, want a FormatError", c.name, err)
		case !strings.Contains(err.Error(), c.want):
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		case format.Path != c.name:
			t.Errorf("%s: path is %q", c.name, format.Path)
		}
		// Twice what deflate may inflate to, and room for the decoders themselves.
		if used, limit := after.TotalAlloc-before.TotalAlloc, uint64(1<<20+64*len(c.data)); used > limit && !strings.Contains(c.name, "npz") || used > 1<<25 {
			t.Errorf("%s: %d bytes allocated for a file of %d", c.name, used, len(c.data))
		}
	}
}

// Every prefix of a good file and every single changed byte is read or refused,
// never worse.
func TestDamaged(t *testing.T) {
	for path, data := range goodFiles(t) {
		for n := range len(data) {
			if _, err := tryAll(data[:n], path); err == nil {
				t.Errorf("%s: first %d of %d bytes are accepted", path, n, len(data))
			}
			bad := bytes.Clone(data)
			bad[n] ^= 0xFF
			checkErr(t, bad, path)
		}
	}
}

func checkErr(t *testing.T, data []byte, path string) {
	t.Helper()
	all, err := tryAll(data, path)
	var format *FormatError
	if err != nil && !errors.As(err, &format) {
		t.Errorf("%s: %v is no FormatError", path, err)
	}
	for _, a := range all {
		if reason := a.unwritable(".safetensors"); reason != "" && a.Name != "__metadata__" && !strings.Contains(reason, "UTF-8") {
			t.Errorf("%s: read an array that cannot be written: %s", path, reason)
		}
	}
}

func goodFiles(t testing.TB) map[string][]byte {
	files := map[string][]byte{}
	var fit []*Array
	for _, a := range samples() {
		if dtypes[a.DType].npy != "" && a.DType != I64 && a.DType != I16 {
			fit = append(fit, a)
		}
	}
	encode := func(path string, arrays ...*Array) {
		var buf bytes.Buffer
		write, err := encoder(path, arrays)
		if err == nil {
			err = write(&buf)
		}
		if err != nil {
			t.Fatal(err)
		}
		files[path] = buf.Bytes()
	}
	encode("x.npy", fit[0])
	encode("x.npz", fit[:3]...)
	encode("x.safetensors", samples()...)
	files["deflated.npz"] = zipFile(entry{name: "a.npy", data: npyOf("(3, 4)", 48), method: zip.Deflate}, entry{name: "readme.txt", data: []byte("hi")})
	return files
}

// A file that shrinks or fails after Open.
func TestReadFails(t *testing.T) {
	for path, data := range goodFiles(t) {
		for _, fault := range []error{io.ErrUnexpectedEOF, errors.New("disk on fire")} {
			r := &flaky{data: data, err: fault}
			f, err := NewFile(r, int64(len(data)), path)
			if err != nil {
				t.Fatal(err)
			}
			r.broken = true
			for _, name := range f.Names() {
				if h, _ := f.Header(name); h.Elements() == 0 {
					continue
				}
				if _, err := f.Read(name); err == nil {
					t.Errorf("%s %s: read from a broken file", path, name)
				}
			}
		}
	}
}

type flaky struct {
	data   []byte
	err    error
	broken bool
}

func (f *flaky) ReadAt(p []byte, off int64) (int, error) {
	if f.broken {
		return 0, f.err
	}
	return bytes.NewReader(f.data).ReadAt(p, off)
}

func fuzz(f *testing.F, ext string) {
	for path, data := range goodFiles(f) {
		if strings.HasSuffix(path, ext) {
			f.Add(data)
		}
	}
	for _, c := range hostile() {
		if strings.HasSuffix(c.name, ext) && len(c.data) < 1<<16 {
			f.Add(c.data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		checkErr(t, data, "fuzz"+ext)
		all, err := tryAll(data, "fuzz"+ext)
		if err != nil {
			return
		}
		// What was read is written and read again unchanged.
		for _, a := range all {
			if a.unwritable(".safetensors") != "" {
				continue
			}
			var buf bytes.Buffer
			write, err := encoder("again.safetensors", []*Array{a})
			if err == nil {
				err = write(&buf)
			}
			if err != nil {
				t.Fatal(err)
			}
			again, err := tryAll(buf.Bytes(), "again.safetensors")
			if err != nil || len(again) != 1 || !same(again[0], a) {
				t.Fatalf("%+v came back as %+v, %v", a, again, err)
			}
		}
	})
}

func FuzzNPY(f *testing.F)         { fuzz(f, ".npy") }
func FuzzNPZ(f *testing.F)         { fuzz(f, ".npz") }
func FuzzSafetensors(f *testing.F) { fuzz(f, ".safetensors") }
