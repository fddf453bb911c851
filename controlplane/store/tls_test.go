package store_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"baton/controlplane/store"
)

// writePEM writes one block to a file in dir.
func writePEM(t *testing.T, dir, name, kind string, der []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// certificate makes a self-signed certificate for 127.0.0.1, good for server,
// client and authority.
func certificate(t *testing.T, dir, name string) store.TLS {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	cert := writePEM(t, dir, name+".crt", "CERTIFICATE", der)
	return store.TLS{CA: cert, Cert: cert, Key: writePEM(t, dir, name+".key", "EC PRIVATE KEY", private)}
}

// TestMutualTLS uses a server that wants to know its clients.
func TestMutualTLS(t *testing.T) {
	t.Parallel()
	path, err := exec.LookPath("etcd")
	if err != nil {
		t.Skip("no etcd program: install etcd-server")
	}
	dir := t.TempDir()
	good, bad := certificate(t, dir, "good"), certificate(t, dir, "bad")
	url, peer := "https://127.0.0.1:"+freePort(t), "http://127.0.0.1:"+freePort(t)
	cmd := exec.Command(path, "--data-dir", filepath.Join(dir, "data"), "--listen-client-urls", url,
		"--advertise-client-urls", url, "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
		"--initial-cluster", "default="+peer, "--logger", "zap", "--log-outputs", filepath.Join(dir, "log"),
		"--cert-file", good.Cert, "--key-file", good.Key, "--trusted-ca-file", good.CA, "--client-cert-auth")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	s := open(t, store.Config{Endpoints: []string{url}, TLS: good, Timeout: 20 * time.Second})
	apply(t, s, network)
	for _, x := range []struct {
		name, fix string
		tls       store.TLS
	}{
		{"a server that is not trusted", "set etcd.ca", bad},
		{"a client without certificate", "set etcd.cert", store.TLS{CA: good.CA}},
	} {
		o, err := store.Open(testContext(t), store.Config{Endpoints: []string{url}, TLS: x.tls, Timeout: time.Second})
		if err == nil {
			o.Close()
		}
		if !errors.Is(err, store.ErrUnreachable) || !strings.Contains(fmt.Sprint(err), x.fix) {
			t.Errorf("%s: want ErrUnreachable and %q, got: %v", x.name, x.fix, err)
		}
	}
}
