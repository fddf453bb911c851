package e2e_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"baton/test/cluster"
	"baton/test/lab"
)

// hostRow is what `batonctl host list -o json` says of a host.
type hostRow struct {
	Name      string `json:"name"`
	Connected bool   `json:"connected"`
	InStep    bool   `json:"in_step"`
	Entries   uint64 `json:"entries"`
	Sent      uint64 `json:"entries_sent"`
	Skipped   uint64 `json:"entries_skipped"`
	LastError string `json:"last_error"`
}

// batonctlAt runs batonctl against a controller that is not the cluster's, or
// with flags of its own.
func batonctlAt(c *cluster.Cluster, server string, args ...string) (string, error) {
	return c.Lab.Run(waitLimit, nil, filepath.Join(c.Bin(), "batonctl"), append([]string{"--server", server}, args...)...)
}

// hostRows asks the cluster's controller for its hosts, by name.
func hostRows(t testing.TB, c *cluster.Cluster) map[string]hostRow {
	t.Helper()
	return hostRowsAt(t, c, c.Controller().API)
}

func hostRowsAt(t testing.TB, c *cluster.Cluster, server string) map[string]hostRow {
	t.Helper()
	out, err := batonctlAt(c, server, "host", "list", "-o", "json")
	must(t, err)
	var list []hostRow
	must(t, json.Unmarshal([]byte(out), &list))
	rows := map[string]hostRow{}
	for _, h := range list {
		rows[h.Name] = h
	}
	return rows
}

// applyWait applies documents with --wait.
func applyWait(t testing.TB, c *cluster.Cluster, document string) {
	t.Helper()
	path, err := c.WriteFile("wait.yaml", document)
	must(t, err)
	_, err = c.Batonctl("apply", "--wait", "-f", path)
	must(t, err)
}

// freePort is a TCP port of the loopback interface that nobody has now.
func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// exitCode is that of a program that lab.Run ran; -1 if it has none.
func exitCode(err error) int {
	if x := new(exec.ExitError); errors.As(err, &x) {
		return x.ExitCode()
	}
	return -1
}

// tenants is a network of two tenants with five switches each and 20 ports a
// switch. Tenant a has host1 and three hosts without a machine, tenant b host2
// and three of the same kind.
func tenants() string {
	var docs []string
	add := func(format string, args ...any) { docs = append(docs, fmt.Sprintf(format, args...)) }
	for i := 1; i <= 8; i++ {
		add("{kind: Host, name: host%d, underlay: 192.168.100.%d/24, mtu: 1600, mac: '02:00:00:00:00:%02x'}", i, i, i)
	}
	hosts := map[string][]int{"a": {1, 3, 4, 5}, "b": {2, 6, 7, 8}}
	for _, tenant := range []string{"a", "b"} {
		add("{kind: Router, name: r%s}", tenant)
		for sw := range 5 {
			add("{kind: Switch, name: %s%d}", tenant, sw)
			add("{kind: Port, name: r%s-%d, switch: %s%d, router: r%s, ip: 10.0.%d.1/24}", tenant, sw, tenant, sw, tenant, sw)
			for i := range 20 {
				add("{kind: Port, name: %s%d-%d, switch: %s%d, ip: 10.0.%d.%d, host: host%d}", tenant, sw, i, tenant, sw, sw, 10+i, hosts[tenant][i%4])
			}
		}
	}
	return strings.Join(docs, "\n---\n")
}

