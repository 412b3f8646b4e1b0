// Package netlab makes the network that a proof records: the laboratory's hosts (package lab/host) for the length of a
// test, and disks that only one of them sees.
//
// Its nouns:
//
//   - Namespace: a host of a test.
//   - Disk: a file system mounted in a namespace only: a small ext4 on a loop device, or a tmpfs.
//
// The package needs root (CAP_SYS_ADMIN, CAP_NET_ADMIN); Test skips and says so without it.
package netlab
