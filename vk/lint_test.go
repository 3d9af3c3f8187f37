package vk

import (
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const cgoTag = "//go:build cgo && !novulkan && (linux || windows)"

// TestGokiIsTypesAndConstants: none of goki's functions is called. Those with slices of structs free memory that
// the driver reads, and all of them share one table of functions per process.
func TestGokiIsTypesAndConstants(t *testing.T) {
	allowed := regexp.MustCompile(`^(Buffer|DeviceMemory|CommandPool|CommandBuffer|DescriptorPool|DescriptorSetLayout|Pipeline|PipelineLayout|PipelineCache|QueryPool|` +
		`\w+Bit(Nv)?|\w+FlagBits|PhysicalDeviceType\w+)$`)
	for _, path := range files(t, "*.go") {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		imports := map[string]bool{}
		for _, i := range f.Imports {
			imports[strings.Trim(i.Path.Value, `"`)] = true
			if strings.Trim(i.Path.Value, `"`) == "github.com/goki/vulkan" && (i.Name == nil || i.Name.Name != "goki") {
				t.Errorf("%s: import goki under the name goki", path)
			}
		}
		text := read(t, path)
		if (imports["C"] || imports["github.com/goki/vulkan"]) && !strings.HasPrefix(text, cgoTag+"\n") {
			t.Errorf("%s uses cgo or goki without %s", path, cgoTag)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok {
				if x, ok := s.X.(*ast.Ident); ok {
					if x.Name == "goki" && !allowed.MatchString(s.Sel.Name) {
						t.Errorf("%s: goki.%s is neither a handle nor a constant", path, s.Sel.Name)
					}
					if x.Name == "os" && (s.Sel.Name == "Getenv" || s.Sel.Name == "LookupEnv" || s.Sel.Name == "Environ") {
						t.Errorf("%s reads the environment", path)
					}
				}
			}
			if f, ok := n.(*ast.FuncDecl); ok && f.Name.Name == "init" && f.Recv == nil {
				t.Errorf("%s has an init", path)
			}
			return true
		})
	}
}

// TestStubHasTheSameAPI compares the exported functions and methods of both builds.
func TestStubHasTheSameAPI(t *testing.T) {
	stub, full := map[string]string{}, map[string]string{}
	for _, path := range files(t, "*.go") {
		into := stub
		switch {
		case strings.HasSuffix(path, "_test.go"):
			continue
		case strings.HasPrefix(read(t, path), cgoTag+"\n"):
			into = full
		case path != "stub.go":
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range f.Decls {
			fn, ok := decl.(*ast.FuncDecl)
			if !ok || !fn.Name.IsExported() {
				continue
			}
			name := fn.Name.Name
			if fn.Recv != nil {
				name = types.ExprString(fn.Recv.List[0].Type) + "." + name
			}
			into[name] = signature(fn.Type)
		}
	}
	for name, want := range full {
		if stub[name] != want {
			t.Errorf("%s is %s, in the stub %s", name, want, stub[name])
		}
	}
	if len(stub) != len(full) || len(full) < 30 {
		t.Errorf("%d functions, %d in the stub", len(full), len(stub))
	}
}

// signature leaves the names of parameters out.
func signature(f *ast.FuncType) string {
	list := func(fields *ast.FieldList) string {
		var kinds []string
		if fields != nil {
			for _, field := range fields.List {
				for range max(len(field.Names), 1) {
					kinds = append(kinds, types.ExprString(field.Type))
				}
			}
		}
		return "(" + strings.Join(kinds, ", ") + ")"
	}
	return list(f.Params) + " " + list(f.Results)
}

// TestShimSources: every C file carries the tag (without it the package does not build with -tags novulkan), and
// what it defines for the linker has our prefix.
func TestShimSources(t *testing.T) {
	definition := regexp.MustCompile(`(?m)^[a-zA-Z_][\w \*]*?\**(\w+)\([^;]*\{$`)
	found := 0
	for _, path := range files(t, "*.c") {
		text := read(t, path)
		if !strings.HasPrefix(text, cgoTag+"\n") {
			t.Errorf("%s does not begin with %s", path, cgoTag)
		}
		for _, m := range definition.FindAllStringSubmatch(text, -1) {
			if strings.HasPrefix(m[0], "static") || strings.HasPrefix(m[0], "typedef") {
				continue
			}
			found++
			if !strings.HasPrefix(m[1], "vkattn_") {
				t.Errorf("%s: %s is not static and lacks the prefix vkattn_", path, m[1])
			}
		}
		if regexp.MustCompile(`#include [<"]vulkan`).MatchString(text) {
			t.Errorf("%s includes a Vulkan header", path)
		}
	}
	if found < 20 {
		t.Errorf("the pattern finds only %d functions", found)
	}
}

func TestFilesAreShort(t *testing.T) {
	for _, path := range append(files(t, "*.go"), files(t, "*.[ch]")...) {
		if n := strings.Count(read(t, path), "\n"); n > 500 {
			t.Errorf("%s has %d lines", path, n)
		}
	}
}

// TestShadersAreCommitted: each shader of the tests has its binary beside it, no older than the language it was
// built for.
func TestShadersAreCommitted(t *testing.T) {
	for _, path := range files(t, "testdata/*.comp") {
		spv := strings.TrimSuffix(path, ".comp") + ".spv"
		if b, err := os.ReadFile(spv); err != nil || len(b) < 20 || len(b)%4 != 0 {
			t.Errorf("%s: %v, %d bytes", spv, err, len(b))
		}
	}
}

func files(t *testing.T, pattern string) []string {
	t.Helper()
	list, err := filepath.Glob(pattern)
	if err != nil || len(list) == 0 {
		t.Fatalf("%s: %v, %d files", pattern, err, len(list))
	}
	return list
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
