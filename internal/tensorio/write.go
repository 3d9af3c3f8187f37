package tensorio

import (
	"archive/zip"
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"
)

// Write writes arrays to path in the format of its extension: .npy (exactly one
// array, whose name is not kept), .npz (not compressed) or .safetensors. The
// file appears under its name only when it is complete; an existing one is
// replaced. The bytes depend on the arrays alone.
//
// An array that the format cannot hold (bfloat16 and fp8 in NumPy's formats,
// wrong size, repeated name) is a *FormatError, and nothing is written.
func Write(path string, arrays ...*Array) error {
	encode, err := encoder(path, arrays)
	if err != nil {
		return err
	}
	return writeFile(path, encode)
}

func encoder(path string, arrays []*Array) (func(io.Writer) error, error) {
	ext := strings.ToLower(filepath.Ext(path))
	seen := map[string]bool{}
	for i, a := range arrays {
		if a == nil {
			return nil, &FormatError{Path: path, Reason: fmt.Sprintf("array %d is nil", i)}
		}
		reason := a.unwritable(ext)
		if reason == "" && seen[a.Name] {
			reason = "another array has the same name"
		}
		if reason != "" {
			return nil, &FormatError{Path: path, Name: a.Name, Reason: reason}
		}
		seen[a.Name] = true
	}
	switch ext {
	case ".npy":
		if len(arrays) != 1 {
			return nil, &FormatError{Path: path, Reason: fmt.Sprintf("a .npy file holds one array, not %d", len(arrays))}
		}
		return func(w io.Writer) error { return writeNPY(w, arrays[0]) }, nil
	case ".npz":
		return func(w io.Writer) error { return writeNPZ(w, arrays) }, nil
	case ".safetensors":
		return func(w io.Writer) error { return writeSafetensors(w, arrays) }, nil
	}
	return nil, &FormatError{Path: path, Reason: fmt.Sprintf("extension %q is not .npy, .npz or .safetensors", ext)}
}

// unwritable says why the format of ext cannot hold a, or "".
func (a *Array) unwritable(ext string) string {
	n, err := byteSize(a.DType, a.Shape)
	switch {
	case err != nil:
		return err.Error()
	case n != len(a.Data):
		return fmt.Sprintf("%v%v needs %d bytes, has %d", a.DType, a.Shape, n, len(a.Data))
	case ext != ".safetensors" && dtypes[a.DType].npy == "":
		return fmt.Sprintf("NumPy's format has no %v; convert it or write .safetensors", a.DType)
	case ext != ".npy" && !utf8.ValidString(a.Name):
		return "the name is not valid UTF-8"
	case ext == ".npz" && (a.Name == "" || strings.ContainsRune(a.Name, 0) || len(a.Name) > 60_000):
		return "not a usable name"
	case ext == ".safetensors" && a.Name == "__metadata__":
		return "the name is reserved"
	}
	return ""
}

func writeNPY(w io.Writer, a *Array) error {
	if _, err := w.Write(formatNPYHeader(a.DType, a.Shape)); err != nil {
		return err
	}
	_, err := w.Write(a.Data)
	return err
}

func writeNPZ(w io.Writer, arrays []*Array) error {
	z := zip.NewWriter(w)
	for _, a := range arrays {
		e, err := z.CreateHeader(&zip.FileHeader{Name: a.Name + ".npy", Method: zip.Store})
		if err != nil {
			return err
		}
		if err := writeNPY(e, a); err != nil {
			return err
		}
	}
	return z.Close()
}

// writeSafetensors orders the arrays by falling element size, so that with a
// header padded to 8 bytes every array is aligned to its elements.
func writeSafetensors(w io.Writer, arrays []*Array) error {
	arrays = slices.Clone(arrays)
	slices.SortStableFunc(arrays, func(a, b *Array) int { return b.DType.Size() - a.DType.Size() })
	var head bytes.Buffer
	head.WriteByte('{')
	at := 0
	for i, a := range arrays {
		if i > 0 {
			head.WriteByte(',')
		}
		name, err := json.Marshal(a.Name)
		if err != nil {
			return err
		}
		shape, err := json.Marshal(append([]int{}, a.Shape...))
		if err != nil {
			return err
		}
		fmt.Fprintf(&head, `%s:{"dtype":"%s","shape":%s,"data_offsets":[%d,%d]}`,
			name, dtypes[a.DType].safetensors, shape, at, at+len(a.Data))
		at += len(a.Data)
	}
	head.WriteByte('}')
	for head.Len()%8 != 0 {
		head.WriteByte(' ')
	}
	if head.Len() > maxSafetensorsHeader {
		return &FormatError{Reason: fmt.Sprintf("header of %d bytes, more than %d", head.Len(), maxSafetensorsHeader)}
	}
	if _, err := w.Write(le.AppendUint64(nil, uint64(head.Len()))); err != nil {
		return err
	}
	if _, err := w.Write(head.Bytes()); err != nil {
		return err
	}
	for _, a := range arrays {
		if _, err := w.Write(a.Data); err != nil {
			return err
		}
	}
	return nil
}

// writeFile writes to a new file beside path and renames it. Unlike
// os.CreateTemp it leaves the permissions to the umask.
func writeFile(path string, encode func(io.Writer) error) (err error) {
	dir, base := filepath.Split(path)
	var f *os.File
	for try := 0; ; try++ {
		f, err = os.OpenFile(fmt.Sprintf("%s.%s.%08x.tmp", dir, base, rand.Uint32()), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
		if err == nil {
			break
		}
		if !os.IsExist(err) || try == 100 {
			return err
		}
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	w := bufio.NewWriterSize(f, 1<<20)
	if err := encode(w); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
