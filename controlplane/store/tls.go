package store

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"
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

// handshake says why TLS with a server fails; nil if it does not.
func handshake(c net.Conn, name string, t *tls.Config) error {
	t = t.Clone()
	t.NextProtos = []string{"h2"}
	if t.ServerName == "" {
		t.ServerName = name
	}
	_ = c.SetDeadline(time.Now().Add(dialTimeout)) // a connection that cannot have one fails in the handshake
	x := tls.Client(c, t)
	err := x.Handshake()
	if err == nil {
		// In TLS 1.3 the server's word on our certificate comes after the
		// handshake; a server that is content speaks first as well (RFC 9113, 3.4).
		_, err = x.Read(make([]byte, 1))
	}
	if refused := new(net.OpError); errors.As(err, &refused) && refused.Op == "remote error" {
		return fmt.Errorf("refuses our certificate, or the lack of one: %w: set etcd.cert and etcd.key to one that its authority signed", err)
	}
	if bad := new(tls.CertificateVerificationError); errors.As(err, &bad) {
		return fmt.Errorf("%w: set etcd.ca to the authority that signed its certificate", err)
	}
	return nil
}
