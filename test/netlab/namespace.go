package netlab

import (
	"os"
	"testing"

	"github.com/ringside/ringside/lab/host"
)

// Namespace is a host of a test: no IPv6, and disks of its own.
type Namespace struct{ *host.Host }

// Test returns a namespace that is closed when the test ends. It skips the test where namespaces cannot be made.
func Test(t testing.TB) *Namespace {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: CAP_SYS_ADMIN and CAP_NET_ADMIN make network namespaces")
	}
	n, err := New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

// New makes a namespace whose loopback is up and whose links get no IPv6 addresses by themselves. The caller closes it.
func New() (*Namespace, error) {
	h, err := host.New("netlab", host.Options{})
	if err != nil {
		return nil, err
	}
	return &Namespace{h}, nil
}

// Veth makes a veth pair, name here and peer in other, sets both up, and waits until both carry packets.
func (n *Namespace) Veth(name string, other *Namespace, peer string) error {
	return n.Host.Veth(name, other.Host, peer)
}

// NewVeth is Veth without waiting: name carries packets when it returns, peer does so a moment later.
func (n *Namespace) NewVeth(name string, other *Namespace, peer string) error {
	return n.Host.NewVeth(name, other.Host, peer)
}
