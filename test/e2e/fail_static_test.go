package e2e_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"baton/hostapi"
	"baton/test/cluster"
)

// streamEvery is the rhythm of streams that run through a test.
const streamEvery = 2 * time.Millisecond

// patient are lines of the controller's configuration that make it give silent
// hosts up soon.
const patient = `openflow: {socket: %s/openflow.sock, listen: "", echo_interval: 200ms, echo_timeout: 1s}`

// TestFailStatic kills the controller, and later a batond: what was applied is
// forwarded all the time, by the checkpoint too, and nothing of it is sent again.
func TestFailStatic(t *testing.T) {
	c, h1, h2 := twoHosts(t)
	a, b := startVM(t, c, h1, vm1), startVM(t, c, h1, vm2)
	x, y := startVM(t, c, h2, vm3), startVM(t, c, h2, vm4)
	live := []*liveVM{a, b, x, y}
	for _, v := range live {
		v.waitReady()
	}
	streams := []*stream{
		a.stream(x, a.resolve("10.0.1.13"), streamEvery), // same switch, across hosts
		a.stream(b, a.resolve("10.0.1.1"), streamEvery),  // routed, same host
		y.stream(a, y.resolve("10.0.2.1"), streamEvery),  // routed, across hosts
	}
	eachMore(streams, 50)

	before := map[string]hostapi.Stats{"host1": stats(t, h1), "host2": stats(t, h2)}
	c.Controller().Proc.Kill()
	eachMore(streams, 100)
	for _, h := range []*cluster.Host{h1, h2} {
		waitFor(t, c, h.Name+" without controller", func() bool { return !stats(t, h).Controller.Connected })
	}
	eachMore(streams, 100)
	everywhere(live) // flows that nobody had before
	for _, s := range streams {
		s.checkWhole()
	}
	for name, s := range before {
		checkSameRules(t, s, stats(t, c.Host(name)))
	}

	restartAlone(t, c, h2, x, y)
	everywhere(live)
	a.ping("10.0.2.14", a.resolve("10.0.1.1"), 50)
	checkBooks(t, h1, h2)

	must(t, c.StartController())
	must(t, c.WaitInStep("host1", "host2"))
	for name, row := range hostRows(t, c) {
		if row.Sent != 0 || row.Skipped != row.Entries || row.Entries == 0 {
			t.Errorf("%s: the controller sent %d entries and skipped %d of %d, want none sent and all skipped", name, row.Sent, row.Skipped, row.Entries)
		}
	}
	now1, now2 := stats(t, h1).Controller, stats(t, h2).Controller
	if was := before["host1"].Controller; now1.Entries != was.Entries || now1.Applied != was.Applied {
		t.Errorf("host1 counts %d entries in %d changes, %d in %d before the controller's death", now1.Entries, now1.Applied, was.Entries, was.Applied)
	}
	if now2.Entries != 0 || now2.Applied != 0 {
		t.Errorf("host2 started from its checkpoint and got %d entries in %d changes from the controller, want none", now2.Entries, now2.Applied)
	}
	everywhere(live)
	checkBooks(t, h1, h2)
}

// restartAlone kills a batond and starts it again without a controller; its VMs
// come back by themselves, as QEMU does.
func restartAlone(t *testing.T, c *cluster.Cluster, h *cluster.Host, vms ...*liveVM) {
	t.Helper()
	had := stats(t, h)
	h.Proc.Kill()
	var back []<-chan error
	for _, v := range vms {
		back = append(back, v.reconnect())
	}
	must(t, h.Start())
	for _, r := range back {
		must(t, <-r)
	}
	s := stats(t, h)
	if s.Controller.Source != "checkpoint" || s.Controller.Connected {
		t.Errorf("%s: rules from %q, connected %v; want checkpoint and false", h.Name, s.Controller.Source, s.Controller.Connected)
	}
	if s.Rules != had.Rules || s.Bindings != had.Bindings || s.Neighbours != had.Neighbours {
		t.Errorf("%s: %d rules, %d bindings, %d neighbours after the restart, want %d, %d, %d", h.Name,
			s.Rules, s.Bindings, s.Neighbours, had.Rules, had.Bindings, had.Neighbours)
	}
}

