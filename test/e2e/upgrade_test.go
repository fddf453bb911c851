package e2e_test

import (
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"baton/hostapi"
	"baton/test/cluster"
	"baton/test/lab/guestwire"
)

// deepRings have room for all that an upgradeRig's traffic has under way at once, and for a
// second of its pings: guests of emulated CPUs stand still for parts of one. Without mergeable
// buffers such a ring would take 78 MiB of the guest's memory.
const deepRings = "rx_queue_size=1024,tx_queue_size=1024"

// upgradeRig is guests a, b and c on a host that is handed over, and x on another one. a and x
// have split rings of all kinds, b and c packed ones.
type upgradeRig struct {
	t          *testing.T
	cluster    *cluster.Cluster
	h1, h2     *cluster.Host
	a, b, c, x *machine
	before     map[string]guestwire.LinkResult // of the host's ports
	longestUs  float64                         // for which a port stood still in any upgrade
}

func newUpgradeRig(t *testing.T, more ...string) *upgradeRig {
	t.Helper()
	split := slices.Clone(cards)
	for i := range split[:pingCard+1] {
		split[i].device = strings.TrimPrefix(split[i].device+","+deepRings, ",")
	}
	packed := func(pairs int, more string) card {
		return card{pairs: pairs, mtu: overlayMTU, device: "packed=on," + more + deepRings}
	}
	r := &upgradeRig{
		t: t, cluster: newCluster(t), before: map[string]guestwire.LinkResult{},
		a: &machine{t: t, name: "a", last: 11, place: "host1", cards: split, memory: 224},
		b: &machine{t: t, name: "b", last: 12, place: "host1", cards: []card{packed(2, ""), packed(1, "")}},
		c: &machine{t: t, name: "c", last: 13, place: "host1", cards: []card{packed(1, "event_idx=off,"), packed(1, "indirect_desc=off,")}},
		x: &machine{t: t, name: "x", last: 14, place: "host2", cards: split, memory: 224},
	}
	startController(t, r.cluster, guestNetwork(r.machines()...))
	cfg1, cfg2 := host1(), host2()
	cfg1.Alternate, cfg1.QueuePairs, cfg1.More = true, 2, more
	cfg2.QueuePairs = 2
	r.h1, r.h2 = startHost(t, r.cluster, cfg1), startHost(t, r.cluster, cfg2)
	must(t, r.cluster.WaitInStep("host1", "host2"))
	for _, m := range r.machines() {
		m.host = r.cluster.Host(m.place)
		m.start(r.cluster.Lab)
	}
	for _, m := range r.machines() {
		m.configure()
	}
	r.eachLink(func(port string, now guestwire.LinkResult) { r.before[port] = now })
	return r
}

func (r *upgradeRig) machines() []*machine { return []*machine{r.a, r.b, r.c, r.x} }

// eachLink shows the links of all guests on the host that is handed over.
func (r *upgradeRig) eachLink(show func(port string, now guestwire.LinkResult)) {
	r.t.Helper()
	for _, m := range []*machine{r.a, r.b, r.c} {
		for i := range m.cards {
			show(m.port(i).Name, m.link(i))
		}
	}
}

// checkLinks wants that the guests have seen nothing.
func (r *upgradeRig) checkLinks() {
	r.t.Helper()
	r.eachLink(func(port string, now guestwire.LinkResult) {
		was := r.before[port]
		if now.CarrierChanges != was.CarrierChanges || now.Features != was.Features || !now.Carrier {
			r.t.Errorf("%s was %+v, is %+v", port, was, now)
		}
	})
}

// upgrade hands the host over to a program, and wants that to be done and the version to answer.
func (r *upgradeRig) upgrade(binary, version string) {
	t := r.t
	t.Helper()
	v, err := r.h1.Upgrade(t.Context(), hostapi.UpgradeRequest{Binary: binary})
	must(t, err)
	if v.State != hostapi.UpgradeDone {
		t.Fatalf("upgrade: %+v", v)
	}
	longest, relayed, waited := 0.0, uint64(0), uint64(0)
	for _, p := range v.Ports {
		if p.InterruptionUs == nil || p.Phase != hostapi.UpgradePortMoved || p.Lost == nil || *p.Lost != 0 {
			t.Errorf("port %+v", p)
			continue
		}
		longest, relayed, waited = max(longest, *p.InterruptionUs), relayed+*p.Relayed, waited+*p.Waited
	}
	r.longestUs = max(r.longestUs, longest)
	t.Logf("%s to %s in %.1f s: a port stood still for %.0f us at most, %d frames relayed, %d waited",
		v.From, v.To, v.TotalS, longest, relayed, waited)
	if s := stats(t, r.h1); s.Version != version {
		t.Errorf("version %s answers, want %s", s.Version, version)
	}
}

// newBatond builds a batond of another version.
func newBatond(t *testing.T, version string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "batond")
	out, err := exec.Command("go", "build", "-buildvcs=false", "-ldflags", "-X baton/cmd/internal/cli.Version="+version,
		"-o", path, "baton/cmd/batond").CombinedOutput()
	if err != nil {
		t.Fatalf("build batond: %v\n%s", err, out)
	}
	return path
}

// TestUpgrade hands a host with real guests over twenty times, then to a newer version and back
// to the older one, all under pings and bulk TCP: no ping is lost, no byte is wrong or waits for a
// retransmission time-out, and no guest sees a change of its links.
func TestUpgrade(t *testing.T) {
	const next = "99.0.0"
	newer := newBatond(t, next)
	r := newUpgradeRig(t)
	now := stats(t, r.h1).Version
	load := r.startTraffic()
	for range 20 {
		r.upgrade("", now)
	}
	r.upgrade(newer, next)
	r.upgrade("", next) // its own successor
	r.upgrade(filepath.Join(binDir(t), "batond"), now)
	load.end()
	load.checkWhole()
	r.checkLinks()
	exchange(t, r.a, r.x, 1<<20, 0, 1, 2, 3)
	exchange(t, r.b, r.c, 1<<20, 0, 1)
}

// TestStandby kills the process that forwards, again and again, under pings and bulk TCP: its
// standby goes on, no byte is wrong, and the guests see no change of their links.
func TestStandby(t *testing.T) {
	r := newUpgradeRig(t, "standby: true", "watchdog: 20s") // on a machine that others use too
	load := r.startTraffic()
	for range 3 {
		r.ready()
		was := r.h1.Proc.Pid()
		must(t, r.h1.Proc.Signal(syscall.SIGKILL))
		var v hostapi.Upgrade
		waitFor(t, r.cluster, "the standby's answer", func() bool {
			now, err := r.h1.API.Upgrade(t.Context())
			v = now
			return err == nil && now.PID != was
		})
		must(t, r.h1.Adopt(v.PID))
		t.Logf("taken over in %.0f us", 1e6*v.TotalS)
		must(t, r.h1.WaitPorts(r.a.ports()...))
	}
	r.ready()
	load.end()
	load.checkCrashed()
	r.checkLinks()
	exchange(t, r.a, r.x, 1<<20, 0, 1, 2, 3)
	exchange(t, r.b, r.c, 1<<20, 0, 1)
}

// ready waits for the standby.
func (r *upgradeRig) ready() {
	r.t.Helper()
	waitFor(r.t, r.cluster, "the standby", func() bool {
		s, err := r.h1.API.Stats(r.t.Context())
		return err == nil && s.Standby == "ready"
	})
}
