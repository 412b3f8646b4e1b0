// Package state takes snapshots of the host's state: what decides where packets go and what becomes of connections, at the
// moment of a trigger and at the end of its window, with the difference to the last quiet one.
//
// Its nouns:
//
//   - Section: one part of the state as sorted lines of text: links, addresses, routes (of all tables), rules (of routing
//     policy), ruleset (nftables), sysctls, conntrack and sockets (both of the watched services). Each has a deadline and, when it
//     cannot be had, an error of its own; the others are there all the same.
//   - Snapshot: all sections of one moment.
//   - Quiet: a snapshot when nothing was going on. It is kept in memory; the timeline has its digests only.
//   - Difference: the lines that a section has and the quiet one had not, and the reverse. Of connections and sockets it leaves
//     out what always moves: times, queues, counts.
//   - Taker: takes them, one at a time; its watcher takes the quiet ones.
//
// Everything is of the host's network namespace: sockets of pods are not seen, but the host's conntrack has their connections.
// No process is named, and no command line is read.
package state
