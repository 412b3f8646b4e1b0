package counters

import (
	"slices"
	"strconv"
	"strings"
)

// paired parses pairs of lines, names and numbers, each after the name of its group: /proc/net/snmp and netstat.
func (r *reader) paired(text string) {
	for text != "" {
		var names, numbers string
		names, text, _ = strings.Cut(text, "\n")
		numbers, text, _ = strings.Cut(text, "\n")
		of, names, _ := strings.Cut(names, ": ")
		same, numbers, _ := strings.Cut(numbers, ": ")
		g := wanted[of]
		if g == nil || same != of {
			continue
		}
		for names != "" && numbers != "" {
			var name, number string
			name, names, _ = strings.Cut(names, " ")
			number, numbers, _ = strings.Cut(numbers, " ")
			r.count(g.names[name], "", number, 10)
		}
	}
}

// listed parses lines of a name, whose group is its beginning, and a number: /proc/net/snmp6.
func (r *reader) listed(text string) {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) != 2 {
			continue
		}
		group, name, ok := strings.Cut(f[0], "6")
		if g := wanted[group+"6"]; ok && g != nil {
			r.count(g.names[name], "", f[1], 10)
		}
	}
}

// table parses /proc/net/stat/nf_conntrack: a header, and a line in hexadecimal for each CPU. The number of entries is the same in
// each.
func (r *reader) table(text string) {
	header, rest, _ := strings.Cut(text, "\n")
	names := strings.Fields(header)
	cpu := 0
	for line := range strings.Lines(rest) {
		of := strconv.Itoa(cpu)
		for i, number := range strings.Fields(line) {
			if i == len(names) {
				break
			}
			if names[i] == "entries" && cpu == 0 {
				if v, err := strconv.ParseUint(number, 16, 32); err == nil {
					r.values[entries] = v
				}
			}
			r.count(wanted["conntrack"].names[names[i]], of, number, 16)
		}
		cpu++
	}
}

// queues parses /proc/net/softnet_stat: a line in hexadecimal for each CPU that is on, with its number in the 13th column.
func (r *reader) queues(text string) {
	const number = 12
	row := 0
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		of := "row " + strconv.Itoa(row)
		if len(f) > number {
			of = f[number]
		}
		for i, name := range softnet {
			if i < len(f) {
				r.count(name, of, f[i], 16)
			}
		}
		row++
	}
}

// devices parses /proc/net/dev: two lines of header, and one for each interface.
func (r *reader) devices(text string, uplinks []string) {
	for line := range strings.Lines(text) {
		name, numbers, ok := strings.Cut(line, ":")
		name = strings.TrimSpace(name)
		if !ok || name == "lo" {
			continue
		}
		uplink := slices.Contains(uplinks, name)
		for i, number := range strings.Fields(numbers) {
			switch {
			case i >= len(device) || device[i] == "":
			case uplink:
				r.count("link."+name+"."+device[i], "", number, 10)
			default:
				r.count(others[i], name, number, 10)
			}
		}
	}
}

// others are the names of device for all interfaces but uplinks.
var others = func() []string {
	names := make([]string, len(device))
	for i, name := range device {
		names[i] = "link.others." + name
	}
	return names
}()

// pressure parses a file of /proc/pressure: "some avg10=0.00 avg60=0.00 avg300=0.00 total=123", and the same with full.
func (r *reader) pressure(of, text string) {
	for line := range strings.Lines(text) {
		which, rest, _ := strings.Cut(line, " ")
		if _, total, ok := strings.Cut(rest, "total="); ok && (which == "some" || which == "full") {
			r.count("psi."+of+"."+which+"_us", "", strings.TrimSpace(total), 10)
		}
	}
}

// count takes a counter into the reading. Those without a name are not wanted; a negative number is none.
func (r *reader) count(name, of, number string, base int) {
	if name == "" {
		return
	}
	if v, err := strconv.ParseUint(number, base, 64); err == nil {
		r.now[key{name, of}] = v
	}
}
