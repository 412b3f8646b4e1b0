// Package faultproxy stands between a client and the S3 server of package s3server, with the same certificate, keeps
// what was asked, and fails as a test wants.
//
// Its nouns:
//
//   - Proxy: one address that outlives every fault. It ends TLS, so it knows requests.
//   - Fault: what goes wrong from Set on, with which requests, and how often. Kinds of connections (Refuse, BlackHole,
//     Slow) hit all that is open; kinds of requests hit those that begin from then on and that Match selects.
//   - Hit: a connection or request that met the fault. Tests wait for hits instead of for time.
//   - Request: what was asked, and what the client was answered.
package faultproxy
