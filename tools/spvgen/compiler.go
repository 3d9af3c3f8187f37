package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/vkattn/vkattn/internal/spirv"
	"github.com/vkattn/vkattn/shaders"
)

// flags of glslc for every variant, beside the target environment and the defines. -g keeps the names
// that -O would drop; what else it adds is stripped.
const flags = "-O -g -Werror -fshader-stage=compute"

// minimumYear of shaderc: older ones know no cooperative matrices.
const minimumYear = 2024

// compiler runs glslc and spirv-val, on this machine or in the root of tools/root.sh.
type compiler struct {
	glslc, val []string
	version    string // "shaderc 2026.4-1"
	tmp        string // inside the repository, which the root sees
}

var shadercYear = regexp.MustCompile(`^shaderc v?(\d{4})\.`)

func newCompiler() (*compiler, error) {
	c := &compiler{}
	if err := c.find(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll("build", 0o755); err != nil {
		return nil, err
	}
	tmp, err := os.MkdirTemp("build", "spvgen")
	c.tmp = filepath.ToSlash(tmp)
	return c, err
}

func (c *compiler) close() { os.RemoveAll(c.tmp) }

// find picks the tools: $GLSLC and $SPIRV_VAL, or both from the PATH, or both from the root.
func (c *compiler) find() error {
	if glslc := os.Getenv("GLSLC"); glslc != "" {
		val := os.Getenv("SPIRV_VAL")
		if val == "" {
			val = "spirv-val"
		}
		c.glslc, c.val = []string{glslc}, []string{val}
		return c.ask()
	}
	c.glslc, c.val = []string{"glslc"}, []string{"spirv-val"}
	if c.ask() == nil && c.year() >= minimumYear {
		if _, err := exec.LookPath("spirv-val"); err == nil {
			return nil
		}
	}
	c.glslc, c.val = []string{"tools/root.sh", "exec", "glslc"}, []string{"tools/root.sh", "exec", "spirv-val"}
	if err := c.ask(); err != nil {
		return fmt.Errorf("no shader compiler (set GLSLC, or install shaderc %d or later): %w", minimumYear, err)
	}
	return nil
}

func (c *compiler) ask() error {
	cmd := exec.Command(c.glslc[0], append(c.glslc[1:], "--version")...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return err
	}
	c.version, _, _ = strings.Cut(string(out), "\n")
	return nil
}

func (c *compiler) year() int {
	if m := shadercYear.FindStringSubmatch(c.version); m != nil {
		n, _ := strconv.Atoi(m[1])
		return n
	}
	return 0
}

// job is one call of glslc; paths are relative to the repository.
type job struct {
	name, source, env string
	defines           []string
	includes          []string // all files that it may include, relative to shaders/; nil: not checked
}

// build compiles a variant and fills in the rest of its entry. It returns the module.
func (c *compiler) build(e *shaders.Entry) ([]byte, error) {
	code, err := c.compile(job{name: e.Name, source: path.Join(sources, e.Source), env: e.TargetEnv,
		defines: e.Defines, includes: append([]string{e.Source}, e.Includes...)})
	if err != nil {
		return nil, err
	}
	if e.Module, err = spirv.Parse(code); err != nil {
		return nil, err
	}
	if e.SharedBytes, err = e.Module.SharedBytes(nil); err != nil {
		return nil, err
	}
	b := spirv.Bytes(code)
	e.Compiler, e.Bytes, e.SPIRVSHA256 = c.version, len(b), sum(b)
	return b, nil
}

func (c *compiler) compile(j job) ([]uint32, error) {
	raw, stripped, deps := c.tmp+"/"+j.name+".raw", c.tmp+"/"+j.name+".spv", c.tmp+"/"+j.name+".d"
	args := append(strings.Fields(flags), "--target-env="+j.env, "-MD", "-MF", deps, "-o", raw)
	for _, d := range j.defines {
		args = append(args, "-D"+d)
	}
	if err := runTool(c.glslc, append(args, j.source)...); err != nil {
		return nil, err
	}
	if err := checkDeps(deps, j.includes); err != nil {
		return nil, err
	}
	b, err := os.ReadFile(raw)
	if err != nil {
		return nil, err
	}
	code, err := spirv.Words(b)
	if err != nil {
		return nil, err
	}
	if code, err = spirv.Strip(code); err != nil {
		return nil, err
	}
	if err := os.WriteFile(stripped, spirv.Bytes(code), 0o644); err != nil {
		return nil, err
	}
	validate := []string{"--target-env", j.env}
	if usesScalarLayout(j) {
		validate = append(validate, "--scalar-block-layout")
	}
	return code, runTool(c.val, append(validate, stripped)...)
}

// checkDeps proves that the hash of the sources covers each file that glslc read.
func checkDeps(path string, known []string) error {
	b, err := os.ReadFile(path)
	if err != nil || known == nil {
		return err
	}
	_, list, _ := strings.Cut(string(b), ":")
	for _, f := range strings.Fields(strings.ReplaceAll(list, "\\\n", " ")) {
		rel, err := filepath.Rel(sources, filepath.Clean(f))
		if err != nil || !slices.Contains(known, filepath.ToSlash(rel)) {
			return fmt.Errorf("glslc read %s, which the hash of the sources does not cover", f)
		}
	}
	return nil
}

func usesScalarLayout(j job) bool {
	for _, name := range append([]string{j.source}, prefixed(j.includes)...) {
		if b, err := os.ReadFile(name); err == nil && strings.Contains(string(b), "GL_EXT_scalar_block_layout") {
			return true
		}
	}
	return false
}

func prefixed(names []string) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = path.Join(sources, n)
	}
	return out
}

// runTool shows what a tool says only when it fails.
func runTool(tool []string, args ...string) error {
	cmd := exec.Command(tool[0], append(slices.Clone(tool[1:]), args...)...)
	out, err := cmd.CombinedOutput()
	var failed *exec.ExitError
	if errors.As(err, &failed) {
		return fmt.Errorf("%s: %w\n%s", path.Base(tool[len(tool)-1]), err, out)
	}
	return err
}
