// Package s3server runs a real S3 server, versitygw, on loopback over TLS, for tests and the demo. It checks signatures,
// checksums, conditional writes and the expiry of presigned URLs as S3 does; it takes headers for encryption, storage
// class and tags without keeping all of them, so those are to be asserted on requests (package faultproxy keeps them).
//
// Its nouns:
//
//   - Server: one versitygw in a process of its own (cmd/s3server; it changes its working directory and holds state for
//     one instance only), with one bucket, its own credentials and its own certificate. What it stores survives Restart.
//
// A test writes
//
//	s := s3server.Start(t)
//	store, err := upload.OpenStore(ctx, s.Config("some/prefix"), nil)
//
// and a program s3server.Open(dir) and Close. Keys have to be such as files can have: no part of a key may be longer
// than 255 bytes, and a key cannot lie "in" another object.
package s3server
