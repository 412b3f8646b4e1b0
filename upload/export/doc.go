// Package export derives files from captures: classic pcap, copies with comments, several captures in one. The captures
// themselves are left as they are, so that what cites their frames stays right.
//
// Its nouns:
//
//   - Source: a capture, as downloaded and verified, and the node whose it is.
//   - Mark: something to be said at a time; it becomes a comment on a packet.
//   - Survey: a first walk through the captures, which finds interfaces, the packets that marks belong to, and, for
//     output in time order, where every packet lies. A second walk writes.
package export
