package e2e_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"testing"
	"time"

	"baton/test/cluster"
)

// authority signs certificates; file is its own.
type authority struct {
	c    *cluster.Cluster
	name string
	file string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// certificate is a pair of PEM files.
type certificate struct{ cert, key string }

// newAuthority makes an authority with its certificate in the lab's folder.
func newAuthority(t testing.TB, c *cluster.Cluster, name string) *authority {
	t.Helper()
	a := &authority{c: c, name: name, file: c.Lab.Path(name + ".pem")}
	var err error
	a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: serial(t), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key)
	must(t, err)
	a.cert, err = x509.ParseCertificate(der)
	must(t, err)
	writePEM(t, a.file, "CERTIFICATE", der)
	return a
}

// issue makes a certificate for a name, and for further names and addresses at
// which a server is reached.
func (a *authority) issue(t testing.TB, name string, more ...string) certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: serial(t), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	for _, m := range more {
		if ip := net.ParseIP(m); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, m)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	must(t, err)
	keyDER, err := x509.MarshalECPrivateKey(key)
	must(t, err)
	base := a.c.Lab.Path(a.name + "-" + name)
	pair := certificate{cert: base + ".pem", key: base + ".key"}
	writePEM(t, pair.cert, "CERTIFICATE", der)
	writePEM(t, pair.key, "EC PRIVATE KEY", keyDER)
	return pair
}

func serial(t testing.TB) *big.Int {
	t.Helper()
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	must(t, err)
	return n
}

func writePEM(t testing.TB, path, kind string, der []byte) {
	t.Helper()
	must(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
}
