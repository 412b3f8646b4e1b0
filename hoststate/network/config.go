package network

import "path"

// Config is what the watchers of this package need to know. The zero value is good.
type Config struct {
	Proc   string   // where procfs is; "" is /proc
	Quiet  []string // globs (path.Match) of interfaces that are only counted; nil is those of pods, see doc.go
	Buffer int      // receive buffer of a netlink socket, in bytes; 0 is 8 MiB. It is used only while messages wait
}

// podLinks are the host's ends of pods' interfaces: of most CNI plug-ins and Docker, Calico, Cilium, AWS, Azure and GKE.
var podLinks = []string{"veth*", "cali*", "lxc*", "eni*", "azv*", "gke*"}

func (c Config) withDefaults() Config {
	if c.Proc == "" {
		c.Proc = "/proc"
	}
	if c.Quiet == nil {
		c.Quiet = podLinks
	}
	if c.Buffer == 0 {
		c.Buffer = 8 << 20
	}
	return c
}

// quiet says whether an interface of this name is noise, unless it is an uplink.
func (c Config) quiet(name string) bool {
	for _, glob := range c.Quiet {
		if ok, _ := path.Match(glob, name); ok {
			return true
		}
	}
	return false
}
