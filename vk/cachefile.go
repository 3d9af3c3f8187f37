package vk

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// A cache file is a magic, the length of the driver's blob, its SHA-256, and the blob. The blob begins with
// Vulkan's own header: length, version, vendor, device, pipeline cache UUID. Drivers check that header but not the
// rest, and some crash on a damaged file.

const cacheMagic = "vkattn-pipelines-1\n"

const cacheHeader = len(cacheMagic) + 8 + sha256.Size

// maxCacheFile bounds what is read.
const maxCacheFile = 256 << 20

// cachePath names the file for a device and driver; none of those may read the file of another.
func cachePath(dir string, c *Caps) string {
	return filepath.Join(dir, fmt.Sprintf("vkattn-%s-%08x-%08x-%08x.pipelines", c.PipelineCacheUUID, c.VendorID, c.DeviceID, c.DriverVersion))
}

func encodeCache(blob []byte) []byte {
	sum := sha256.Sum256(blob)
	file := make([]byte, 0, cacheHeader+len(blob))
	file = append(file, cacheMagic...)
	file = binary.LittleEndian.AppendUint64(file, uint64(len(blob)))
	file = append(file, sum[:]...)
	return append(file, blob...)
}

// decodeCache returns the blob of a file, if it is whole and belongs to the device.
func decodeCache(file []byte, c *Caps) ([]byte, error) {
	if len(file) < cacheHeader || string(file[:len(cacheMagic)]) != cacheMagic {
		return nil, errors.New("not a cache file")
	}
	rest := file[len(cacheMagic):]
	length, sum, blob := binary.LittleEndian.Uint64(rest), rest[8:8+sha256.Size], rest[8+sha256.Size:]
	if length != uint64(len(blob)) {
		return nil, errors.New("truncated")
	}
	if got := sha256.Sum256(blob); !bytes.Equal(got[:], sum) {
		return nil, errors.New("damaged")
	}
	if !ownBlob(blob, c) {
		return nil, errors.New("of another device or driver")
	}
	return blob, nil
}

// ownBlob checks Vulkan's header.
func ownBlob(blob []byte, c *Caps) bool {
	if len(blob) < 32 {
		return false
	}
	word := func(i int) uint32 { return binary.LittleEndian.Uint32(blob[4*i:]) }
	return word(0) >= 32 && uint64(word(0)) <= uint64(len(blob)) && word(1) == 1 && word(2) == c.VendorID && word(3) == c.DeviceID &&
		hex.EncodeToString(blob[16:32]) == c.PipelineCacheUUID
}

// readCacheFile returns os.ErrNotExist for a file that is not there yet.
func readCacheFile(path string, c *Caps) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxCacheFile {
		return nil, errors.New("not a regular file of reasonable size")
	}
	file, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return decodeCache(file, c)
}

// writeCacheFile puts a whole file in place or none.
func writeCacheFile(path string, blob []byte) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(dir, filepath.Base(path)+".tmp*")
	if err != nil {
		return err
	}
	_, err = tmp.Write(encodeCache(blob))
	if e := tmp.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		os.Remove(tmp.Name())
	}
	return err
}
