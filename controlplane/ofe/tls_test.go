package ofe_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"

	"baton/controlplane/agent"
	"baton/controlplane/agent/agenttest"
	"baton/controlplane/ofe"
	"baton/controlplane/openflow"
)

// authority signs certificates for a test.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, dir: t.TempDir()}
	a.cert, a.key = a.sign("ca", nil)
	return a
}

func (a *authority) sign(name string, ip net.IP) (*x509.Certificate, *ecdsa.PrivateKey) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{name},
		IsCA: a.cert == nil, BasicConstraintsValid: true,
	}
	if ip != nil {
		c.IPAddresses = []net.IP{ip}
	}
	parent, signer := c, key
	if a.cert != nil {
		parent, signer = a.cert, a.key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	a.write(name+".pem", "CERTIFICATE", der)
	a.write(name+".key", "PRIVATE KEY", private)
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert, key
}

func (a *authority) write(file, kind string, der []byte) {
	b := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	if err := os.WriteFile(filepath.Join(a.dir, file), b, 0o600); err != nil {
		a.t.Fatal(err)
	}
}

func (a *authority) load(name string) *tls.Config {
	a.t.Helper()
	c, err := openflow.TLSFiles{
		CA: filepath.Join(a.dir, "ca.pem"), Cert: filepath.Join(a.dir, name+".pem"), Key: filepath.Join(a.dir, name+".key"),
	}.Load()
	if err != nil {
		a.t.Fatal(err)
	}
	return c
}

func TestMutualTLS(t *testing.T) {
	ours, theirs := newAuthority(t), newAuthority(t)
	ours.sign("controller", net.IPv4(127, 0, 0, 1))
	ours.sign("h1", nil)
	ours.sign("h2", nil)
	theirs.sign("h1", nil)
	e := openflow.Endpoint{Network: "tcp", Address: "127.0.0.1:0"}
	options, err := e.ServerOptions(ours.load("controller"), false)
	if err != nil {
		t.Fatal(err)
	}
	l, err := e.Listen()
	if err != nil {
		t.Fatal(err)
	}
	s, g := ofe.New(ofe.Config{}), grpc.NewServer(options...)
	s.Register(g)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = g.Serve(l)
	}()
	t.Cleanup(func() { s.Close(); g.Stop(); <-done })
	s.SetHost("h1", rules(3), 1)
	s.Ready()
	as := func(c *tls.Config) func(*agent.Config) {
		return func(cfg *agent.Config) { cfg.Controllers, cfg.TLS = []string{l.Addr().String()}, c }
	}
	refused := func(name, want string, c *tls.Config) {
		h := startHost(t, "h1", "", as(c))
		agenttest.Eventually(t, name, func() error {
			got := h.Status().LastError
			return agenttest.Want(strings.Contains(got, want), "error %q, want %q", got, want)
		})
		if h.stop(); h.target.Digest().Entries != 0 {
			t.Errorf("%s: rules came", name)
		}
	}
	refused("another host's certificate", `host "h1" shows a certificate of "h2"`, ours.load("h2"))
	refused("another authority", "certificate", theirs.load("h1"))
	refused("no TLS", "controller 127.0.0.1", nil)
	good := startHost(t, "h1", "", as(ours.load("h1")))
	agenttest.Eventually(t, "the host's own certificate", func() error {
		return agenttest.Want(good.target.Digest().Entries == 3, "%+v", good.Status())
	})
}

func TestTLSFiles_Errors(t *testing.T) {
	a := newAuthority(t)
	for _, c := range []struct {
		f    openflow.TLSFiles
		want string
	}{
		{openflow.TLSFiles{CA: "x"}, "all three or none"},
		{openflow.TLSFiles{CA: "/none/ca", Cert: "/none/c", Key: "/none/k"}, "/none/c"},
		{openflow.TLSFiles{CA: filepath.Join(a.dir, "ca.key"), Cert: filepath.Join(a.dir, "ca.pem"), Key: filepath.Join(a.dir, "ca.key")}, "no PEM certificate"},
	} {
		if _, err := c.f.Load(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: error %v, want %q", c.f, err, c.want)
		}
	}
}
