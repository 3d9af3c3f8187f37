package tensorio

import (
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
)

const (
	npyMagic = "\x93NUMPY"
	// NumPy refuses headers beyond 10,000 bytes unless told otherwise; arrays
	// of the types read here need about 100 + 20 per axis.
	maxNPYHeader = 64 << 10
)

// npySource is a .npy file, or a stored entry of a .npz. It reads at r's own
// offsets, so it may be used concurrently.
type npySource struct {
	name string
	r    io.ReaderAt
	size int64
}

func (s *npySource) header() (Header, error) {
	h, err := readNPYHeader(io.NewSectionReader(s.r, 0, s.size))
	if err != nil {
		return Header{}, err
	}
	return h.Header, h.checkSize(s.size)
}

func (s *npySource) read() (*Array, error) {
	r := io.NewSectionReader(s.r, 0, s.size)
	h, err := readNPYHeader(r)
	if err != nil {
		return nil, err
	}
	if err := h.checkSize(s.size); err != nil {
		return nil, err
	}
	data := make([]byte, h.bytes) // no more than the file has: just checked
	if _, err := io.ReadFull(r, data); err != nil {
		return nil, err
	}
	return h.array(data), nil
}

// npyHeader is the parsed header of one array.
type npyHeader struct {
	Header
	bigEndian bool
	fortran   bool
	length    int // of the header with its magic, in bytes
	bytes     int // of the data
}

// checkSize compares the claim of the header with the size of everything.
func (h *npyHeader) checkSize(total int64) error {
	have := total - int64(h.length)
	switch {
	case have < int64(h.bytes):
		return fmt.Errorf("truncated: %v%v needs %d bytes, %d are there", h.DType, h.Shape, h.bytes, have)
	case have > int64(h.bytes):
		return fmt.Errorf("%d bytes follow the array", have-int64(h.bytes))
	}
	return nil
}

// array makes an array of the bytes that follow the header, which it may change.
func (h *npyHeader) array(data []byte) *Array {
	size := h.DType.Size()
	if h.bigEndian && size > 1 {
		for i := 0; i+size <= len(data); i += size {
			for a, b := i, i+size-1; a < b; a, b = a+1, b-1 {
				data[a], data[b] = data[b], data[a]
			}
		}
	}
	if h.fortran {
		data = toCOrder(data, h.Shape, size)
	}
	return &Array{DType: h.DType, Shape: h.Shape, Data: data}
}

// toCOrder transposes an array whose first axis is contiguous.
func toCOrder(data []byte, shape []int, size int) []byte {
	if len(shape) < 2 || len(data) == 0 {
		return data
	}
	stride := make([]int, len(shape)) // of the source, in bytes
	n := size
	for i, s := range shape {
		stride[i] = n
		n *= s
	}
	out := make([]byte, len(data))
	index := make([]int, len(shape))
	from := 0
	for to := 0; to < len(out); to += size {
		copy(out[to:to+size], data[from:from+size])
		for axis := len(shape) - 1; axis >= 0; axis-- {
			index[axis]++
			from += stride[axis]
			if index[axis] < shape[axis] {
				break
			}
			from -= index[axis] * stride[axis]
			index[axis] = 0
		}
	}
	return out
}

// readNPYHeader reads magic, version and header, and leaves r at the data.
func readNPYHeader(r io.Reader) (*npyHeader, error) {
	var pre [12]byte
	if _, err := io.ReadFull(r, pre[:10]); err != nil {
		return nil, err
	}
	if string(pre[:6]) != npyMagic {
		return nil, errors.New("not in npy format")
	}
	length, used := int64(le.Uint16(pre[8:])), 10
	switch major := pre[6]; major {
	case 1:
	case 2, 3:
		if _, err := io.ReadFull(r, pre[10:12]); err != nil {
			return nil, err
		}
		length, used = int64(le.Uint32(pre[8:])), 12
	default:
		return nil, fmt.Errorf("npy version %d.%d is not known", major, pre[7])
	}
	if length > maxNPYHeader {
		return nil, fmt.Errorf("header of %d bytes, more than %d", length, maxNPYHeader)
	}
	text := make([]byte, length)
	if _, err := io.ReadFull(r, text); err != nil {
		return nil, err
	}
	h, err := parseNPYHeader(string(text))
	if err != nil {
		return nil, err
	}
	h.length = used + int(length)
	h.bytes, err = byteSize(h.DType, h.Shape)
	return h, err
}

