package capture

import (
	"path"
	"strings"
)

// sharedRing is the name of the ring that takes the interfaces without a ring of their own. It is no valid interface name.
const sharedRing = "(shared)"

// rules is the interface policy.
type rules []InterfaceRule

// glob reports whether a rule's name is a pattern.
func glob(name string) bool { return strings.ContainsAny(name, `*?[\`) }

// valid returns what is wrong with the rules.
func (rs rules) valid() error {
	for _, r := range rs {
		if _, err := path.Match(r.Name, ""); err != nil {
			return wrong("interfaces", "%q is no glob (as in veth*): %w", r.Name, err)
		}
		if r.Ring != "" && r.Ring != RingOwn && r.Ring != RingShared {
			return wrong("interfaces", "%s: ring %q: write own or shared", r.Name, r.Ring)
		}
	}
	return nil
}

// match returns the first rule that an interface meets. Globs leave loopback interfaces out, as they would double what
// the node's own services say to each other; name them to record them.
func (rs rules) match(l link) (InterfaceRule, bool) {
	for _, r := range rs {
		switch {
		case r.Name == Auto && l.uplink, r.Name == l.name:
			return r, true
		case glob(r.Name) && !l.loopback:
			if ok, _ := path.Match(r.Name, l.name); ok {
				return r, true
			}
		}
	}
	return InterfaceRule{}, false
}

// own reports whether an interface that meets r asks for a ring of its own.
func (r InterfaceRule) own() bool {
	return r.Ring == RingOwn || r.Ring == "" && !glob(r.Name)
}

// names reports whether the rules name exactly this interface.
func (rs rules) names(name string) bool {
	for _, r := range rs {
		if r.Name == name {
			return true
		}
	}
	return false
}

const notNamed = "not named in capture.interfaces"

// waiting lists the rules that no interface meets.
func (rs rules) waiting(known map[int]*iface) []InterfaceStatus {
	var out []InterfaceStatus
	for _, r := range rs {
		met := false
		for _, i := range known {
			_, meets := rules{r}.match(i.link)
			met = met || meets && i.gone == 0
		}
		if met {
			continue
		}
		why := "there is no such interface yet; it will be recorded when it appears"
		if r.Name == Auto {
			why = "there is no default route yet; its interface will be recorded when there is one"
		}
		out = append(out, InterfaceStatus{Name: r.Name, State: StateWaiting, Why: why})
	}
	return out
}
