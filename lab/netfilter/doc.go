// Package netfilter gives the hosts of a laboratory their nftables rules and changes their connection tracking, by
// netlink and without any program.
//
// Its nouns:
//
//   - Rules: everything that a host's rules do, in one table that is replaced as a whole: no packet sees half of it.
//   - NAT: whose source address is translated, to what, and what becomes of its port.
//   - Match: which packets a rule takes, and what becomes of them.
//   - Entry: a tracked connection.
package netfilter
