// Command spvgen compiles the variants of package shaders to SPIR-V and records them.
//
//	go run ./tools/spvgen            compile what changed since the manifest was written
//	go run ./tools/spvgen -all       compile everything anew, with the compiler at hand
//	go run ./tools/spvgen -check     compile everything and compare with what is committed
//	go run ./tools/spvgen -file A.comp -o A.spv   compile one file outside the table
//
// Each variant is compiled by glslc -O -g, stripped of all debug information but the names that
// reflection uses, validated by spirv-val, and written to shaders/spv with an entry in manifest.json.
// Nothing is written when nothing changed. The compiler is $GLSLC, or glslc on the PATH if it is recent,
// or the one in the root that tools/root.sh makes.
package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"sync"

	"github.com/vkattn/vkattn/internal/spirv"
	"github.com/vkattn/vkattn/shaders"
)

const (
	sources = "shaders"
	modules = "shaders/spv"
)

func main() {
	all := flag.Bool("all", false, "compile variants whose inputs did not change, too")
	check := flag.Bool("check", false, "write nothing: compile, compare with what is committed, fail on a difference")
	file := flag.String("file", "", "compile this GLSL file instead of the table")
	out := flag.String("o", "", "with -file: the SPIR-V file to write")
	flag.Parse()
	if err := run(*all, *check, *file, *out); err != nil {
		fmt.Fprintln(os.Stderr, "spvgen:", err)
		os.Exit(1)
	}
}

func run(all, check bool, file, out string) error {
	if err := enterRoot(); err != nil {
		return err
	}
	if file != "" {
		c, err := newCompiler()
		if err != nil {
			return err
		}
		defer c.close()
		code, err := c.compile(job{name: filepath.Base(file), source: file, env: "vulkan1.2"})
		if err != nil {
			return err
		}
		_, err = writeChanged(out, spirv.Bytes(code))
		return err
	}
	old := readManifest()
	entries := make([]shaders.Entry, 0, len(shaders.Variants()))
	var stale []int
	for i, v := range shaders.Variants() {
		e, err := entry(v)
		if err != nil {
			return err
		}
		if was, ok := old[v.Name]; ok && sameInputs(was, e) && !all && !check {
			if e, err = reflected(was); err != nil {
				return err
			}
		} else {
			stale = append(stale, i)
		}
		entries = append(entries, e)
	}
	if check {
		return compare(entries, old)
	}
	return generate(entries, stale)
}

// enterRoot changes to the folder with go.mod, so that paths do not depend on where the tool runs.
func enterRoot() error {
	for {
		if _, err := os.Stat("go.mod"); err == nil {
			return nil
		}
		dir, err := os.Getwd()
		if err != nil || dir == filepath.Dir(dir) {
			return errors.New("no go.mod here or above")
		}
		if err := os.Chdir(".."); err != nil {
			return err
		}
	}
}

// readManifest returns what was generated before; nothing if it cannot be read.
func readManifest() map[string]shaders.Entry {
	old := map[string]shaders.Entry{}
	var list []shaders.Entry
	b, err := os.ReadFile(modules + "/manifest.json")
	if err != nil || json.Unmarshal(b, &list) != nil {
		return old
	}
	for _, e := range list {
		old[e.Name] = e
	}
	return old
}

// entry fills in the inputs of a variant.
func entry(v shaders.Variant) (shaders.Entry, error) {
	hash, files, err := spirv.SourceHash(os.DirFS(sources), v.Source)
	if err != nil {
		return shaders.Entry{}, fmt.Errorf("%s: %w", v.Name, err)
	}
	return shaders.Entry{Name: v.Name, Source: v.Source, Includes: files[1:], SourceSHA256: hash,
		Defines: v.Defines, TargetEnv: v.Env(), Flags: flags}, nil
}

func sameInputs(was, now shaders.Entry) bool {
	b, err := os.ReadFile(spvPath(was.Name))
	return err == nil && sum(b) == was.SPIRVSHA256 &&
		was.SourceSHA256 == now.SourceSHA256 && was.Source == now.Source && was.TargetEnv == now.TargetEnv &&
		was.Flags == now.Flags && slices.Equal(was.Defines, now.Defines) && slices.Equal(was.Includes, now.Includes)
}

// reflected reads the reflection of a committed module anew, for what the reader may have learned since.
func reflected(e shaders.Entry) (shaders.Entry, error) {
	b, err := os.ReadFile(spvPath(e.Name))
	if err != nil {
		return e, err
	}
	code, err := spirv.Words(b)
	if err != nil {
		return e, err
	}
	if e.Module, err = spirv.Parse(code); err == nil {
		e.SharedBytes, err = e.Module.SharedBytes(nil)
	}
	return e, err
}

func spvPath(name string) string { return modules + "/" + name + ".spv" }

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

