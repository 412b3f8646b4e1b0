package detect

import (
	"slices"
	"strconv"

	"github.com/ringside/ringside/detect/frame"
)

// names numbers services: those that were given, and ports.
type names struct {
	services []Service
	list     []string
	byPort   map[uint16]uint16
	serving  map[frame.Endpoint]int // endpoints that accepted connections, or seem to have
}

// maxNames bounds the services that are told apart. Number 0 is all others.
const maxNames = 256

func newNames(given []Service) *names {
	n := &names{services: given, list: []string{"others"}, byPort: map[uint16]uint16{}, serving: map[frame.Endpoint]int{}}
	for _, s := range given {
		if !slices.Contains(n.list, s.Name) {
			n.list = append(n.list, s.Name)
		}
	}
	return n
}

func (s *Service) has(e frame.Endpoint) bool {
	if e.Port < s.First || e.Port > s.Last {
		return false
	}
	if len(s.CIDRs) == 0 {
		return true
	}
	ip := e.IP()
	for _, c := range s.CIDRs {
		if c.Contains(ip) {
			return true
		}
	}
	return false
}

// Weights of what tells that an endpoint is a server's: its port is a service's, it has accepted connections, it has several
// clients.
const (
	servesByName   = 1 << 20
	servesAccepted = 1 << 10
	maxServing     = 1 << 16
)

// serves weighs whether an endpoint is a server's.
func (n *names) serves(e frame.Endpoint) int {
	weight := n.serving[e]
	for i := range n.services {
		if n.services[i].has(e) {
			return weight + servesByName
		}
	}
	return weight
}

// served takes note of a conversation's server.
func (n *names) served(e frame.Endpoint, accepted bool) {
	w, ok := n.serving[e]
	switch {
	case !ok && len(n.serving) >= maxServing:
	case accepted && w < servesAccepted:
		n.serving[e] = servesAccepted
	case !accepted && w < servesAccepted-1:
		n.serving[e] = w + 1
	}
}

// given is the number of the service at an endpoint, if it was named.
func (n *names) given(e frame.Endpoint) (uint16, bool) {
	for i := range n.services {
		if n.services[i].has(e) {
			return uint16(slices.Index(n.list, n.services[i].Name)), true
		}
	}
	return 0, false
}

// number of the service at an endpoint.
func (n *names) number(e frame.Endpoint) uint16 {
	if number, ok := n.given(e); ok {
		return number
	}
	if number, ok := n.byPort[e.Port]; ok {
		return number
	}
	if len(n.list) >= maxNames {
		return 0
	}
	n.list = append(n.list, "port "+strconv.Itoa(int(e.Port)))
	n.byPort[e.Port] = uint16(len(n.list) - 1)
	return uint16(len(n.list) - 1)
}

func (n *names) name(number uint16) string { return n.list[number] }
