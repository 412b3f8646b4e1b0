// Package track follows TCP connections, each at the one vantage where it is seen, and links what is one connection at several.
//
// Its nouns:
//
//   - Conversation: a connection at a vantage: who is client and server, what each side has sent, and how it stands.
//   - Half: what one side of a conversation has sent.
//   - Seen: what a packet has done to its conversation.
//   - Table: all conversations, a fixed number at most; the least active one gives way.
//   - Inner and Outer: the same connection at a vantage nearer to its client, and nearer to its server. Address translation
//     between them changes addresses and ports, never sequence numbers.
package track