// parseNPYHeader parses the Python literal
//
//	{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }
//
// with exactly these three keys, in any order, padded by white space.
func parseNPYHeader(text string) (*npyHeader, error) {
	p := pyParser{rest: text}
	h := &npyHeader{}
	var descr, order, shape bool
	p.want("{")
	for p.err == nil && !p.accept("}") {
		key := p.str()
		p.want(":")
		switch {
		case p.err != nil:
		case key == "descr" && !descr:
			descr = true
			if p.peek() == '[' {
				p.fail("structured arrays are not supported")
				break
			}
			h.descr(&p, p.str())
		case key == "fortran_order" && !order:
			order = true
			switch {
			case p.accept("True"):
				h.fortran = true
			case !p.accept("False"):
				p.fail("fortran_order is neither True nor False")
			}
		case key == "shape" && !shape:
			shape = true
			h.Shape = p.tuple()
		default:
			p.fail("unknown or repeated key %q", clip(key))
		}
		if !p.accept(",") {
			p.want("}")
			break
		}
	}
	if p.err == nil && p.peek() != 0 {
		p.fail("text after the header")
	}
	if p.err == nil && !(descr && order && shape) {
		p.fail("descr, fortran_order or shape is missing")
	}
	return h, p.err
}

func (h *npyHeader) descr(p *pyParser, s string) {
	if p.err != nil {
		return
	}
	if strings.TrimLeft(s, "<>|=") == "O" {
		p.fail("object arrays (pickles) are refused")
		return
	}
	if len(s) > 1 && (s[0] == '>' || s[0] == '<' || s[0] == '|') {
		h.bigEndian = s[0] == '>'
		for d := range numDTypes {
			if n := dtypes[d].npy; n != "" && n[1:] == s[1:] && (s[0] != '|' || d.Size() == 1) {
				h.DType = d
				return
			}
		}
	}
	p.fail("element type %q is not supported", clip(s))
}

// pyParser reads the few Python literals of a header. The first error sticks.
type pyParser struct {
	rest string
	err  error
}

func (p *pyParser) fail(format string, args ...any) {
	if p.err == nil {
		p.err = fmt.Errorf("bad header: "+format, args...)
	}
}

// peek skips white space and returns the next byte, 0 at the end.
func (p *pyParser) peek() byte {
	p.rest = strings.TrimLeft(p.rest, " \t\r\n")
	if p.rest == "" {
		return 0
	}
	return p.rest[0]
}

func (p *pyParser) accept(tok string) bool {
	if p.err != nil || p.peek() == 0 || !strings.HasPrefix(p.rest, tok) {
		return false
	}
	p.rest = p.rest[len(tok):]
	return true
}

func (p *pyParser) want(tok string) {
	if p.err == nil && !p.accept(tok) {
		p.fail("%q expected at %q", tok, clip(p.rest))
	}
}

// str reads a quoted string; none that matters has escapes.
func (p *pyParser) str() string {
	q := p.peek()
	if p.err != nil || q != '\'' && q != '"' {
		p.fail("string expected at %q", clip(p.rest))
		return ""
	}
	s, rest, ok := strings.Cut(p.rest[1:], string(q))
	if !ok || strings.ContainsAny(s, "\\\n") {
		p.fail("bad string")
		return ""
	}
	p.rest = rest
	return s
}

// tuple reads (), (3,) or (2, 3).
func (p *pyParser) tuple() []int {
	shape := []int{}
	p.want("(")
	for p.err == nil && !p.accept(")") {
		if len(shape) == maxRank {
			p.fail("more than %d axes", maxRank)
			break
		}
		p.peek()
		n := len(p.rest) - len(strings.TrimLeft(p.rest, "-0123456789"))
		v, err := strconv.ParseInt(p.rest[:n], 10, 64)
		switch {
		case err != nil || v > math.MaxInt:
			p.fail("bad length in shape at %q", clip(p.rest))
		case v < 0:
			p.fail("negative length %d in shape", v)
		}
		p.rest = p.rest[n:]
		shape = append(shape, int(v))
		if !p.accept(",") {
			if len(shape) == 1 {
				p.fail("shape is no tuple")
			}
			p.want(")")
			break
		}
	}
	return shape
}

// clip shortens text of the file for a message.
func clip(s string) string {
	const most = 40
	if len(s) > most {
		return s[:most] + "..."
	}
	return s
}

// formatNPYHeader is the header as NumPy writes it, padded to 64 bytes.
func formatNPYHeader(d DType, shape []int) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "{'descr': '%s', 'fortran_order': False, 'shape': (", dtypes[d].npy)
	for i, s := range shape {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(strconv.Itoa(s))
	}
	if len(shape) == 1 {
		b.WriteByte(',')
	}
	b.WriteString("), }")
	for (10+b.Len()+1)%64 != 0 {
		b.WriteByte(' ')
	}
	b.WriteByte('\n')
	out := append([]byte(npyMagic), 1, 0)
	out = le.AppendUint16(out, uint16(b.Len()))
	return append(out, b.String()...)
}
