package counters

import (
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	entries    = "conntrack.entries"
	most       = "conntrack.max"
	free       = "disk.free_bytes"
	leastWait  = 1000     // microseconds of pressure that are told
	leastSpace = 64 << 20 // bytes by which the free space must change
	mostFile   = 4 << 20  // bytes of a file that are read
)

// key is one of the counters that the kernel keeps: those of the same name are told together.
type key struct {
	name string // as it is told
	of   string // the CPU or interface, "" for counters of the host
}

// reader reads everything, and remembers the reading before. It has one user.
type reader struct {
	cfg       Config
	buf       []byte
	last, now map[key]uint64
	values    map[string]uint64 // as they are
	told      map[string]uint64 // as they were last told
	missing   []string          // sentences, each with the cure
	drivers   map[string]bool   // of uplinks: whether it is ena
}

func newReader(cfg Config) *reader {
	return &reader{cfg: cfg, last: map[key]uint64{}, now: map[key]uint64{}, values: map[string]uint64{}, told: map[string]uint64{}, drivers: map[string]bool{}}
}

// read takes a new reading. What cannot be read is left out of it, and then grows from nothing when it is back.
func (r *reader) read() {
	r.last, r.now = r.now, r.last
	clear(r.now)
	clear(r.values)
	r.missing = r.missing[:0]
	uplinks := r.cfg.Uplinks()
	r.file("net/snmp", r.paired)
	r.file("net/netstat", r.paired)
	r.file("net/snmp6", r.listed)
	r.file("net/softnet_stat", r.queues)
	r.file("net/dev", func(text string) { r.devices(text, uplinks) })
	if !r.file("net/stat/nf_conntrack", r.table) {
		r.missing = append(r.missing, "conntrack statistics are not seen: load nf_conntrack, in a kernel with CONFIG_NF_CONNTRACK_PROCFS")
	}
	r.file("sys/net/netfilter/nf_conntrack_max", func(text string) { r.value(most, strings.TrimSpace(text)) })
	waits := true
	for _, of := range []string{"cpu", "memory", "io"} {
		waits = r.file("pressure/"+of, func(text string) { r.pressure(of, text) }) && waits
	}
	if !waits {
		r.missing = append(r.missing, "pressure is not seen: boot a kernel with CONFIG_PSI, and with psi=1")
	}
	r.allowances(uplinks)
	r.space()
}

// file gives a file of procfs to a parser, and says whether it is there.
func (r *reader) file(name string, parse func(text string)) bool {
	f, err := os.Open(r.cfg.Proc + "/" + name)
	if err != nil {
		return false
	}
	defer f.Close()
	r.buf = r.buf[:0]
	for len(r.buf) < mostFile {
		r.buf = slices.Grow(r.buf, 8<<10)
		n, err := f.Read(r.buf[len(r.buf):cap(r.buf)])
		r.buf = r.buf[:len(r.buf)+n]
		if err == io.EOF {
			break
		}
		if err != nil {
			return false
		}
	}
	parse(string(r.buf))
	return true
}

func (r *reader) value(name, text string) {
	if v, err := strconv.ParseUint(text, 10, 64); err == nil {
		r.values[name] = v
	}
}

// allowances asks the driver of uplinks that are ena's.
func (r *reader) allowances(uplinks []string) {
	for _, name := range uplinks {
		ena, known := r.drivers[name]
		if !known {
			driver, _ := os.Readlink(filepath.Join(r.cfg.Sys, "class/net", name, "device/driver"))
			ena = filepath.Base(driver) == "ena"
			r.drivers[name] = ena
		}
		if !ena {
			continue
		}
		if r.cfg.Driver == nil {
			r.missing = append(r.missing, "the EC2 allowances of "+name+" are not seen: this build cannot ask drivers")
			continue
		}
		statistics, err := r.cfg.Driver(name)
		if err != nil {
			r.missing = append(r.missing, "the EC2 allowances of "+name+" are not seen: "+err.Error())
		}
		for _, s := range allowances {
			if v, ok := statistics[s]; ok {
				r.now[key{"ena." + name + "." + s, ""}] = v
			}
		}
		if v, ok := statistics[available]; ok {
			r.values["ena."+name+"."+available] = v
		}
	}
	for name := range r.drivers { // it may come back as another
		if !slices.Contains(uplinks, name) {
			delete(r.drivers, name)
		}
	}
}

func (r *reader) space() {
	if r.cfg.SpoolDir == "" {
		return
	}
	var s unix.Statfs_t
	if err := unix.Statfs(r.cfg.SpoolDir, &s); err != nil {
		r.missing = append(r.missing, "the free space of "+r.cfg.SpoolDir+" is not seen: "+err.Error())
		return
	}
	r.values[free] = s.Bavail * uint64(s.Bsize)
}

// nothing says whether there is not one counter.
func (r *reader) nothing() bool { return len(r.now) == 0 }

// blind is what the last reading lacks.
func (r *reader) blind() []string { return slices.Clone(r.missing) }

// totals is the last reading.
func (r *reader) totals() map[string]uint64 {
	all := map[string]uint64{}
	for k, v := range r.now {
		if v > 0 {
			all[k.name] += v
		}
	}
	for name, v := range r.values {
		all[name], r.told[name] = v, v
	}
	return all
}

// changes is what differs between the last two readings.
func (r *reader) changes() map[string]uint64 {
	all := map[string]uint64{}
	for k, v := range r.now {
		before, ok := r.last[k]
		if !ok || v == before {
			continue
		}
		d := growth(before, v, k.narrow())
		if strings.HasPrefix(k.name, "psi.") && v > before && d < leastWait {
			r.now[k] = before // saved up
			continue
		}
		if d > 0 {
			all[k.name] += d
		}
	}
	for name, v := range r.values {
		if before, ok := r.told[name]; !ok || changed(name, before, v) {
			all[name], r.told[name] = v, v
		}
	}
	return all
}

// isValue says whether a name is that of a value, not of a counter.
func isValue(name string) bool {
	return name == entries || name == most || name == free || strings.HasSuffix(name, available)
}

// changed says whether a value differs enough to be told.
func changed(name string, before, now uint64) bool {
	d := max(before, now) - min(before, now)
	switch {
	case name == free:
		return d >= leastSpace
	case strings.HasSuffix(name, available):
		return d > before/10
	}
	return d > 0
}

// narrow says whether the kernel keeps the counter in 32 bits: struct ip_conntrack_stat and softnet_data do.
func (k key) narrow() bool {
	return strings.HasPrefix(k.name, "conntrack.") || strings.HasPrefix(k.name, "softnet.")
}

// leap is what a counter of 32 bits cannot grow by between two readings: it would have started anew.
const leap = 1 << 28

// growth is by how much a counter has grown, 0 if it has started anew.
func growth(before, now uint64, narrow bool) uint64 {
	if now >= before {
		return now - before
	}
	if d := uint64(uint32(now) - uint32(before)); narrow && d < leap {
		return d
	}
	return 0
}
