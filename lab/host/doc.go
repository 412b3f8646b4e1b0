// Package host makes the hosts of a laboratory: namespaces, links, addresses and routes that exist only as long as the
// process that made them, and vanish with it even when it is killed.
//
// Its nouns:
//
//   - Host: an anonymous network and mount namespace, kept by one thread of the process. Nothing is written under
//     /run/netns, and nothing in it is visible to the machine.
//   - Link: an interface of a host, found by its name. A veth has its other end in another host (or the same); a tap's other
//     end is a file.
//   - Route, Rule: how a host finds the way, in any of its tables.
//
// The package needs root: CAP_SYS_ADMIN and CAP_NET_ADMIN. What fails names the host, what was to be done, and on what.
package host