// everywhere has each VM resolve and ping its gateway, and ping every other.
func everywhere(live []*liveVM) {
	for _, v := range live {
		gateway, other := gwBlue, gwGreen
		if v.IP.As4()[2] == gwGreen.IP.As4()[2] {
			gateway, other = gwGreen, gwBlue
		}
		via := v.resolve(gateway.IP.String())
		v.ping(gateway.IP.String(), via, 3)
		v.ping(other.IP.String(), via, 3)
		for _, to := range live {
			switch {
			case to == v:
			case to.IP.As4()[2] == v.IP.As4()[2]:
				v.ping(to.IP.String(), v.resolve(to.IP.String()), 3)
			default:
				v.ping(to.IP.String(), via, 3)
			}
		}
	}
}

func eachMore(streams []*stream, n uint64) {
	for _, s := range streams {
		s.waitMore(n)
	}
}

func stats(t testing.TB, h *cluster.Host) hostapi.Stats {
	t.Helper()
	s, err := h.Stats()
	must(t, err)
	return s
}

// checkBooks holds hosts to account while their VMs are there, and quiet.
func checkBooks(t testing.TB, hosts ...*cluster.Host) {
	t.Helper()
	for _, h := range hosts {
		if _, err := h.CheckConserved(); err != nil {
			t.Error(err)
		}
	}
}

func checkSameRules(t testing.TB, was, now hostapi.Stats) {
	t.Helper()
	if now.Generation != was.Generation || now.Rules != was.Rules || now.Controller.Entries != was.Controller.Entries {
		t.Errorf("%s: generation %d, %d rules, %d entries received; %d, %d, %d before the controller's death", now.Host,
			now.Generation, now.Rules, now.Controller.Entries, was.Generation, was.Rules, was.Controller.Entries)
	}
}

// portsOf makes n ports of a switch on a host, from address 10.0.1.first on.
func portsOf(sw, host string, first, n int) string {
	var b strings.Builder
	for i := first; i < first+n; i++ {
		fmt.Fprintf(&b, "---\n{kind: Port, name: extra%d, switch: %s, ip: 10.0.1.%d, host: %s}\n", i, sw, i, host)
	}
	return strings.TrimPrefix(b.String(), "---\n")
}

// TestReconcileSendsDifferences changes the network while a host does not
// listen: when it does again, it gets what changed and no more.
func TestReconcileSendsDifferences(t *testing.T) {
	c := newCluster(t)
	must(t, c.StartController(fmt.Sprintf(patient, c.ControllerDir())))
	must(t, c.Apply(network, portsOf("blue", "host1", 100, 60)))
	h1, h2 := startHost(t, c, host1()), startHost(t, c, host2())
	a, x := startVM(t, c, h1, vm1), startVM(t, c, h2, vm3)
	must(t, c.WaitInStep("host1", "host2"))
	a.waitReady()
	x.waitReady()

	for _, way := range []struct {
		name     string
		away     func()
		back     func()
		newVM    string
		received func(before, after hostapi.Stats) uint64
	}{
		{"batond stopped", func() { must(t, h2.Proc.Stop()) }, func() {
			r := x.reconnect()
			must(t, h2.Start())
			must(t, <-r)
		}, "10.0.1.201", func(_, after hostapi.Stats) uint64 { return after.Controller.Entries }},
		{"batond frozen", func() { must(t, syscall.Kill(h2.Proc.Pid(), syscall.SIGSTOP)) },
			func() { must(t, syscall.Kill(h2.Proc.Pid(), syscall.SIGCONT)) }, "10.0.1.202",
			func(before, after hostapi.Stats) uint64 { return after.Controller.Entries - before.Controller.Entries }},
	} {
		before, statsBefore := hostRows(t, c)["host2"], stats(t, h2)
		way.away()
		waitFor(t, c, "loss of host2", func() bool { return !hostRows(t, c)["host2"].Connected })
		must(t, c.Apply(fmt.Sprintf("{kind: Port, name: late%s, switch: blue, ip: %s, host: host1}", way.newVM[7:], way.newVM)))
		way.back()
		must(t, c.WaitInStep("host1", "host2"))
		after, statsAfter := hostRows(t, c)["host2"], stats(t, h2)
		sent, skipped := after.Sent-before.Sent, after.Skipped-before.Skipped
		t.Logf("%s: %d entries sent, %d skipped, %d wanted", way.name, sent, skipped, after.Entries)
		if sent == 0 || sent > 5 || skipped < before.Entries-5 || before.Entries < 100 {
			t.Errorf("%s: sent %d entries and skipped %d of %d, want only the new port's", way.name, sent, skipped, after.Entries)
		}
		if got := way.received(statsBefore, statsAfter); got != sent {
			t.Errorf("%s: the controller counts %d entries sent, the host %d received", way.name, sent, got)
		}
		if mac := x.resolve(way.newVM); !bytes.Equal(mac, endpointOf("", way.newVM).MAC) {
			t.Errorf("%s: ARP for the new port says %v", way.name, mac)
		}
		a.ping("10.0.1.13", a.resolve("10.0.1.13"), 5)
	}
	checkBooks(t, h1, h2)
}

