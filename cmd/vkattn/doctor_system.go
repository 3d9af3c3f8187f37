package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// driverFile is a Vulkan driver as the loader finds it: a JSON file that names a library.
type driverFile struct {
	Path    string `json:"path"`
	Library string `json:"library,omitempty"` // as the file names it
	API     string `json:"api,omitempty"`     // that the file promises
	Found   string `json:"found,omitempty"`   // where the library lies, if in one of the usual places
	Problem string `json:"problem,omitempty"`
}

// driverFiles are those that the loader looks at on Linux, in its order. Windows keeps them in the registry.
func driverFiles(getenv func(string) string) []driverFile {
	files := []driverFile{}
	if runtime.GOOS != "linux" {
		return files
	}
	var paths []string
	add := func(list string) {
		for _, p := range filepath.SplitList(list) {
			if info, err := os.Stat(p); err == nil && info.IsDir() {
				in, _ := filepath.Glob(filepath.Join(p, "*.json"))
				paths = append(paths, in...)
			} else if p != "" {
				paths = append(paths, p)
			}
		}
	}
	if only := getenv("VK_DRIVER_FILES") + getenv("VK_ICD_FILENAMES"); only != "" {
		if add(getenv("VK_DRIVER_FILES")); len(paths) == 0 {
			add(getenv("VK_ICD_FILENAMES"))
		}
	} else {
		add(getenv("VK_ADD_DRIVER_FILES"))
		home := getenv("HOME")
		for _, dirs := range []string{
			cmp.Or(getenv("XDG_CONFIG_HOME"), filepath.Join(home, ".config")), cmp.Or(getenv("XDG_CONFIG_DIRS"), "/etc/xdg"), "/usr/local/etc", "/etc",
			cmp.Or(getenv("XDG_DATA_HOME"), filepath.Join(home, ".local/share")), cmp.Or(getenv("XDG_DATA_DIRS"), "/usr/local/share:/usr/share"),
		} {
			for _, dir := range filepath.SplitList(dirs) {
				in, _ := filepath.Glob(filepath.Join(dir, "vulkan/icd.d/*.json"))
				paths = append(paths, in...)
			}
		}
	}
	seen := map[string]bool{}
	for _, p := range paths {
		if !seen[p] {
			seen[p] = true
			files = append(files, readDriver(p, getenv("LD_LIBRARY_PATH")))
		}
	}
	return files
}

// readDriver reads one of the files.
func readDriver(path, libraryPath string) driverFile {
	d := driverFile{Path: path}
	text, err := os.ReadFile(path)
	var content struct {
		ICD struct {
			Library string `json:"library_path"`
			API     string `json:"api_version"`
		}
	}
	if err == nil {
		err = json.Unmarshal(text, &content)
	}
	if err != nil {
		d.Problem = err.Error()
		return d
	}
	d.Library, d.API = content.ICD.Library, content.ICD.API
	if strings.Contains(d.Library, "/") {
		if d.Found = d.Library; !filepath.IsAbs(d.Found) {
			d.Found = filepath.Join(filepath.Dir(path), d.Found)
		}
		if _, err := os.Stat(d.Found); err != nil {
			d.Found, d.Problem = "", "its library is not there"
		}
		return d
	}
	dirs := append(filepath.SplitList(libraryPath), "/lib", "/usr/lib", "/usr/local/lib", "/lib64", "/usr/lib64")
	for _, root := range []string{"/lib", "/usr/lib", "/usr/local/lib"} {
		multiarch, _ := filepath.Glob(root + "/*-linux-gnu*")
		dirs = append(dirs, multiarch...)
	}
	for _, dir := range dirs {
		if file := filepath.Join(dir, d.Library); isFile(file) {
			d.Found = file
			return d
		}
	}
	d.Problem = "its library is in none of the usual folders"
	return d
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && !info.IsDir()
}

