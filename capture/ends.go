package capture

import (
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// sourceFor is the address that the kernel would send from: connecting a UDP socket sends nothing.
func sourceFor(remote netip.AddrPort) (netip.Addr, error) {
	probe, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(remote))
	if err != nil {
		return netip.Addr{}, fmt.Errorf("find the address to reach %v from: %w", remote, err)
	}
	defer probe.Close()
	return probe.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap(), nil
}

// bindTo binds a socket to an address and port, for port 0 to a free one, and returns what it is bound to.
func bindTo(fd int, end netip.AddrPort) (netip.AddrPort, error) {
	source := end.Addr()
	var to unix.Sockaddr
	if source.Is4() {
		to = &unix.SockaddrInet4{Addr: source.As4(), Port: int(end.Port())}
	} else {
		six := &unix.SockaddrInet6{Addr: source.As16(), Port: int(end.Port())}
		if zone := source.Zone(); zone != "" {
			link, err := net.InterfaceByName(zone)
			if err != nil {
				return netip.AddrPort{}, err
			}
			six.ZoneId = uint32(link.Index)
		}
		to = six
	}
	if err := unix.Bind(fd, to); err != nil {
		return netip.AddrPort{}, fmt.Errorf("bind to %v: %w", source, err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		return netip.AddrPort{}, err
	}
	switch name := name.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(source, uint16(name.Port)), nil
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(source, uint16(name.Port)), nil
	}
	return netip.AddrPort{}, fmt.Errorf("bind to %v: socket of another family", source)
}
