package tensorio

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
)

// maxSafetensorsHeader is the limit of the format's own library.
const maxSafetensorsHeader = 100_000_000

// safetensorsSource is one array. Its offsets count from the start of the file.
type safetensorsSource struct {
	r          io.ReaderAt
	dtype      string
	shape      []int
	begin, end int64
}

// openSafetensors reads the file's header: 8 bytes length, then JSON
//
//	{"__metadata__": {"k": "v"}, "name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}
//
// As in the format's own library, the arrays must cover the rest of the file
// without holes or overlaps, and no key may appear twice.
func (f *File) openSafetensors(r io.ReaderAt, size int64) error {
	var pre [8]byte
	if _, err := io.ReadFull(io.NewSectionReader(r, 0, size), pre[:]); err != nil {
		return err
	}
	length := le.Uint64(pre[:])
	switch {
	case length > maxSafetensorsHeader:
		return fmt.Errorf("header of %d bytes, more than %d", length, maxSafetensorsHeader)
	case int64(length) > size-8:
		return fmt.Errorf("truncated: header of %d bytes in a file of %d", length, size)
	}
	text := make([]byte, length)
	if _, err := r.ReadAt(text, 8); err != nil && err != io.EOF {
		return err
	}
	if !bytes.HasPrefix(text, []byte("{")) {
		return errors.New("header does not start with {")
	}
	p := newJSONParser(text)
	var all []*safetensorsSource
	p.object(func(name string) {
		if name == "__metadata__" {
			f.metadata(p)
			return
		}
		s := &safetensorsSource{r: r}
		s.parse(p, name)
		s.begin += 8 + int64(length)
		s.end += 8 + int64(length)
		if p.err == nil {
			p.err = f.add(name, s)
			all = append(all, s)
		}
	})
	if p.err == nil {
		p.end()
	}
	if p.err != nil {
		return p.err
	}
	slices.SortStableFunc(all, func(a, b *safetensorsSource) int {
		if a.begin != b.begin {
			return cmpInt(a.begin, b.begin)
		}
		return cmpInt(a.end, b.end)
	})
	at := 8 + int64(length)
	for _, s := range all {
		if s.begin != at {
			return fmt.Errorf("arrays overlap or leave a hole: one starts at byte %d of the data, expected %d", s.begin-8-int64(length), at-8-int64(length))
		}
		at = s.end
	}
	if at != size {
		return fmt.Errorf("arrays end at byte %d of a file of %d", at, size)
	}
	return nil
}

func cmpInt(a, b int64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func (f *File) metadata(p *jsonParser) {
	if f.meta != nil {
		p.fail("two keys __metadata__")
		return
	}
	f.meta = map[string]string{}
	p.object(func(key string) {
		if _, dup := f.meta[key]; dup {
			p.fail("two metadata keys %q", clip(key))
		}
		f.meta[key] = p.str()
	})
}

// parse reads {"dtype": ..., "shape": ..., "data_offsets": ...}.
func (s *safetensorsSource) parse(p *jsonParser, name string) {
	var dtype, shape, offsets bool
	p.object(func(key string) {
		switch {
		case key == "dtype" && !dtype:
			dtype = true
			s.dtype = p.str()
		case key == "shape" && !shape:
			shape = true
			for _, n := range p.ints(maxRank) {
				if n > math.MaxInt {
					p.fail("array %q: shape overflows", clip(name))
				}
				s.shape = append(s.shape, int(n))
			}
		case key == "data_offsets" && !offsets:
			offsets = true
			o := p.ints(2)
			if p.err == nil && (len(o) != 2 || o[0] > o[1] || o[1] > math.MaxInt64-8-maxSafetensorsHeader) {
				p.fail("array %q: bad data_offsets %v", clip(name), o)
			}
			if p.err == nil {
				s.begin, s.end = o[0], o[1]
			}
		default:
			p.fail("array %q: unknown or repeated key %q", clip(name), clip(key))
		}
	})
	if p.err == nil && !(dtype && shape && offsets) {
		p.fail("array %q: dtype, shape or data_offsets is missing", clip(name))
	}
}

func (s *safetensorsSource) header() (Header, error) {
	for d := range numDTypes {
		if dtypes[d].safetensors != "" && dtypes[d].safetensors == s.dtype {
			n, err := byteSize(d, s.shape)
			if err == nil && int64(n) != s.end-s.begin {
				err = fmt.Errorf("%v%v needs %d bytes, its offsets span %d", d, s.shape, n, s.end-s.begin)
			}
			return Header{DType: d, Shape: slices.Clone(s.shape)}, err
		}
	}
	return Header{}, fmt.Errorf("element type %q is not supported", clip(s.dtype))
}

func (s *safetensorsSource) read() (*Array, error) {
	h, err := s.header()
	if err != nil {
		return nil, err
	}
	data := make([]byte, s.end-s.begin) // inside the file: checked by openSafetensors
	if _, err := io.ReadFull(io.NewSectionReader(s.r, s.begin, s.end-s.begin), data); err != nil {
		return nil, err
	}
	return &Array{DType: h.DType, Shape: h.Shape, Data: data}, nil
}

// jsonParser walks JSON by tokens, because decoding into maps and structs would
// hide repeated keys and accept null. The first error sticks.
type jsonParser struct {
	dec *json.Decoder
	err error
}

func newJSONParser(text []byte) *jsonParser {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	return &jsonParser{dec: dec}
}

func (p *jsonParser) fail(format string, args ...any) {
	if p.err == nil {
		p.err = fmt.Errorf("bad header: "+format, args...)
	}
}

func (p *jsonParser) token() json.Token {
	if p.err != nil {
		return nil
	}
	t, err := p.dec.Token()
	if err != nil {
		p.fail("%v", err)
		return nil
	}
	return t
}

func (p *jsonParser) delim(want json.Delim) {
	if t := p.token(); p.err == nil && t != want {
		p.fail("%v expected", want)
	}
}

// object calls f at the value of every key; f must consume it.
func (p *jsonParser) object(f func(key string)) {
	p.delim('{')
	for p.err == nil && p.dec.More() {
		key := p.str()
		if p.err == nil {
			f(key)
		}
	}
	p.delim('}')
}

func (p *jsonParser) str() string {
	t := p.token()
	s, ok := t.(string)
	if !ok {
		p.fail("string expected")
	}
	return s
}

// ints reads an array of at most limit non-negative integers.
func (p *jsonParser) ints(limit int) []int64 {
	var out []int64
	p.delim('[')
	for p.err == nil && p.dec.More() {
		if len(out) == limit {
			p.fail("more than %d numbers in an array", limit)
			break
		}
		num, _ := p.token().(json.Number)
		n, err := strconv.ParseInt(string(num), 10, 64)
		if err != nil || n < 0 {
			p.fail("%q is no length", clip(string(num)))
		}
		out = append(out, n)
	}
	p.delim(']')
	return out
}

// end accepts white space only.
func (p *jsonParser) end() {
	if _, err := p.dec.Token(); err != io.EOF {
		p.fail("text after the header")
	}
}