// switches are the environment variables in force that change which devices and kernels there are.
func switches(getenv func(string) string) map[string]string {
	set := map[string]string{}
	for _, name := range []string{
		"VKATTN_DISABLE", "VK_DRIVER_FILES", "VK_ICD_FILENAMES", "VK_ADD_DRIVER_FILES", "VK_LOADER_DRIVERS_SELECT", "VK_LOADER_DRIVERS_DISABLE",
		"VK_INSTANCE_LAYERS", "VK_LOADER_LAYERS_ENABLE", "VK_LOADER_LAYERS_DISABLE", "VK_LAYER_PATH", "VK_LOADER_DEBUG", "MESA_VK_DEVICE_SELECT",
		"NVIDIA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES", "CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH", "XDG_CACHE_HOME",
	} {
		if v := getenv(name); v != "" {
			set[name] = v
		}
	}
	return set
}

// card is a graphics card, or another accelerator of its kind, on the PCI bus.
type card struct {
	Slot   string `json:"slot"`
	Vendor uint32 `json:"vendor_id"`
	Device uint32 `json:"device_id"`
	Kernel string `json:"kernel_driver,omitempty"`
}

// cards reads the PCI bus of Linux below sys.
func cards(sys string) []card {
	found := []card{}
	slots, _ := filepath.Glob(filepath.Join(sys, "bus/pci/devices/*"))
	for _, slot := range slots {
		class := hexFile(filepath.Join(slot, "class")) >> 16
		if class != 0x03 && class != 0x12 { // display controllers, processing accelerators
			continue
		}
		c := card{Slot: filepath.Base(slot), Vendor: hexFile(filepath.Join(slot, "vendor")), Device: hexFile(filepath.Join(slot, "device"))}
		if driver, err := os.Readlink(filepath.Join(slot, "driver")); err == nil {
			c.Kernel = filepath.Base(driver)
		}
		found = append(found, c)
	}
	return found
}

func hexFile(path string) (n uint32) {
	text, _ := os.ReadFile(path)
	_, _ = fmt.Sscanf(strings.TrimSpace(string(text)), "0x%x", &n)
	return n
}

// vendors are the makers of GPUs, with what brings a Vulkan driver for them on Debian and its descendants.
var vendors = map[uint32]struct{ name, driver string }{
	0x10de: {"NVIDIA", "nvidia-vulkan-icd (Debian) or libnvidia-gl-VERSION (Ubuntu); in a container also NVIDIA_DRIVER_CAPABILITIES=all, or with graphics in it"},
	0x1002: {"AMD", "mesa-vulkan-drivers"},
	0x8086: {"Intel", "mesa-vulkan-drivers"},
}

// advise says what to do about what is missing.
func (d *diagnosis) advise() {
	say := func(format string, args ...any) {
		if text := fmt.Sprintf(format, args...); !slices.Contains(d.Advice, text) {
			d.Advice = append(d.Advice, text)
		}
	}
	if len(d.Devices) == 0 {
		say("%s", noDriverHint())
	}
	if !d.Vulkan {
		return
	}
	for _, f := range d.Drivers {
		if f.Problem != "" {
			say("%s: %s.", f.Path, f.Problem)
		}
	}
	for _, c := range d.Cards {
		v, known := vendors[c.Vendor]
		if known && !slices.ContainsFunc(d.Devices, func(p patient) bool { return p.Caps.VendorID == c.Vendor }) {
			say("There is a GPU of %s in slot %s, and no Vulkan driver offers it. What brings one: %s.", v.name, c.Slot, v.driver)
		}
	}
	nodes, _ := filepath.Glob("/dev/dri/renderD*")
	for _, node := range nodes {
		f, err := os.OpenFile(node, os.O_RDWR, 0)
		if err == nil {
			f.Close()
		} else if os.IsPermission(err) {
			say("%s may not be opened: add this user to the group that owns it (mostly render).", node)
		}
	}
}
