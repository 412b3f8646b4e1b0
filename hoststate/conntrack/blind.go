package conntrack

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// tellBlind says what is not seen, if that has changed.
func (s *survey) tellBlind() {
	if spots := s.spots(); s.blind == nil || !slices.Equal(spots, s.blind) {
		s.blind = spots
		s.out.Blind(spots...)
	}
}

// spots are what is not seen, each with its cure; not nil.
func (s *survey) spots() []string {
	d := s.table
	if d == nil {
		d = &Digest{}
	}
	spots := []string{}
	if s.trouble != nil {
		spots = append(spots, fmt.Sprintf("the table cannot be read (%v): losses that no event tells are missed: it is tried again each second", s.trouble))
	}
	switch now := s.sysctl("nf_conntrack_events"); {
	case now == "0":
		spots = append(spots, "the kernel emits no conntrack events (net.netfilter.nf_conntrack_events=0): losses show in digests only, "+
			"without who did it: set it to 1")
	case s.events == "0" && d.Older > 0, s.events == "2" && d.Older > 0:
		spots = append(spots, fmt.Sprintf("connections made before %s may emit no events (net.netfilter.nf_conntrack_events=%s): their loss shows in "+
			"digests only, without who did it: set it to 1 on the node at boot, before connections are made", s.begun.UTC().Format(time.TimeOnly), s.events))
	}
	if wait := dumpShare * s.took; wait > s.forgets {
		spots = append(spots, fmt.Sprintf("the table is so large that it is read each %v only: of connections that emit no events, those closed by a reset "+
			"cannot be told from those lost: set net.netfilter.nf_conntrack_events to 1 on the node at boot", wait.Round(time.Second)))
	}
	if d.Partial != "" || d.Flows >= mostFlows {
		spots = append(spots, "the table is too large to be read as a whole: losses that no event tells may be missed: lower net.netfilter.nf_conntrack_max")
	}
	ours, err := os.Readlink(filepath.Join(s.w.cfg.Proc, "self/ns/net"))
	if node, err1 := os.Readlink(filepath.Join(s.w.cfg.Proc, "1/ns/net")); err == nil && err1 == nil && ours != node {
		spots = append(spots, "this is not the node's network namespace: its conntrack table is not seen: run the recorder with hostNetwork: true")
	}
	return spots
}
