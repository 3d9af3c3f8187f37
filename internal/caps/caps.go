// Package caps holds recorded capabilities of devices, so that a plan can be made, tested and explained for a
// device that is not there. README.md says where every record comes from and what is filled in.
package caps

import (
	"embed"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/vkattn/vkattn/vk"
)

//go:embed *.json
var files embed.FS

// Record is one recorded device: what it can do, and how that is known.
type Record struct {
	Name   string  `json:"-"`      // of the record: the file's, without .json
	Source string  `json:"source"` // where the values come from, with the licence
	System string  `json:"system"` // operating system
	Caps   vk.Caps `json:"caps"`
}

// Names lists the embedded records, sorted.
func Names() []string {
	entries, err := files.ReadDir(".")
	if err != nil {
		return nil // an embedded root is always there
	}
	var names []string
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), ".json"))
	}
	return names
}

// Load returns an embedded record: by its name, or by a part of it or of the device's name that fits no
// other record. Case does not matter. Otherwise the error lists what fits.
func Load(name string) (Record, error) {
	want := strings.ToLower(strings.TrimSuffix(name, ".json"))
	all, err := All()
	if err != nil {
		return Record{}, err
	}
	var fits []Record
	for _, r := range all {
		if r.Name == want {
			return r, nil
		}
		if want != "" && (strings.Contains(r.Name, want) || strings.Contains(strings.ToLower(r.Caps.Name), want)) {
			fits = append(fits, r)
		}
	}
	if len(fits) == 1 {
		return fits[0], nil
	}
	names := Names()
	if len(fits) > 1 {
		names = names[:0]
		for _, r := range fits {
			names = append(names, r.Name)
		}
		return Record{}, fmt.Errorf("%q fits several records: %s", name, strings.Join(names, ", "))
	}
	return Record{}, fmt.Errorf("no record %q; there is %s", name, strings.Join(names, ", "))
}

// All returns the embedded records, sorted by name.
func All() ([]Record, error) {
	var all []Record
	for _, name := range Names() {
		text, err := files.ReadFile(name + ".json")
		if err != nil {
			return nil, err
		}
		found, err := Parse(text)
		if err != nil {
			return nil, fmt.Errorf("record %s: %w", name, err)
		}
		found[0].Name = name
		all = append(all, found[0])
	}
	return all, nil
}

// Read reads the records of a file: a record like the embedded ones, the capabilities alone, or the output
// of vkattn devices --json.
func Read(path string) ([]Record, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	records, err := Parse(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	for i := range records {
		records[i].Name = path
		if records[i].Source == "" {
			records[i].Source = path
		}
	}
	return records, nil
}

// Parse reads what Read takes.
func Parse(text []byte) ([]Record, error) {
	var probe struct {
		Caps    json.RawMessage `json:"caps"`
		Devices []Record        `json:"devices"`
		Name    string          `json:"name"`
	}
	if err := json.Unmarshal(text, &probe); err != nil {
		return nil, fmt.Errorf("not a capability record: %w", err)
	}
	var records []Record
	switch {
	case probe.Devices != nil:
		// The CPU is in that list too, without capabilities.
		records = slices.DeleteFunc(probe.Devices, func(r Record) bool { return r.Caps.Name == "" })
	case probe.Caps != nil:
		records = make([]Record, 1)
		if err := json.Unmarshal(text, &records[0]); err != nil {
			return nil, fmt.Errorf("not a capability record: %w", err)
		}
	case probe.Name != "":
		records = make([]Record, 1)
		if err := json.Unmarshal(text, &records[0].Caps); err != nil {
			return nil, fmt.Errorf("not a capability record: %w", err)
		}
	}
	if len(records) == 0 {
		return nil, fmt.Errorf("no capabilities in it, want the output of vkattn devices --json")
	}
	return records, nil
}