// TestIncremental makes small changes in a network of 200 ports: little is
// compiled and little is sent, to the tenant's host and to another's. (All
// networks are preprogrammed on all hosts, so the other's gets the rules too.)
func TestIncremental(t *testing.T) {
	c := newCluster(t)
	metrics := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	must(t, c.StartController("metrics: {listen: "+metrics+"}"))
	must(t, c.Apply(tenants()))
	cfg1, cfg2 := host1(), host2()
	cfg1.MAC, cfg2.MAC = net.HardwareAddr{2, 0, 0, 0, 0, 1}, net.HardwareAddr{2, 0, 0, 0, 0, 2}
	startHost(t, c, cfg1)
	startHost(t, c, cfg2)
	must(t, c.WaitInStep("host1", "host2"))

	for _, change := range []struct {
		name string
		doc  string
	}{
		{"a port on a far host", "{kind: Port, name: new1, switch: a0, ip: 10.0.0.101, host: host3}"},
		{"a port on the tenant's own host", "{kind: Port, name: new2, switch: a0, ip: 10.0.0.102, host: host1}"},
		{"another MAC", "{kind: Port, name: new1, switch: a0, ip: 10.0.0.101, mac: '02:00:00:00:07:01', host: host3}"},
		{"a move", "{kind: Port, name: new1, switch: a0, ip: 10.0.0.101, mac: '02:00:00:00:07:01', host: host4}"},
		{"a route", "{kind: Route, name: way, router: ra, prefix: 10.9.0.0/16, nextHop: 10.0.0.101}"},
	} {
		before, compiled := hostRows(t, c), metric(t, metrics, "baton_controller_compiled_objects_total")
		applyWait(t, c, change.doc)
		after := hostRows(t, c)
		units := metric(t, metrics, "baton_controller_compiled_objects_total") - compiled
		if units == 0 || units > 5 {
			t.Errorf("%s: %v objects compiled, want 1 to 5 of more than 200", change.name, units)
		}
		for name, most := range map[string]uint64{"host1": 10, "host2": 5} {
			sent := after[name].Sent - before[name].Sent
			t.Logf("%s: %d of %d entries sent to %s, %v objects compiled", change.name, sent, after[name].Entries, name, units)
			if sent == 0 || sent > most {
				t.Errorf("%s: %d entries sent to %s, want 1 to %d of its %d", change.name, sent, name, most, after[name].Entries)
			}
		}
	}
	if n := hostRows(t, c)["host1"].Entries; n < 300 {
		t.Errorf("host1 has %d entries: the network is too small to show anything", n)
	}
}

