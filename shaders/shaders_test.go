package shaders_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vkattn/vkattn/internal/spirv"
	"github.com/vkattn/vkattn/shaders"
)

// These tests need no shader compiler. They fail when a source, an include, the table of variants or a
// module changed without the others; `make shaders` brings them together again.

const remedy = "; run `make shaders`"

func entries(t *testing.T) map[string]shaders.Entry {
	t.Helper()
	list, err := shaders.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	byName := map[string]shaders.Entry{}
	for _, e := range list {
		byName[e.Name] = e
	}
	if len(byName) != len(list) {
		t.Fatal("a name is twice in the manifest" + remedy)
	}
	return byName
}

func TestTable(t *testing.T) {
	byName := entries(t)
	inTable := map[string]bool{}
	for _, v := range shaders.Variants() {
		if inTable[v.Name] {
			t.Errorf("%s is twice in the table", v.Name)
		}
		inTable[v.Name] = true
		if _, ok := byName[v.Name]; !ok {
			t.Errorf("%s is not in the manifest"+remedy, v.Name)
		}
	}
	for name := range byName {
		if !inTable[name] {
			t.Errorf("%s is in the manifest but not in the table"+remedy, name)
		}
	}
	modules, err := filepath.Glob("spv/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range modules {
		name := strings.TrimSuffix(filepath.Base(path), ".spv")
		if !inTable[name] && name != "manifest.json" {
			t.Errorf("%s belongs to no variant"+remedy, path)
		}
	}
	if !slices.Equal(shaders.Names(), shaders.Names()) || len(shaders.Names()) != len(inTable) {
		t.Errorf("Names() = %q", shaders.Names())
	}
}

func TestFresh(t *testing.T) {
	byName := entries(t)
	for _, v := range shaders.Variants() {
		t.Run(v.Name, func(t *testing.T) {
			e := byName[v.Name]
			hash, sources, err := spirv.SourceHash(os.DirFS("."), v.Source)
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case e.Source != v.Source || e.TargetEnv != v.Env() || !slices.Equal(e.Defines, v.Defines):
				t.Fatalf("compiled from %s %q for %s, the table says %s %q for %s"+remedy,
					e.Source, e.Defines, e.TargetEnv, v.Source, v.Defines, v.Env())
			case !slices.Equal(e.Includes, sources[1:]):
				t.Fatalf("compiled with includes %q, now %q"+remedy, e.Includes, sources[1:])
			case e.SourceSHA256 != hash:
				t.Fatalf("%q changed since the module was compiled"+remedy, sources)
			}
		})
	}
}

func TestModules(t *testing.T) {
	byName := entries(t)
	for _, v := range shaders.Variants() {
		t.Run(v.Name, func(t *testing.T) {
			e := byName[v.Name]
			m, err := shaders.Load(v.Name)
			if err != nil {
				t.Fatal(err)
			}
			raw := spirv.Bytes(m.Code)
			if sum := sha256.Sum256(raw); hex.EncodeToString(sum[:]) != e.SPIRVSHA256 || len(raw) != e.Bytes {
				t.Error("the module is not the one in the manifest" + remedy)
			}
			want, _ := json.Marshal(e.Module)
			got, _ := json.Marshal(m.Info)
			if string(got) != string(want) {
				t.Errorf("reflection differs from the manifest"+remedy+"\n%s", difference(got, want))
			}
			shared, err := m.Info.SharedBytes(nil)
			if err != nil || shared != e.SharedBytes {
				t.Errorf("SharedBytes = %d, %v; the manifest says %d"+remedy, shared, err, e.SharedBytes)
			}
			if len(m.Info.EntryPoints) != 1 || m.Info.EntryPoints[0].Name != "main" || m.Info.EntryPoints[0].Model != "GLCompute" {
				t.Errorf("entry points %+v, want one compute main", m.Info.EntryPoints)
			}
			var needs []string
			for _, c := range m.Info.Capabilities {
				if c != "Shader" {
					needs = append(needs, c)
				}
			}
			if requires := slices.Sorted(slices.Values(v.Requires)); !slices.Equal(needs, requires) {
				t.Errorf("the module declares capabilities %q, the table says %q", needs, requires)
			}
			for _, s := range m.Info.Spec {
				if s.Name == "" {
					t.Errorf("constant_id %d has no name in the module", s.ID)
				}
			}
		})
	}
}

// TestMatricesAligned: what a matrix is loaded from or stored to in shared memory is an array of vectors. One of scalars may begin anywhere, and Vulkan wants 16 bytes.
func TestMatricesAligned(t *testing.T) {
	const opTypeVector, opTypePointer, opAccessChain, opInBoundsAccessChain, opLoad, opStore, workgroup = 23, 32, 65, 66, 4457, 4458, 4
	found := 0
	for _, v := range shaders.Variants() {
		m, err := shaders.Load(v.Name)
		if err != nil {
			t.Fatal(err)
		}
		vectors, pointers, typeOf := map[uint32]bool{}, map[uint32]uint32{}, map[uint32]uint32{} // pointers: to what, in shared memory
		for at := 5; at < len(m.Code); at += int(m.Code[at] >> 16) {
			args := m.Code[at+1 : at+int(m.Code[at]>>16)]
			pointer := uint32(0)
			switch m.Code[at] & 0xffff {
			case opTypeVector:
				vectors[args[0]] = true
			case opTypePointer:
				if args[1] == workgroup {
					pointers[args[0]] = args[2]
				}
			case opAccessChain, opInBoundsAccessChain:
				typeOf[args[1]] = args[0]
			case opLoad:
				pointer = args[2]
			case opStore:
				pointer = args[0]
			}
			if to, shared := pointers[typeOf[pointer]]; shared {
				if found++; !vectors[to] {
					t.Errorf("%s: word %d: a matrix in an array of scalars", v.Name, at)
				}
			}
		}
	}
	if found < 20 {
		t.Errorf("%d matrices in shared memory", found)
	}
}

// difference shows two texts around the place where they part.
func difference(got, want []byte) string {
	at := 0
	for at < min(len(got), len(want)) && got[at] == want[at] {
		at++
	}
	around := func(b []byte) []byte { return b[max(0, min(len(b), at)-60):min(len(b), at+60)] }
	return "module   " + string(around(got)) + "\nmanifest " + string(around(want))
}

func TestLoadCopies(t *testing.T) {
	if _, err := shaders.Load("no such variant"); err == nil {
		t.Error("Load of an unknown name: no error")
	}
	for _, name := range shaders.Names() {
		a, err := shaders.Load(name)
		if err != nil {
			t.Fatal(err)
		}
		a.Code[0] = 0
		if b, err := shaders.Load(name); err != nil || b.Code[0] == 0 {
			t.Errorf("%s: Load shares its words between callers", name)
		}
	}
}
