// Package store holds the S3 store against a real S3 server over TLS, and its credentials against small servers that
// give such.
package store
