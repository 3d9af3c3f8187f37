package tensorio

import (
	"archive/zip"
	"errors"
	"fmt"
	"io"
	"strings"
)

const (
	// No deflate stream expands by more than 1032 (258 bytes from 2 bits), so
	// an entry that claims more is lying.
	maxDeflateRatio = 1032
	// An array that grows beyond this while it is inflated is taken for a bomb;
	// larger ones must be stored.
	maxInflated = 8 << 30
	// archive/zip keeps roughly this much per entry of the directory.
	maxEntries = 1 << 20
)

func (f *File) openNPZ(r io.ReaderAt, size int64) error {
	z, err := zip.NewReader(r, size)
	if err != nil {
		return fmt.Errorf("bad zip directory: %v", err)
	}
	if len(z.File) > maxEntries {
		return fmt.Errorf("%d entries, more than %d", len(z.File), maxEntries)
	}
	for _, e := range z.File {
		name, isArray := strings.CutSuffix(e.Name, ".npy")
		if !isArray {
			continue // NumPy lists these too, as raw bytes; nothing here needs them
		}
		if err := f.add(name, &npzSource{e, r, size}); err != nil {
			return err
		}
	}
	return nil
}

// npzSource is one entry of a .npz. A name such as ../x is only a name: nothing
// is ever extracted to disk.
type npzSource struct {
	e    *zip.File
	r    io.ReaderAt
	size int64 // of the whole file
}

// check refuses what the directory alone shows to be wrong.
func (s *npzSource) check() error {
	e := s.e
	offset, err := e.DataOffset()
	if err != nil {
		return err
	}
	switch {
	case e.Flags&1 != 0:
		return errors.New("encrypted")
	case e.CompressedSize64 > uint64(s.size-min(s.size, offset)):
		return fmt.Errorf("truncated: entry claims %d bytes of a file of %d", e.CompressedSize64, s.size)
	case e.Method == zip.Store && e.CompressedSize64 != e.UncompressedSize64:
		return errors.New("stored entry with two different sizes")
	case e.Method == zip.Deflate && e.UncompressedSize64/maxDeflateRatio > e.CompressedSize64:
		return fmt.Errorf("claims that %d bytes expand to %d, which deflate cannot do", e.CompressedSize64, e.UncompressedSize64)
	case e.Method == zip.Deflate && e.UncompressedSize64 > maxInflated:
		return fmt.Errorf("compressed array of %d bytes, more than %d", e.UncompressedSize64, int64(maxInflated))
	}
	return nil
}

func (s *npzSource) open() (io.ReadCloser, *npyHeader, error) {
	if err := s.check(); err != nil {
		return nil, nil, err
	}
	rc, err := s.e.Open()
	if err != nil {
		return nil, nil, err
	}
	h, err := readNPYHeader(rc)
	if err == nil {
		err = h.checkSize(int64(s.e.UncompressedSize64))
	}
	if err != nil {
		rc.Close()
		return nil, nil, err
	}
	return rc, h, nil
}

func (s *npzSource) header() (Header, error) {
	rc, h, err := s.open()
	if err != nil {
		return Header{}, err
	}
	rc.Close()
	return h.Header, nil
}

func (s *npzSource) read() (*Array, error) {
	rc, h, err := s.open()
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	data, err := readGrowing(rc, h.bytes, s.e.Method == zip.Store)
	if err != nil {
		return nil, err
	}
	// The checksum is compared at the end of the entry.
	if _, err := io.ReadFull(rc, make([]byte, 1)); err != io.EOF {
		if err == nil {
			err = errors.New("entry is longer than it claims")
		}
		return nil, err
	}
	return h.array(data), nil
}

// readGrowing reads n bytes. When the file is not known to hold them, the
// buffer grows with what really arrives.
func readGrowing(r io.Reader, n int, known bool) ([]byte, error) {
	const first = 1 << 20
	var data []byte
	if known || n <= first {
		data = make([]byte, 0, n)
	}
	for len(data) < n {
		if len(data) == cap(data) {
			grown := make([]byte, len(data), min(n, max(first, 2*cap(data))))
			copy(grown, data)
			data = grown
		}
		m, err := r.Read(data[len(data):cap(data)])
		data = data[:len(data)+m]
		if err == io.EOF && len(data) < n {
			return nil, io.ErrUnexpectedEOF
		}
		if err != nil && err != io.EOF {
			return nil, err
		}
	}
	return data, nil
}