// metric is a value that the controller serves to Prometheus.
func metric(t testing.TB, address, name string) float64 {
	t.Helper()
	r, err := http.Get("http://" + address + "/metrics")
	must(t, err)
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	must(t, err)
	m := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`).FindSubmatch(text)
	if m == nil {
		t.Fatalf("no metric %s in:\n%s", name, text)
	}
	v, err := strconv.ParseFloat(string(m[1]), 64)
	must(t, err)
	return v
}

// TestBarrier makes changes under traffic that keeps all caches hot: when apply
// --wait or delete --wait returns, the next packet follows the new network.
func TestBarrier(t *testing.T) {
	c, h1, h2 := twoHosts(t)
	const burst = 20
	a, there := startVM(t, c, h1, vm1), startVM(t, c, h2, vm3)
	here := startVM(t, c, h1, vm3) // the same VM after its move
	a.waitReady()
	there.waitReady()
	s := a.stream(there, vm3.MAC, streamEvery)
	s.waitMore(50)

	arrived := here.up() // batond connects to the new place by itself
	for range 3 {
		applyWait(t, c, "{kind: Port, name: vm3, switch: blue, ip: 10.0.1.13, host: host1, id: 13}")
		id := a.sendPings("10.0.1.13", vm3.MAC, burst)
		must(t, <-arrived)
		a.ping("10.0.1.13", vm3.MAC, burst)
		checkBooks(t, h2)
		if n := there.requests(id); n != 0 {
			t.Errorf("%d of %d packets that were sent after the move came to the old place", n, burst)
		}
		back := there.reconnect()
		applyWait(t, c, "{kind: Port, name: vm3, switch: blue, ip: 10.0.1.13, host: host2, id: 13}")
		id = a.sendPings("10.0.1.13", vm3.MAC, burst)
		must(t, <-back)
		a.ping("10.0.1.13", vm3.MAC, burst)
		if n := here.requests(id); n != 0 {
			t.Errorf("%d of %d packets that were sent after the move back came to the first place", n, burst)
		}
		arrived = here.reconnect()
	}
	s.stop()
	checkBooks(t, h1, h2)

	for range 3 {
		known := dropCount(t, h1, "unknown_mac")
		_, err := c.Batonctl("delete", "--wait", "port", "vm3")
		must(t, err)
		a.sendPings("10.0.1.13", vm3.MAC, burst)
		waitDrops(t, c, h1, "unknown_mac", known+burst)
		back := there.reconnect()
		applyWait(t, c, "{kind: Port, name: vm3, switch: blue, ip: 10.0.1.13, host: host2, id: 13}")
		a.sendPings("10.0.1.13", vm3.MAC, burst)
		must(t, <-back)
		a.ping("10.0.1.13", vm3.MAC, burst)
		if n := dropCount(t, h1, "unknown_mac"); n != known+burst {
			t.Errorf("%d packets dropped for unknown_mac after the port came back, want none", n-known-burst)
		}
	}
	checkBooks(t, h1, h2)
}

// etcdServer is an etcd of its own process, with mutual TLS.
type etcdServer struct {
	c      *cluster.Cluster
	url    string
	peer   string
	config []string // lines for the controller
	args   []string
	proc   *lab.Proc
}

// newEtcd prepares an etcd; start starts it.
func newEtcd(t testing.TB, c *cluster.Cluster, ca *authority) *etcdServer {
	t.Helper()
	e := &etcdServer{c: c, url: fmt.Sprintf("https://127.0.0.1:%d", freePort(t)), peer: fmt.Sprintf("http://127.0.0.1:%d", freePort(t))}
	server, client := ca.issue(t, "etcd", "127.0.0.1"), ca.issue(t, "controller")
	e.config = []string{fmt.Sprintf("etcd: {endpoints: [%q], timeout: 2s, ca: %s, cert: %s, key: %s}", e.url, ca.file, client.cert, client.key)}
	e.args = []string{
		"--name", "e1", "--data-dir", c.Lab.Path("external-etcd"), "--listen-client-urls", e.url, "--advertise-client-urls", e.url,
		"--listen-peer-urls", e.peer, "--initial-advertise-peer-urls", e.peer, "--initial-cluster", "e1=" + e.peer,
		"--client-cert-auth", "--trusted-ca-file", ca.file, "--cert-file", server.cert, "--key-file", server.key,
	}
	return e
}

func (e *etcdServer) start(t testing.TB) {
	t.Helper()
	var err error
	e.proc, err = e.c.Lab.Start(lab.ProcConfig{Name: "etcd", Path: "etcd", Args: e.args, Grace: 10 * time.Second})
	must(t, err)
	address := strings.TrimPrefix(e.url, "https://")
	must(t, e.proc.WaitUntil("etcd at "+address, waitLimit, func() bool {
		conn, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			conn.Close()
		}
		return err == nil
	}))
}

// startSecond starts another controller beside the cluster's and returns its
// sockets for batonctl and for hosts.
func startSecond(t testing.TB, c *cluster.Cluster, lines ...string) (p *lab.Proc, api, switches string) {
	t.Helper()
	dir, err := c.Lab.MkdirPath("second")
	must(t, err)
	api, switches = filepath.Join(dir, "api.sock"), filepath.Join(dir, "openflow.sock")
	config, err := c.WriteFile("second.yaml", append(lines,
		fmt.Sprintf("api: {socket: %s}", api), fmt.Sprintf("openflow: {socket: %s, listen: \"\"}", switches))...)
	must(t, err)
	p, err = c.Lab.Start(lab.ProcConfig{Name: "second-controller", Path: filepath.Join(c.Bin(), "baton-controller"), Args: []string{"--config", config}})
	must(t, err)
	must(t, errors.Join(p.WaitSocket(api, waitLimit), p.WaitSocket(switches, waitLimit)))
	return p, "unix:" + api, "unix:" + switches
}

// TestExternalEtcd has two controllers on an etcd with mutual TLS: etcd goes and
// comes back, and a controller dies.
func TestExternalEtcd(t *testing.T) {
	c := newCluster(t)
	etcd := newEtcd(t, c, newAuthority(t, c, "etcd-ca"))
	etcd.start(t)
	must(t, c.StartController(etcd.config...))
	_, api2, switches2 := startSecond(t, c, etcd.config...)
	must(t, c.Apply(network))
	cfg1, cfg2 := host1(), host2()
	list := fmt.Sprintf("controllers: [%q, %q]", c.Controller().Switches, switches2)
	cfg1.More, cfg2.More = []string{list}, []string{list}
	h1, h2 := startHost(t, c, cfg1), startHost(t, c, cfg2)
	must(t, c.WaitInStep("host1", "host2"))
	a, x := startVM(t, c, h1, vm1), startVM(t, c, h2, vm3)
	a.waitReady()
	x.waitReady()
	s := a.stream(x, a.resolve("10.0.1.13"), streamEvery)
	s.waitMore(50)

	must(t, etcd.proc.Stop())
	err := c.Apply("{kind: Port, name: vm5, switch: blue, ip: 10.0.1.15, host: host2, id: 15}")
	checkRefused(t, "apply without etcd", err, 1, "etcd", etcd.url) // not killed because it waits for ever
	s.waitMore(100)
	a.ping("10.0.1.1", a.resolve("10.0.1.1"), 3)
	for name, h := range map[string]*cluster.Host{"host1": h1, "host2": h2} {
		if !stats(t, h).Controller.Connected {
			t.Errorf("%s lost its session with the controller because etcd is gone", name)
		}
	}
	etcd.start(t)
	waitFor(t, c, "apply after etcd came back", func() bool {
		return c.Apply("{kind: Port, name: vm5, switch: blue, ip: 10.0.1.15, host: host2, id: 15}") == nil
	})
	applyWait(t, c, "{kind: Port, name: vm6, switch: blue, ip: 10.0.1.16, host: host2, id: 16}")
	a.resolve("10.0.1.15")
	a.resolve("10.0.1.16")

	counts := map[*cluster.Host]uint64{h1: stats(t, h1).Controller.Entries, h2: stats(t, h2).Controller.Entries}
	c.Controller().Proc.Kill()
	for h, n := range counts {
		waitFor(t, c, h.Name+" at the second controller", func() bool { return stats(t, h).Controller.Address == switches2 })
		waitFor(t, c, h.Name+" in step with it", func() bool { return hostRowsAt(t, c, api2)[h.Name].InStep })
		row, got := hostRowsAt(t, c, api2)[h.Name], stats(t, h).Controller.Entries
		if got != n || row.Sent != 0 || row.Skipped != row.Entries {
			t.Errorf("%s got %d entries from the second controller (it counts %d sent, %d skipped of %d), want none sent", h.Name, got-n, row.Sent, row.Skipped, row.Entries)
		}
	}
	path, err := c.WriteFile("second-apply.yaml", "{kind: Port, name: vm7, switch: blue, ip: 10.0.1.17, host: host2, id: 17}")
	must(t, err)
	_, err = batonctlAt(c, api2, "apply", "--wait", "-f", path)
	must(t, err)
	a.resolve("10.0.1.17")
	s.checkWhole()
	checkBooks(t, h1, h2)
}

// checkRefused holds a failed command to its exit code, and to one clear line
// that has all of texts.
func checkRefused(t testing.TB, what string, err error, code int, texts ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("%s: went well", what)
		return
	}
	if got := exitCode(err); got != code {
		t.Errorf("%s: exit code %d, want %d: %v", what, got, code, err)
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("%s: want a line with %q, got: %v", what, text, err)
		}
	}
	t.Logf("%s: %v", what, err)
}

// TestUnreachableEtcd starts controllers whose etcd is not there, or is not what
// they take it for.
func TestUnreachableEtcd(t *testing.T) {
	c := newCluster(t)
	ca := newAuthority(t, c, "etcd-ca")
	etcd := newEtcd(t, c, ca)
	etcd.start(t)
	client, foreign := ca.issue(t, "client"), newAuthority(t, c, "other-ca")
	nobody := fmt.Sprintf("http://127.0.0.1:%d", freePort(t))
	plain := strings.Replace(etcd.url, "https", "http", 1)
	dir := c.ControllerDir()
	_, err := c.Lab.MkdirPath("controller")
	must(t, err)
	for _, x := range []struct {
		name  string
		args  []string
		texts []string
	}{
		{"nobody listens", []string{"--etcd", nobody}, []string{nobody, "connection refused"}},
		{"http to https", []string{"--etcd", plain}, []string{plain, "TLS"}},
		{"no certificate", []string{"--etcd", etcd.url, "--etcd.ca", ca.file}, []string{etcd.url, "certificate"}},
		{"another authority", []string{"--etcd", etcd.url, "--etcd.ca", foreign.file, "--etcd.cert", client.cert, "--etcd.key", client.key}, []string{etcd.url, "certificate"}},
		{"no such file", []string{"--etcd", etcd.url, "--etcd.ca", dir + "/none.pem"}, []string{dir + "/none.pem", "no such file"}},
	} {
		args := append(x.args, "--etcd.timeout", "1s", "--openflow.listen=", "--api.socket", dir+"/api.sock", "--openflow.socket", dir+"/openflow.sock")
		_, err := c.Lab.Run(waitLimit, nil, filepath.Join(c.Bin(), "baton-controller"), args...)
		checkRefused(t, x.name, err, 1, x.texts...)
	}
}

// TestLogLevels changes levels of running programs and sees the difference.
func TestLogLevels(t *testing.T) {
	c := newCluster(t)
	startController(t, c, network)
	h := startHost(t, c, host1())
	must(t, c.WaitInStep("host1"))
	host := func() (string, int) { return h.Proc.Log(), len(linesWith(h.Proc.Log(), "bundle applied")) }
	controller := func() (string, int) {
		log := c.Controller().Proc.Log()
		return log, len(linesWith(log, "host answered the barrier"))
	}
	for i, x := range []struct {
		name string
		run  func(...string) (string, error)
		args []string
		look func() (string, int)
		more bool
	}{
		{"batond as started", h.Batonctl, nil, host, false},
		{"batond, one part", h.Batonctl, []string{"log", "debug", "--name", "agent"}, host, true},
		{"batond, another part", h.Batonctl, []string{"log", "info", "--name", "agent"}, host, false},
		{"batond, all", h.Batonctl, []string{"log", "debug"}, host, true},
		{"batond, back", h.Batonctl, []string{"log", "info"}, host, false},
		{"controller as started", c.Batonctl, nil, controller, false},
		{"controller, one part", c.Batonctl, []string{"log", "debug", "--controller", "--name", "ofe"}, controller, true},
		{"controller, back", c.Batonctl, []string{"log", "info", "--controller"}, controller, false},
		{"controller, all", c.Batonctl, []string{"log", "debug", "--controller"}, controller, true},
	} {
		if x.args != nil {
			_, err := x.run(x.args...)
			must(t, err)
		}
		_, before := x.look()
		applyWait(t, c, fmt.Sprintf("{kind: Port, name: vm1, switch: blue, ip: 10.0.1.%d, host: host1, id: 11}", 50+i))
		log, after := x.look()
		if (after > before) != x.more {
			t.Errorf("%s: %d lines of level debug more, want some: %v; the log:\n%s", x.name, after-before, x.more, log)
		}
	}
	_, err := h.Batonctl("log", "debug", "--name", "engine")
	checkRefused(t, "unknown part of batond", err, 1, `"engine"`, "agent")
	_, err = c.Batonctl("log", "debug", "--controller", "--name", "engine")
	checkRefused(t, "unknown part of the controller", err, 1, `"engine"`, "ofe")
	_, err = c.Batonctl("log", "loud", "--controller")
	checkRefused(t, "unknown level", err, 2, `"loud"`)
}
