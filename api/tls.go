package api

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"slices"
)

// certificateReader returns what reads the certificate and its key.
func certificateReader(files TLS) func() (*tls.Certificate, error) {
	return func() (*tls.Certificate, error) {
		cert, _, err := readFile(files.Cert)
		if err != nil {
			return nil, err
		}
		key, _, err := readFile(files.Key)
		if err != nil {
			return nil, err
		}
		pair, err := tls.X509KeyPair(cert, key)
		if err != nil {
			return nil, fmt.Errorf("%s and %s: %w: give a certificate, the chain behind it, and its key, in PEM", files.Cert, files.Key, err)
		}
		return &pair, nil
	}
}

func sameCertificate(a, b *tls.Certificate) bool {
	return slices.EqualFunc(a.Certificate, b.Certificate, bytes.Equal)
}

// tlsConfig serves the certificate in force. HTTP/2 is left out: with it the limit on connections would be none on
// requests.
func (s *Server) tlsConfig() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return s.certificate.value(), nil
		},
	}
}
