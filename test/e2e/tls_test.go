package e2e_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"baton/test/cluster"
	"baton/test/lab"
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
	return a.issueUntil(t, time.Now().Add(time.Hour), name, more...)
}

// issueUntil is issue with an end.
func (a *authority) issueUntil(t testing.TB, end time.Time, name string, more ...string) certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: serial(t), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: end, KeyUsage: x509.KeyUsageDigitalSignature,
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
	base := a.c.Lab.Path(fmt.Sprintf("%s-%s-%d", a.name, name, liveNumber.Add(1)))
	pair := certificate{cert: base + ".pem", key: base + ".key"}
	writePEM(t, pair.cert, "CERTIFICATE", der)
	writePEM(t, pair.key, "EC PRIVATE KEY", keyDER)
	return pair
}

// pool has the authority's certificate.
func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
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

// Addresses on the network between hosts and controller. The second is not in
// the controller's certificate.
const (
	controllerAt    = "10.99.0.100"
	controllerAlias = "10.99.0.101"
	switchesPort    = "6640"
	apiPort         = "6641"
)

// tlsCluster is a controller that hosts reach over TCP with mutual TLS only, and
// two hosts.
type tlsCluster struct {
	*cluster.Cluster
	ca     *authority
	bridge *lab.Bridge
	h1, h2 *cluster.Host
	files  [2]certificate // of the hosts; tests put other content there
	cas    [2]string
}

// startTLS starts a tlsCluster. Host 1 tries the controller's second address first.
func startTLS(t *testing.T) *tlsCluster {
	t.Helper()
	c := &tlsCluster{Cluster: newCluster(t)}
	c.ca = newAuthority(t, c.Cluster, "ca")
	var err error
	c.bridge, err = c.Lab.Underlay("control", 1500)
	must(t, err)
	c.ControllerNetns, err = c.Lab.Netns("ctl")
	must(t, err)
	must(t, c.bridge.Attach(c.ControllerNetns, "eth0", nil))
	for _, a := range []string{controllerAt, controllerAlias} {
		must(t, c.ControllerNetns.AddAddr("eth0", netip.MustParsePrefix(a+"/24")))
	}
	own := c.ca.issue(t, "controller", controllerAt)
	must(t, c.StartController(
		fmt.Sprintf("api: {socket: %s/api.sock, listen: '%s:%s'}", c.ControllerDir(), controllerAt, apiPort),
		fmt.Sprintf("openflow: {socket: %s/openflow.sock, listen: ':%s'}", c.ControllerDir(), switchesPort),
		fmt.Sprintf("tls: {ca: %s, cert: %s, key: %s}", c.ca.file, own.cert, own.key)))
	must(t, c.Apply(network))
	c.h1 = c.addHost(t, 0, host1(), controllerAlias, controllerAt)
	c.h2 = c.addHost(t, 1, host2(), controllerAt)
	return c
}

// addHost starts host i with a leg on the network to the controller.
func (c *tlsCluster) addHost(t *testing.T, i int, cfg cluster.HostConfig, controllers ...string) *cluster.Host {
	t.Helper()
	c.files[i] = certificate{cert: c.Lab.Path(cfg.Name + ".pem"), key: c.Lab.Path(cfg.Name + ".key")}
	c.cas[i] = c.Lab.Path(cfg.Name + "-ca.pem")
	c.give(t, i, c.ca, c.ca.issue(t, cfg.Name))
	var list []string
	for _, a := range controllers {
		list = append(list, a+":"+switchesPort)
	}
	cfg.More = []string{
		"controllers: [" + strings.Join(list, ", ") + "]",
		fmt.Sprintf("tls: {ca: %s, cert: %s, key: %s}", c.cas[i], c.files[i].cert, c.files[i].key), fewBuffers,
	}
	h, err := c.AddHost(cfg)
	must(t, err)
	must(t, c.bridge.Attach(h.Netns, "ctl0", nil))
	must(t, h.Netns.AddAddr("ctl0", netip.MustParsePrefix(fmt.Sprintf("10.99.0.%d/24", i+1))))
	must(t, h.Start())
	t.Cleanup(func() {
		if err := settled(c.Cluster, h); err != nil {
			t.Error(err)
		}
	})
	return h
}

// give puts an authority and a certificate where host i's configuration has them.
func (c *tlsCluster) give(t *testing.T, i int, ca *authority, own certificate) {
	t.Helper()
	for from, to := range map[string]string{ca.file: c.cas[i], own.cert: c.files[i].cert, own.key: c.files[i].key} {
		b, err := os.ReadFile(from)
		must(t, err)
		must(t, os.WriteFile(to, b, 0o600))
	}
}

