package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// driver says how to run a binary so that it sees one Vulkan driver only.
type driver struct {
	name   string
	device string   // part of the device's name
	icd    string   // path of the ICD file, where the binary runs
	prefix []string // command that the binary is an argument of
}

func findDriver(name string) (driver, error) {
	switch name {
	case "lavapipe":
		for _, dir := range []string{"/usr/share", "/usr/local/share", "/etc"} {
			if found, _ := filepath.Glob(dir + "/vulkan/icd.d/lvp_icd*.json"); len(found) > 0 {
				return driver{name: name, device: "llvmpipe", icd: found[0]}, nil
			}
		}
		return driver{}, errors.New("lavapipe: no lvp_icd*.json; run tools/setup.sh test")
	case "swiftshader":
		icd, err := output("tools/swiftshader.sh")
		return driver{name: name, device: "SwiftShader", icd: icd}, err
	case "sid":
		root, err := output("tools/root.sh", "path")
		if err != nil {
			return driver{}, err
		}
		found, _ := filepath.Glob(root + "/usr/share/vulkan/icd.d/lvp_icd*.json")
		if len(found) == 0 {
			return driver{}, fmt.Errorf("sid: no lavapipe in %s", root)
		}
		script, err := filepath.Abs("tools/root.sh")
		return driver{name: name, device: "llvmpipe", icd: strings.TrimPrefix(found[0], root),
			prefix: []string{script, "exec"}}, err
	}
	return driver{}, fmt.Errorf("no driver %q: %s", name, defaultDrivers)
}

func output(name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%s: %w", name, err)
	}
	return strings.TrimSpace(string(out)), err
}
