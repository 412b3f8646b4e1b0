// Package api serves Ringside over HTTP: health, readiness, metrics, triggers, alerts, observations, the host's timeline,
// incidents with the files of their bundles, and packets straight from the spool. It has no logic of its own: what it
// shows, and whom it passes triggers on to, comes from Sources, which the daemon wires.
//
// Its nouns:
//
//   - Server: the listeners and their handlers. Everything is bounded: connections, sizes of headers and bodies, time,
//     wrong tokens, triggers a second, and the number of packet streams and of looks into the store; a client that is
//     slow, gone or hostile costs at most its own connection.
//   - Door: a kind of listener, by who can reach it. The Unix socket (mode 0660) may do everything: the file's mode says
//     who. Any process of the host network reaches loopback, so what hands out packets or incidents needs a token there;
//     beyond loopback everything but health does. The metrics listener shows health and metrics, and knows no tokens.
//   - Route: a method of a path, with its access: the scope of the token it takes, and where it needs none.
//   - Token: a secret with a name, scopes (trigger, read, packets) and perhaps an end, from a file. Only its digest is
//     kept. Tokens and certificate are read again when their files change; a bad file changes nothing and is a Fault.
//   - Observation: what an application or a person saw, and says so; an event of the timeline.
//   - Report: what is recorded at the moment, interface by interface, and what is watched, behind /readyz?verbose.
//   - Problem: an error as RFC 9457 has it, application/problem+json, with the cure in its detail.
//   - Audit: the log named "audit", with one line for each hand-out of packets: who, what, how much.
//
// openapi.yaml describes the routes; a test holds it against the handlers.
package api
