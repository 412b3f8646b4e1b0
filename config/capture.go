package config

import (
	"errors"
	"fmt"
	"net/netip"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/ringside/ringside/capture"
	"github.com/ringside/ringside/capture/filter"
)

// Bounds of capture.ring, in bytes. The least is two rings of the least size; how many there will be is known at start.
const (
	minRing = 8 << 20
	maxRing = 16 << 30
)

// maxServices is more than any kernel takes, and few enough for the compiler to say so within a second.
const maxServices = 500

func (d *decoder) capture(n *yaml.Node, path string, c *capture.Config) {
	d.object(n, path,
		field{"interfaces", func(n *yaml.Node, path string) { d.interfaces(n, path, c) }},
		field{"services", func(n *yaml.Node, path string) { d.services(n, path, c) }},
		field{"ring", d.size(&c.Ring, minRing, maxRing)},
	)
}

func (d *decoder) interfaces(n *yaml.Node, path string, c *capture.Config) {
	c.Interfaces = nil
	before := len(d.problems)
	d.list(n, path, func(n *yaml.Node, path string) {
		rule, ok := d.interfaceRule(n, path)
		if i := slices.IndexFunc(c.Interfaces, func(r capture.InterfaceRule) bool { return r.Name == rule.Name }); ok && i >= 0 {
			d.problem(n, path, "%q is listed twice: remove one", rule.Name)
		} else if ok {
			c.Interfaces = append(c.Interfaces, rule)
		}
	})
	if len(c.Interfaces) == 0 && len(d.problems) == before {
		d.problem(n, path, "no interface is listed: nothing would be recorded, write [auto]")
	}
}

func (d *decoder) interfaceRule(n *yaml.Node, path string) (r capture.InterfaceRule, ok bool) {
	before := len(d.problems)
	name := d.scalar(func(s string) error {
		r.Name = s
		return checkInterface(s)
	})
	if n.Kind != yaml.MappingNode {
		name(n, path)
		return r, len(d.problems) == before
	}
	d.object(n, path,
		field{"name", name},
		field{"require", d.flag(&r.Require)},
		field{"ring", d.choice(&r.Ring, capture.RingOwn, capture.RingShared)})
	if r.Name == "" && len(d.problems) == before {
		d.problem(n, path, "the interface has no name: add name: auto, a name such as eth0, or a glob such as veth*")
	}
	return r, len(d.problems) == before
}

// maxInterface is the longest name of an interface, in bytes (IFNAMSIZ in linux/if.h, with its final zero).
const maxInterface = 15

