// Package traffic is the laboratory's applications: services and the clients of them, in this process, over IPv4 and IPv6.
//
// Its nouns:
//
//   - Place: where sockets are opened, such as a host of the laboratory. A socket stays in the namespace it was opened in.
//   - Server: a TCP service that answers requests, or speaks unasked (Behaviour.Push). How it behaves can be changed while
//     it runs, and it can be stopped and started on the same port.
//   - Names: a name server over UDP that answers, refuses or is silent.
//   - Load: what the clients of one service do, as applications have them: connections kept open and used at a rate, and new
//     ones beside them.
//   - Pool: the clients at work.
//   - Flow: one connection, with its exact address on the client's side and, as the server saw it, behind address translation.
//   - Outcome: what the clients saw before, during and after a fault.
//
// Times are wall-clock times, the clock that stamps the packets. What is random comes from Load.Seed.
//
// # Frames
//
// A connection carries frames: a length of four bytes, and as many bytes. A request begins with the length of the answer
// that it wants. An answer, and a message that nobody asked for, begins with the time when it was sent and with the
// client's address as the server sees it.
package traffic
