// Package hoststate keeps the host's own story beside the packets: what the kernel, the network configuration, the
// services and the applications did, on the clock that stamps the packets.
//
// Its nouns:
//
//   - Event: one thing that happened, with its time, what it happened to, and who did it where that can be told.
//   - Kind: what an event is, such as conntrack.burst; Kinds has all of them. Rules and queries name them.
//   - Watcher: a source of events that runs until it is stopped. One that cannot run says why and what is lost, and leaves
//     the others alone. Each kind of watcher has a package of its own below this one.
//   - Watch: what runs the watchers, restarts what fails, and knows the state of each.
//   - Timeline: all events, in the order in which they were seen, in a directory beside the spool's segments: JSON lines, bounded
//     by size and age, never removed while a pin of the spool needs them.
//
// # Clocks
//
// Packets are stamped by CLOCK_REALTIME, and so are events: Time is that clock when the event happened, as well as its
// source can tell, and Seen, where that is later by a second or more, when it reached the timeline. Sequence numbers follow the order of arrival, across restarts and
// whatever is done to the clock; readers keep that order.
package hoststate
