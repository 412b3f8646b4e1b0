// Package netlab makes the network that a proof records: namespaces, links and disks that exist only for the test and
// vanish with it, even when the test is killed.
//
// Its nouns:
//
//   - Namespace: an anonymous network and mount namespace, kept by one thread of the test process. Nothing is written
//     under /run/netns, and nothing in it is visible to the machine.
//   - Link: an interface of a namespace, found by its name. A veth has its other end in another namespace (or the same).
//   - Disk: a file system mounted in a namespace only: a small ext4 on a loop device, or a tmpfs.
//
// The package needs root (CAP_SYS_ADMIN, CAP_NET_ADMIN); Test skips and says so without it.
package netlab