// TestDamagedCheckpoint starts a batond on a checkpoint that is no good: it says
// so in one line, starts empty, and the controller fills it.
func TestDamagedCheckpoint(t *testing.T) {
	c := newCluster(t)
	startController(t, c, network)
	h := startHost(t, c, host1())
	a := startVM(t, c, h, vm1)
	must(t, c.WaitInStep("host1"))
	a.waitReady()
	rules := stats(t, h).Rules
	c.Controller().Proc.Kill()
	must(t, h.Proc.Stop())

	path := filepath.Join(h.StateDir(), "checkpoint")
	good, err := os.ReadFile(path)
	must(t, err)
	for name, bad := range map[string][]byte{
		"cut":     good[:len(good)/2],
		"flipped": append(bytes.Clone(good[:len(good)-1]), good[len(good)-1]^1),
		"empty":   {},
		"foreign": []byte(strings.Repeat("not a checkpoint\n", 100)),
	} {
		must(t, os.WriteFile(path, bad, 0o600))
		lines := len(linesWith(h.Proc.Log(), path))
		must(t, h.Start())
		if s := stats(t, h); s.Rules != 0 || s.Bindings != 0 || s.Controller.Source != "none" {
			t.Errorf("%s checkpoint: %d rules, %d bindings, source %q; want none", name, s.Rules, s.Bindings, s.Controller.Source)
		}
		said := linesWith(h.Proc.Log(), path)[lines:]
		if len(said) != 1 || !strings.Contains(said[0], "[ERROR]") || !strings.Contains(said[0], "starting empty") {
			t.Errorf("%s checkpoint: want one line of level ERROR that names %s, got %q", name, path, said)
		}
		must(t, h.Proc.Stop())
	}

	must(t, os.WriteFile(path, good[:100], 0o600))
	back := a.reconnect()
	must(t, h.Start())
	must(t, c.StartController())
	must(t, c.WaitInStep("host1"))
	must(t, <-back)
	if s := stats(t, h); s.Rules != rules || s.Controller.Source != "controller" {
		t.Errorf("%d rules from %q after the controller came, want %d from controller", s.Rules, s.Controller.Source, rules)
	}
	a.ping("10.0.1.1", a.resolve("10.0.1.1"), 3)
	checkBooks(t, h)
}

// linesWith are the lines of a log that have a text.
func linesWith(log, text string) (all []string) {
	for _, l := range strings.Split(log, "\n") {
		if strings.Contains(l, text) {
			all = append(all, l)
		}
	}
	return all
}
