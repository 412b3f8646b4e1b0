package capture

import (
	"errors"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// TestDriverStatistics asks the driver of a veth, which tells the other end's index, and interfaces that keep nothing.
func TestDriverStatistics(t *testing.T) {
	needNamespace(t)
	wire(t, "stats0")
	peer, err := netlink.LinkByName("xstats0")
	if err != nil {
		t.Fatal(err)
	}
	all, err := DriverStatistics("stats0")
	if err != nil || all["peer_ifindex"] != uint64(peer.Attrs().Index) || len(all) < 2 {
		t.Errorf("%v, %v, want peer_ifindex %d and others", all, err, peer.Attrs().Index)
	}
	for name, want := range map[string]error{"nothing0": unix.ENODEV, "lo": unix.EOPNOTSUPP} {
		if all, err := DriverStatistics(name); !errors.Is(err, want) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v, %v, want %v", name, all, err, want)
		}
	}
	if _, err := DriverStatistics(strings.Repeat("x", unix.IFNAMSIZ)); err == nil {
		t.Error("a name that is too long was taken")
	}
}