// generate compiles the stale entries, writes what changed and removes what belongs to no variant.
func generate(entries []shaders.Entry, stale []int) error {
	if err := os.MkdirAll(modules, 0o755); err != nil {
		return err
	}
	codes, err := compileAll(entries, stale)
	if err != nil {
		return err
	}
	for _, i := range stale {
		if _, err := writeChanged(spvPath(entries[i].Name), codes[i]); err != nil {
			return err
		}
		fmt.Printf("%-32s %6d bytes, %5d bytes shared, %s\n", entries[i].Name, entries[i].Bytes, entries[i].SharedBytes, entries[i].Compiler)
	}
	removed, err := removeStray(entries)
	if err != nil {
		return err
	}
	b, err := manifestJSON(entries)
	if err != nil {
		return err
	}
	changed, err := writeChanged(modules+"/manifest.json", b)
	if err == nil {
		fmt.Printf("%d variants, %d compiled, %d removed, manifest %s\n", len(entries), len(stale), removed,
			map[bool]string{true: "written", false: "unchanged"}[changed])
	}
	return err
}

func removeStray(entries []shaders.Entry) (int, error) {
	found, err := filepath.Glob(modules + "/*.spv")
	if err != nil {
		return 0, err
	}
	n := 0
	for _, path := range found {
		if !slices.ContainsFunc(entries, func(e shaders.Entry) bool { return spvPath(e.Name) == filepath.ToSlash(path) }) {
			if err := os.Remove(path); err != nil {
				return n, err
			}
			n++
		}
	}
	return n, nil
}

// compileAll compiles entries[i] for each i of stale, fills in what the module tells, and returns the
// bytes of each module by index.
func compileAll(entries []shaders.Entry, stale []int) (map[int][]byte, error) {
	codes := map[int][]byte{}
	if len(stale) == 0 {
		return codes, nil
	}
	c, err := newCompiler()
	if err != nil {
		return nil, err
	}
	defer c.close()
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		errs []error
		slot = make(chan struct{}, runtime.NumCPU())
	)
	for _, i := range stale {
		wg.Go(func() {
			slot <- struct{}{}
			defer func() { <-slot }()
			code, err := c.build(&entries[i])
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", entries[i].Name, err))
				return
			}
			codes[i] = code
		})
	}
	wg.Wait()
	return codes, errors.Join(errs...)
}

// compare recompiles everything and reports how it differs from what is committed.
func compare(entries []shaders.Entry, old map[string]shaders.Entry) error {
	every := make([]int, len(entries))
	for i := range every {
		every[i] = i
	}
	codes, err := compileAll(entries, every)
	if err != nil {
		return err
	}
	var errs []error
	for i, e := range entries {
		was, ok := old[e.Name]
		committed, err := os.ReadFile(spvPath(e.Name))
		switch {
		case !ok || err != nil:
			errs = append(errs, fmt.Errorf("%s: not generated yet", e.Name))
		case !sameInputs(was, e):
			errs = append(errs, fmt.Errorf("%s: stale: sources, table or flags changed", e.Name))
		case was.Compiler == e.Compiler && !bytes.Equal(committed, codes[i]):
			errs = append(errs, fmt.Errorf("%s: compiles to something else", e.Name))
		case !sameReflection(was, e):
			errs = append(errs, fmt.Errorf("%s: reflection differs (committed by %s, here %s)", e.Name, was.Compiler, e.Compiler))
		case was.Compiler == e.Compiler:
			fmt.Printf("%-32s same bytes\n", e.Name)
		default:
			fmt.Printf("%-32s same reflection; bytes not compared (committed by %s, here %s)\n", e.Name, was.Compiler, e.Compiler)
		}
	}
	return errors.Join(errs...)
}

func sameReflection(a, b shaders.Entry) bool {
	x, _ := json.Marshal(a.Module)
	y, _ := json.Marshal(b.Module)
	return bytes.Equal(x, y) && a.SharedBytes == b.SharedBytes
}

var innermost = regexp.MustCompile(`[{\[][^{}\[\]]*[}\]]`)

// manifestJSON prints one line for each innermost object, so that diffs show what changed.
func manifestJSON(entries []shaders.Entry) ([]byte, error) {
	b, err := json.MarshalIndent(entries, "", " ")
	if err != nil {
		return nil, err
	}
	space := regexp.MustCompile(`\n\s*`)
	b = innermost.ReplaceAllFunc(b, func(s []byte) []byte { return space.ReplaceAll(s, []byte(" ")) })
	return append(b, '\n'), nil
}

func writeChanged(path string, b []byte) (bool, error) {
	if was, err := os.ReadFile(path); err == nil && bytes.Equal(was, b) {
		return false, nil
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	return true, os.WriteFile(path, b, 0o644)
}
