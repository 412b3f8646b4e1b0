// Package api serves Ringside over HTTP: health, readiness, metrics, and packets straight from the spool. It has no
// logic of its own: what it shows comes from Sources, which the daemon wires.
//
// Its nouns:
//
//   - Server: the listeners and their handlers. Everything is bounded: connections, header sizes, time, and the number
//     of packet streams; a client that is slow, gone or hostile costs at most its own connection.
//   - Access: what a listener may hand out. The Unix socket (mode 0660) may do everything: the file's mode says who. Any
//     process of the host network reaches loopback, so TCP gets no packets; beyond loopback it gets health alone.
//   - Report: what is recorded at the moment, interface by interface, behind /readyz?verbose.
//   - Problem: an error as RFC 9457 has it, application/problem+json, with the cure in its detail.
//
// openapi.yaml describes the routes; a test holds it against the handlers.
package api
