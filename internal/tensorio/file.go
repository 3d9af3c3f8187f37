package tensorio

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// File is an open file whose arrays are read one at a time. Its methods may be
// used concurrently, Close excepted.
type File struct {
	path   string
	names  []string
	byName map[string]source
	closer io.Closer
	meta   map[string]string
}

// source is one array of a file, in the terms of its format. Errors are plain;
// File adds path and name.
type source interface {
	header() (Header, error)
	read() (*Array, error)
}

// Open opens a .npy, .npz or .safetensors file. The content decides which of
// them it is, the extension only when the content is too short to tell. The
// directory of the file is checked here; a .npz's array headers are read, and
// therefore checked, by Header and Read.
//
// Errors about the content are *FormatError, others come from the os package.
func Open(path string) (*File, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() { // a pipe would block, a device has no size
		return nil, &FormatError{Path: path, Reason: "not a regular file"}
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	st, err = f.Stat()
	if err != nil {
		f.Close()
		return nil, err
	}
	file, err := NewFile(f, st.Size(), path)
	if err != nil {
		f.Close()
		return nil, err
	}
	file.closer = f
	return file, nil
}

// NewFile reads from memory or from anything else that can seek. path serves
// for messages, for the name of a .npy's array and, if the content is too
// short, for the format.
func NewFile(r io.ReaderAt, size int64, path string) (*File, error) {
	f := &File{path: path, byName: map[string]source{}}
	var err error
	switch format := sniff(r, size, path); format {
	case "npy":
		stem := filepath.Base(path)
		stem = strings.TrimSuffix(stem, filepath.Ext(stem))
		if stem == "" || stem == "." || stem == string(filepath.Separator) {
			stem = "arr_0"
		}
		s := &npySource{name: stem, r: io.NewSectionReader(r, 0, size), size: size}
		if _, err = s.header(); err == nil {
			err = f.add(stem, s)
		}
	case "npz":
		err = f.openNPZ(r, size)
	case "safetensors":
		err = f.openSafetensors(r, size)
	default:
		err = errors.New("neither npy, npz nor safetensors")
	}
	if err != nil {
		return nil, f.wrap("", err)
	}
	return f, nil
}

func sniff(r io.ReaderAt, size int64, path string) string {
	head := make([]byte, min(size, 10))
	n, _ := r.ReadAt(head, 0)
	head = head[:n]
	switch {
	case bytes.HasPrefix(head, []byte(npyMagic)):
		return "npy"
	case bytes.HasPrefix(head, []byte("PK\x03\x04")), bytes.HasPrefix(head, []byte("PK\x05\x06")):
		return "npz"
	case len(head) > 8 && head[8] == '{':
		return "safetensors"
	}
	switch ext := strings.ToLower(filepath.Ext(path)); ext {
	case ".npy", ".npz", ".safetensors":
		return ext[1:]
	}
	return ""
}

// Names lists the arrays in the order of the file.
func (f *File) Names() []string { return append([]string(nil), f.names...) }

// Metadata is the __metadata__ of a safetensors file, otherwise nil.
func (f *File) Metadata() map[string]string { return f.meta }

// Header returns type and shape of an array without reading its data.
func (f *File) Header(name string) (Header, error) {
	s, err := f.source(name)
	if err != nil {
		return Header{}, err
	}
	h, err := s.header()
	if err != nil {
		return Header{}, f.wrap(name, err)
	}
	h.Name = name
	return h, nil
}

// Read reads one array. The caller owns the result.
func (f *File) Read(name string) (*Array, error) {
	s, err := f.source(name)
	if err != nil {
		return nil, err
	}
	a, err := s.read()
	if err != nil {
		return nil, f.wrap(name, err)
	}
	a.Name = name
	return a, nil
}

// Close closes the file. It may be called more than once.
func (f *File) Close() error {
	c := f.closer
	f.closer = nil
	if c == nil {
		return nil
	}
	return c.Close()
}

func (f *File) source(name string) (source, error) {
	s, ok := f.byName[name]
	if !ok {
		return nil, &FormatError{Path: f.path, Name: name, Reason: "no such array"}
	}
	return s, nil
}

func (f *File) add(name string, s source) error {
	if _, dup := f.byName[name]; dup {
		return fmt.Errorf("two arrays are called %q", name)
	}
	f.byName[name] = s
	f.names = append(f.names, name)
	return nil
}

// wrap makes a *FormatError of what the content caused, and leaves alone what
// the operating system says.
func (f *File) wrap(name string, err error) error {
	var format *FormatError
	var path *os.PathError
	switch {
	case errors.As(err, &format), errors.As(err, &path):
		return err
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		err = errors.New("truncated")
	case errors.Is(err, zip.ErrAlgorithm):
		err = errors.New("compression method is not supported")
	}
	return &FormatError{Path: f.path, Name: name, Reason: err.Error()}
}
