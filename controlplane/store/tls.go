package store

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"
)

// load reads the files. It gives nil if none are named and no endpoint is https.
func (t TLS) load(endpoints []string) (*tls.Config, error) {
	secure := false
	for _, e := range endpoints {
		secure = secure || strings.HasPrefix(e, "https:")
	}
	if t == (TLS{}) && !secure {
		return nil, nil
	}
	if !secure {
		return nil, errors.New("store: there are TLS files, but no endpoint is https: write the endpoints as https://HOST:2379")
	}
	if (t.Cert == "") != (t.Key == "") {
		return nil, errors.New("store: TLS: a certificate and its key go together: give both or neither")
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName}
	if t.CA != "" {
		pem, err := os.ReadFile(t.CA)
		if err != nil {
			return nil, fmt.Errorf("store: TLS: CA: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("store: TLS: CA %s: no certificate in it: want PEM", t.CA)
		}
	}
	if t.Cert != "" {
		pair, err := tls.LoadX509KeyPair(t.Cert, t.Key)
		if err != nil {
			return nil, fmt.Errorf("store: TLS: certificate %s, key %s: %w", t.Cert, t.Key, err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}