// TestTLSHosts has hosts with right and wrong certificates: the right ones are
// served; the others are refused, both sides say why, and forwarding goes on.
func TestTLSHosts(t *testing.T) {
	c := startTLS(t)
	must(t, c.WaitInStep("host1", "host2"))
	must(t, c.h1.Proc.WaitLine("certificate is valid for "+controllerAt+", not "+controllerAlias, waitLimit))
	if at := stats(t, c.h1).Controller.Address; at != controllerAt+":"+switchesPort {
		t.Errorf("host1 has a session with %q, want the controller of its list whose certificate is right", at)
	}
	a, x := startVM(t, c.Cluster, c.h1, vm1), startVM(t, c.Cluster, c.h2, vm3)
	a.waitReady()
	x.waitReady()
	a.ping("10.0.1.13", a.resolve("10.0.1.13"), 3)

	other := newAuthority(t, c.Cluster, "other")
	for _, wrong := range []struct {
		name             string
		ca               *authority
		own              certificate
		host, controller string // what they say
	}{
		{"signed by another authority", c.ca, other.issue(t, "host2"), "certificate authority", "unknown authority"},
		{"the controller's authority not trusted", other, c.ca.issue(t, "host2"), "unknown authority", "does not trust our certificate"},
		{"of another host", c.ca, c.ca.issue(t, "host1"), `host "host2" shows a certificate of "host1"`, `host \"host2\" shows a certificate of \"host1\"`},
		{"expired", c.ca, c.ca.issueUntil(t, time.Now().Add(-time.Minute), "host2"), "expired", "expired"},
	} {
		c.give(t, 1, wrong.ca, wrong.own)
		said := len(linesWith(c.Controller().Proc.Log(), wrong.controller))
		restartHost(t, c.h2, x)
		waitFor(t, c.Cluster, wrong.name+": the host's word", func() bool {
			return strings.Contains(stats(t, c.h2).Controller.LastError, wrong.host)
		})
		waitFor(t, c.Cluster, wrong.name+": the controller's word", func() bool {
			return len(linesWith(c.Controller().Proc.Log(), wrong.controller)) > said
		})
		if s := stats(t, c.h2).Controller; s.Connected || hostRows(t, c.Cluster)["host2"].Connected {
			t.Errorf("%s: host2 has a session", wrong.name)
		} else {
			t.Logf("%s:\n  host: %s\n  controller: %s", wrong.name, s.LastError, c.Controller().Proc.LogTail(1))
		}
		a.ping("10.0.1.13", a.resolve("10.0.1.13"), 3)
	}
	c.give(t, 1, c.ca, c.ca.issue(t, "some-machine", "host2")) // a further name will do
	restartHost(t, c.h2, x)
	must(t, c.WaitInStep("host1", "host2"))
	a.ping("10.0.1.13", a.resolve("10.0.1.13"), 3)
	checkBooks(t, c.h1, c.h2)
}

// restartHost restarts a batond, and waits until its VMs are back.
func restartHost(t *testing.T, h *cluster.Host, vms ...*liveVM) {
	t.Helper()
	must(t, h.Proc.Stop())
	var back []<-chan error
	for _, v := range vms {
		back = append(back, v.reconnect())
	}
	must(t, h.Start())
	for _, r := range back {
		must(t, <-r)
	}
}

// TestTLSWithout has peers without a certificate: no way leads in.
func TestTLSWithout(t *testing.T) {
	c := startTLS(t)
	must(t, c.WaitInStep("host1", "host2"))
	run := func(program string, args ...string) error {
		_, err := c.Lab.Run(waitLimit, c.h2.Netns, filepath.Join(c.Bin(), program), args...)
		return err
	}
	config, err := c.WriteFile("bare.yaml", "host: host2", "underlay: {device: net_null0, address: 192.168.100.2/24}",
		"controllers: ['"+controllerAt+":"+switchesPort+"']")
	must(t, err)
	checkRefused(t, "batond without TLS", run("batond", "--config", config), 2, controllerAt, "tls.ca")

	api, other := "--server="+controllerAt+":"+apiPort, newAuthority(t, c.Cluster, "other")
	admin, stranger := c.ca.issue(t, "admin"), other.issue(t, "admin")
	files := func(ca *authority, own certificate) []string {
		return []string{api, "--tls-ca", ca.file, "--tls-cert", own.cert, "--tls-key", own.key, "get", "host"}
	}
	must(t, run("batonctl", files(c.ca, admin)...))
	checkRefused(t, "batonctl without TLS", run("batonctl", api, "get", "host"), 2, controllerAt, "--tls-ca")
	checkRefused(t, "batonctl with half of it", run("batonctl", api, "--tls-ca", c.ca.file, "get", "host"), 2, "--tls-key")
	checkRefused(t, "batonctl with a stranger's certificate", run("batonctl", files(c.ca, stranger)...), 1, controllerAt, "refuses our certificate")
	checkRefused(t, "batonctl that trusts another authority", run("batonctl", files(other, admin)...), 1, controllerAt, "unknown authority")
	level := append([]string{api}, files(c.ca, admin)[1:7]...)
	checkRefused(t, "log level over TCP", run("batonctl", append(level, "log", "debug", "--controller")...), 1, "unix socket")

	for _, port := range []string{switchesPort, apiPort} {
		c.handshake(t, port, &tls.Config{RootCAs: c.ca.pool(), NextProtos: []string{"h2"}}, "didn't provide a certificate")
		c.handshake(t, port, nil, "does not look like a TLS handshake")
	}
	checkBooks(t, c.h1, c.h2)
}

// handshake connects from host 2, with TLS or with plain bytes, and wants to be
// refused; the controller says why.
func (c *tlsCluster) handshake(t *testing.T, port string, config *tls.Config, why string) {
	t.Helper()
	said := len(linesWith(c.Controller().Proc.Log(), why))
	var conn net.Conn
	address := net.JoinHostPort(controllerAt, port)
	must(t, c.h2.Netns.Do(func() (err error) {
		conn, err = net.DialTimeout("tcp", address, waitLimit)
		return err
	}))
	defer conn.Close()
	must(t, conn.SetDeadline(time.Now().Add(waitLimit)))
	var err error
	if config != nil {
		config.ServerName = controllerAt
		conn = tls.Client(conn, config)
	}
	if _, err = conn.Write([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")); err == nil {
		_, err = io.Copy(io.Discard, conn)
	}
	if config != nil && (err == nil || !strings.Contains(err.Error(), "certificate required")) {
		t.Errorf("port %s without certificate: want an error with %q, got %v", port, "certificate required", err)
	}
	waitFor(t, c.Cluster, "the controller's line with "+why, func() bool {
		return len(linesWith(c.Controller().Proc.Log(), why)) > said
	})
}