func checkInterface(s string) error {
	glob := strings.ContainsAny(s, `*?[\`)
	if _, err := path.Match(s, ""); err != nil {
		return errors.New("is no valid glob: a bracket is not closed, or it ends in a backslash")
	}
	switch {
	case s == "":
		return errors.New("is no interface: write auto, a name such as eth0, or a glob such as veth*")
	case strings.ContainsAny(s, "/ \t\n:"):
		return errors.New("is no interface: names have no slash, colon or space")
	case !glob && len(s) > maxInterface:
		return fmt.Errorf("is no interface: names have at most %d bytes", maxInterface)
	}
	return nil
}

func (d *decoder) services(n *yaml.Node, path string, c *capture.Config) {
	c.Services = nil
	before := len(d.problems)
	if len(n.Content) > maxServices {
		d.problem(n, path, "%d services are listed: at most %d are possible, merge those that are treated alike into one with several ports or cidrs", len(n.Content), maxServices)
		return
	}
	d.list(n, path, func(n *yaml.Node, path string) {
		s, ok := d.service(n, path)
		if i := slices.IndexFunc(c.Services, func(o filter.Service) bool { return o.Name == s.Name }); ok && i >= 0 {
			d.problem(n, path, "a service called %q is there already: give this one another name", s.Name)
		} else if ok {
			c.Services = append(c.Services, s)
		}
	})
	if len(c.Services) == 0 && len(d.problems) == before {
		d.problem(n, path, "no service is listed: nothing would be recorded, write one such as [postgres], or remove the key for the defaults")
	}
}

// service reads a preset's name, or a mapping: a preset with overrides, ports, or an expression.
func (d *decoder) service(n *yaml.Node, path string) (s filter.Service, ok bool) {
	before := len(d.problems)
	if n.Kind == yaml.SequenceNode {
		d.problem(n, path, "a list where a preset's name or a mapping is expected: remove the inner brackets")
		return s, false
	}
	if n.Kind != yaml.MappingNode {
		d.scalar(func(name string) error {
			if s, ok = filter.Preset(name); !ok {
				return fmt.Errorf("is no preset%s: write one of %s, or a mapping with name and ports", suggest(name, presets()), orList(presets()))
			}
			return nil
		})(n, path)
		return s, ok
	}
	s, preset := filter.Preset(valueOf(n, "name").Value)
	d.object(n, path,
		field{"name", d.serviceName(&s.Name)},
		field{"protocol", d.choice(&s.Protocol, "tcp", "udp")},
		field{"ports", func(n *yaml.Node, path string) { d.ports(n, path, &s.Ports) }},
		field{"cidrs", func(n *yaml.Node, path string) { d.cidrs(n, path, &s.CIDRs) }},
		field{"payload", d.payload(&s.Payload)},
		field{"filter", d.scalar(func(text string) error {
			s.Expression = strings.TrimSpace(text)
			if s.Expression == "" {
				return errors.New(`is empty: write a tcpdump expression such as "tcp port 3306", or remove the key`)
			}
			return nil
		})})
	if len(d.problems) == before {
		d.serviceWhole(n, path, s, preset)
	}
	return s, len(d.problems) == before
}

// serviceWhole checks what no single key of a service can be blamed for.
func (d *decoder) serviceWhole(n *yaml.Node, path string, s filter.Service, preset bool) {
	switch {
	case s.Name == "":
		d.problem(n, path, "the service has no name: add name: and a word of your own, or a preset's")
	case s.Expression != "" && preset:
		d.problem(n, path, "%q is a preset, which has ports of its own: give the filter another name", s.Name)
	case s.Expression != "" && has(n, "protocol", "ports", "cidrs"):
		d.problem(n, path, "%q has a filter and also protocol, ports or cidrs: write all of it into the filter, or remove the filter", s.Name)
	case s.Expression == "" && len(s.Ports) == 0 && len(s.CIDRs) == 0:
		d.problem(n, path, "%q is no preset%s and has neither ports nor cidrs nor a filter: add ports: [3306], or use one of %s", s.Name, suggest(s.Name, presets()), orList(presets()))
	case s.Expression != "":
		if err := d.compile(s); err != nil {
			d.problem(valueOf(n, "filter"), join(path, "filter"), "%v", err)
		}
	default:
		for _, err := range s.Validate() {
			d.problem(n, path, "%v", err)
		}
	}
}

var serviceName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)

func (d *decoder) serviceName(dst *string) func(*yaml.Node, string) {
	return d.scalar(func(s string) error {
		if !serviceName.MatchString(s) {
			return errors.New("is no name: it has 1 to 63 letters, digits, dots, dashes and underscores, and begins with a letter or digit")
		}
		*dst = s
		return nil
	})
}

func (d *decoder) payload(dst *int) func(*yaml.Node, string) {
	return d.scalar(func(s string) error {
		if s == "full" {
			*dst = filter.Full
			return nil
		}
		v, err := strconv.Atoi(s)
		if err != nil || v < 0 || v > 65535 {
			return errors.New("is no payload: write 0 for headers only, a number of bytes up to 65535, or full")
		}
		*dst = v
		return nil
	})
}

// ports reads a list of ports and ranges; a single one needs no list.
func (d *decoder) ports(n *yaml.Node, path string, dst *[]filter.PortRange) {
	*dst = nil
	before := len(d.problems)
	one := func(n *yaml.Node, path string) {
		d.scalar(func(s string) error {
			r, err := parsePorts(s)
			*dst = append(*dst, r)
			return err
		})(n, path)
	}
	if n.Kind == yaml.ScalarNode && !isNull(n) {
		one(n, path)
		return
	}
	d.list(n, path, one)
	if len(*dst) == 0 && len(d.problems) == before {
		d.problem(n, path, "no port is listed: write [3306], or remove the key for any port of the cidrs")
	}
}

func parsePorts(s string) (filter.PortRange, error) {
	first, last, ranged := strings.Cut(s, "-")
	if !ranged {
		last = first
	}
	a, err := parsePort(first)
	if err != nil {
		return filter.PortRange{}, err
	}
	b, err := parsePort(last)
	if err == nil && b < a {
		err = fmt.Errorf("ends before it begins: write %d-%d", b, a)
	}
	return filter.PortRange{First: a, Last: b}, err
}

func parsePort(s string) (uint16, error) {
	s = strings.TrimSpace(s)
	n, err := strconv.ParseUint(s, 10, 64)
	switch {
	case errors.Is(err, strconv.ErrSyntax):
		return 0, errors.New(`is no port: write a number from 1 to 65535, or a range such as "9000-9010"`)
	case err != nil || n < 1 || n > 65535:
		return 0, errors.New("is no port: ports are 1 to 65535")
	}
	return uint16(n), nil
}

// cidrs reads a list of prefixes; a single one needs no list, and an address stands for itself alone.
func (d *decoder) cidrs(n *yaml.Node, path string, dst *[]netip.Prefix) {
	*dst = nil
	before := len(d.problems)
	one := func(n *yaml.Node, path string) {
		d.scalar(func(s string) error {
			p, err := parseCIDR(s)
			*dst = append(*dst, p)
			return err
		})(n, path)
	}
	if n.Kind == yaml.ScalarNode && !isNull(n) {
		one(n, path)
		return
	}
	d.list(n, path, one)
	if len(*dst) == 0 && len(d.problems) == before { // an empty list from a template must not mean everybody
		d.problem(n, path, "no CIDR is listed: write [10.0.0.0/8], or remove the key for any address")
	}
}

func parseCIDR(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	switch {
	case err != nil:
		return p, errors.New("is no CIDR: write an address and a prefix length such as 10.0.0.0/8 or fd00::/8, or an address alone")
	case p.Addr().Is4In6():
		return p, errors.New("is an IPv4 address written as IPv6: write it as IPv4")
	case p != p.Masked():
		return p, fmt.Errorf("has bits set beyond its length: write %s, or %s for the one address", p.Masked(), p.Addr())
	}
	return p, nil
}

// presets is the names of all presets, sorted.
func presets() []string {
	var names []string
	for _, s := range filter.Presets() {
		names = append(names, s.Name)
	}
	slices.Sort(names)
	return names
}

// valueOf returns the value of a mapping's key, or an empty node.
func valueOf(n *yaml.Node, key string) *yaml.Node {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return follow(n.Content[i+1])
		}
	}
	return &yaml.Node{}
}

func has(n *yaml.Node, keys ...string) bool {
	return slices.ContainsFunc(keys, func(key string) bool { return !valueOf(n, key).IsZero() })
}
