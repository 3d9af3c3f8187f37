package report

import (
	"path/filepath"
	"strings"

	"github.com/vkattn/vkattn/internal/bench"
)

// identity tells contestants apart. file is empty unless two files have the same contestant on the same problem.
type identity struct{ file, label, device, driver, kernel string }

// contestant is a device with a kernel on a machine; it has the same colour and mark in every plot.
type contestant struct {
	identity
	name  string
	index int
}

// entry is a record and whose it is.
type entry struct {
	*bench.Record
	who   *contestant // nil for what nobody in particular was asked for
	ratio float64     // over the time that it is compared with, of all files; 0 is unknown
}

// assign finds the contestants of all files, in the order of their first measured record. Parts of one run in
// several files are one contestant; the same problem measured in two files makes two.
func assign(files []bench.File) (entries []entry, all []*contestant) {
	id := func(file string, r *bench.Record) identity {
		_, kernel, _ := strings.Cut(r.Asked, "/")
		return identity{file, r.Label, r.Report.Device, r.Report.Driver, kernel}
	}
	type measured struct {
		identity
		problem string
	}
	where, twice := map[measured]string{}, map[identity]bool{}
	for _, f := range files {
		for i := range f.Records {
			r := &f.Records[i]
			if !r.Measured() {
				continue
			}
			m := measured{id("", r), r.Problem}
			if at, ok := where[m]; ok && at != f.Name {
				twice[m.identity] = true
			}
			where[m] = f.Name
		}
	}
	found := map[identity]*contestant{}
	for _, f := range files {
		for i := range f.Records {
			r := &f.Records[i]
			if r.Report.Device == "" {
				entries = append(entries, entry{Record: r})
				continue
			}
			key := id("", r)
			if twice[key] {
				key.file = f.Name
			}
			c := found[key]
			if c == nil {
				c = &contestant{identity: key}
				found[key] = c
			}
			if c.name == "" && r.Measured() {
				c.index = len(all)
				c.name = c.text()
				all = append(all, c)
			}
			entries = append(entries, entry{Record: r, who: c})
		}
	}
	return entries, all
}

// text is short: no driver, no folder.
func (c *contestant) text() string {
	name := c.device
	if c.kernel != "" {
		name += ", " + c.kernel
	}
	if c.label != "" {
		name = c.label + ": " + name
	}
	if c.file != "" {
		name += " (" + strings.TrimSuffix(filepath.Base(c.file), filepath.Ext(c.file)) + ")"
	}
	return name
}
