package spirv

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
)

var include = regexp.MustCompile(`(?m)^[ \t]*#[ \t]*include[ \t]+"([^"]+)"`)

// SourceHash returns the SHA-256, in hex, of a GLSL file and all that it includes, and the names of
// these files in the order of the hash: the file itself, then its includes, sorted. Includes are
// looked up as glslc does, first beside the file that includes. An include under a false #if counts.
func SourceHash(fsys fs.FS, source string) (hash string, files []string, err error) {
	content := map[string][]byte{}
	var add func(name string) error
	add = func(name string) error {
		if _, done := content[name]; done {
			return nil
		}
		text, err := fs.ReadFile(fsys, name)
		if err != nil {
			return err
		}
		content[name] = text
		for _, m := range include.FindAllSubmatch(text, -1) {
			beside := path.Join(path.Dir(name), string(m[1]))
			if err := add(beside); errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("%s: include %q: %w", name, m[1], err)
			} else if err != nil {
				return err
			}
		}
		return nil
	}
	if err := add(source); err != nil {
		return "", nil, err
	}
	for name := range content {
		if name != source {
			files = append(files, name)
		}
	}
	slices.Sort(files)
	files = slices.Insert(files, 0, source)
	h := sha256.New()
	for _, name := range files {
		fmt.Fprintf(h, "%s %d\n", name, len(content[name]))
		h.Write(content[name])
	}
	return hex.EncodeToString(h.Sum(nil)), files, nil
}
