// Package conntrack watches the kernel's connection tracking: what is made, changed and destroyed, by whom, and what the
// table holds.
//
// Its nouns:
//
//   - Entry: one connection as the kernel tracks it, in both directions.
//   - Flow: an entry whose loss hurts: TCP, ESTABLISHED, assured, and with more than 30 s left.
//   - Loss: a flow's entry that is destroyed while it has that time left. Nothing natural does this: connections that
//     end do so in another state, and those that expire have no time left.
//   - Author: who destroys: the kernel (portid 0) or userspace (the portid of a netlink socket). An entry destroyed by the
//     kernel without any time left has expired.
//   - Burst: three losses by one author within two seconds, and what follows with less than two seconds between.
//   - Pick-up: an entry that begins in state ESTABLISHED: its connection is older than it. After a loss this is how the
//     kernel meets the connection again.
//   - Digest: the table by state and service, from a dump.
//   - Drop: flows that one dump had and the next has not, although they neither ended nor expired.
//
// # Events and dumps
//
// Events are exact and prompt but can be silent: with net.netfilter.nf_conntrack_events=2, the usual default, an entry
// that was made before anybody listened never emits one. Dumps see every entry, seconds later. So the watcher does
// both, and Blind tells how many flows only dumps can see.
//
// The kernel's side is include/uapi/linux/netfilter/nfnetlink_conntrack.h and net/netfilter/nf_conntrack_netlink.c.
package conntrack
