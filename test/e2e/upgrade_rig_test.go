package e2e_test

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"baton/hostapi"
	"baton/test/cluster"
	"baton/vhost/guest"
	"baton/vhost/proto"
)

// handEvery is the rhythm of a handRig's streams: modest, so that a machine that others use too
// loses none of them.
const handEvery = 4 * time.Millisecond

// handRig is host1, which is handed over, with live VMs a and b and idle ones besides, and
// host2 with x. Numbered streams run between a and b, a and x, both ways.
type handRig struct {
	t       *testing.T
	c       *cluster.Cluster
	h1, h2  *cluster.Host
	h3      *cluster.Host // nil without handConfig.third
	a, b, x *liveVM
	ports   []string // of h1
	idle    []*liveVM
	streams []*stream
}

// handConfig is what a handRig may differ in.
type handConfig struct {
	idle   int // VMs besides a and b
	server bool
	pair   bool     // host1 has a pair of VTEPs
	third  bool     // there is a host3, without VMs
	more   []string // lines of host1's configuration
}

func newHandRig(t *testing.T, cfg handConfig) *handRig {
	t.Helper()
	r := &handRig{t: t, c: newCluster(t), ports: []string{"vm1", "vm2"}}
	docs := []string{network}
	if cfg.pair {
		docs[0] = pairNetwork
	}
	var idle []endpoint
	for i := range cfg.idle {
		e := endpointOf(fmt.Sprintf("vm%d", 50+i), fmt.Sprintf("10.0.1.%d", 50+i))
		docs = append(docs, fmt.Sprintf("{kind: Port, name: %s, switch: blue, ip: %v, host: host1, id: %d}", e.Name, e.IP, 50+i))
		r.ports, idle = append(r.ports, e.Name), append(idle, e)
	}
	startController(t, r.c, docs...)
	cfg1 := host1()
	cfg1.Alternate, cfg1.More = true, cfg.more
	if cfg.server {
		cfg1.VhostMode = "server"
	}
	if cfg.pair {
		cfg1.Pair = otherVTEP
	}
	r.h1, r.h2 = startHost(t, r.c, cfg1), startHost(t, r.c, host2())
	must(t, r.c.WaitInStep("host1", "host2"))
	if cfg.third {
		must(t, r.c.Apply("{kind: Host, name: host3, underlay: 192.168.100.3/24, mtu: 1600}"))
		r.h3 = startHost(t, r.c, cluster.HostConfig{Name: "host3", Underlay: netip.MustParsePrefix("192.168.100.3/24"), CPU: 1})
		must(t, r.c.WaitInStep("host3"))
	}
	mode := func(g *guest.Config) { g.Listen = !cfg.server }
	r.a, r.b, r.x = startVM(t, r.c, r.h1, vm1, mode), startVM(t, r.c, r.h1, vm2, mode), startVM(t, r.c, r.h2, vm3)
	for _, e := range idle {
		v := startVM(t, r.c, r.h1, e, mode)
		v.waitReady()
		r.idle = append(r.idle, v)
	}
	for _, v := range []*liveVM{r.a, r.b, r.x} {
		v.waitReady()
	}
	must(t, r.h1.WaitPorts(r.ports...))
	return r
}

// flow starts the streams.
func (r *handRig) flow() {
	r.t.Helper()
	aGW, bGW, aX, xA := r.a.resolve("10.0.1.1"), r.b.resolve("10.0.2.1"), r.a.resolve("10.0.1.13"), r.x.resolve("10.0.1.11")
	r.streams = []*stream{
		r.a.stream(r.b, aGW, handEvery), r.b.stream(r.a, bGW, handEvery), // VM to VM
		r.a.stream(r.x, aX, handEvery), r.x.stream(r.a, xA, handEvery), // VM to wire, wire to VM
	}
	eachMore(r.streams, 20)
}

// whole ends the streams and wants each datagram once and in order.
func (r *handRig) whole() {
	r.t.Helper()
	for _, s := range r.streams {
		s.checkWhole()
	}
	r.streams = nil
}

// crashed ends the streams of which a process died: what was in it is lost, and what it had not
// told the guest of may come twice; no more than most, and nothing else.
func (r *handRig) crashed(most uint64) {
	r.t.Helper()
	eachMore(r.streams, 50) // all go on
	line := "lost, twice, out of order:"
	for _, s := range r.streams {
		sent, arrived := s.stop(), uint64(0)
		_ = r.c.Lab.WaitFor("the stream's end", time.Second, func() bool { // lost ones never come
			arrived = s.arrived()
			return arrived == sent
		})
		s.to.mu.Lock()
		got := *s.to.got[s.port]
		s.to.mu.Unlock()
		line += fmt.Sprintf(" %s to %s %d, %d, %d of %d;", s.from.Name, s.to.Name, sent-arrived, got.doubles, got.disorders, sent)
		if sent-arrived > most || got.doubles > most || got.disorders > 0 {
			r.t.Errorf("VM %s to %s: %d of %d lost, %d twice, %d out of order; want at most %d, %d and 0",
				s.from.name, s.to.name, sent-arrived, sent, got.doubles, got.disorders, most, most)
		}
	}
	r.t.Log(strings.TrimSuffix(line, ";"))
	r.streams = nil
}

// sessions wants that each VM's front end still has the connection that it began with.
func (r *handRig) sessions() {
	r.t.Helper()
	r.connected(r.a, r.b)
	all, err := r.h1.API.Vhosts(r.t.Context())
	must(r.t, err)
	for _, v := range all {
		if !v.Connected || v.Disconnects != 0 {
			r.t.Errorf("port %s: connected %v, %d disconnects", v.Port, v.Connected, v.Disconnects)
		}
	}
}

// connected wants that the VMs' front ends have the connections that they began with.
func (r *handRig) connected(vms ...*liveVM) {
	r.t.Helper()
	for _, v := range vms {
		if err := v.session(); err != nil {
			r.t.Errorf("VM %s: its session: %v", v.name, err)
		}
	}
}

// session asks the back end something.
//
//	error: there is none any more
func (v *liveVM) session() error {
	return v.do(func(g *guest.Guest) error {
		_, err := g.GetU64(proto.GetFeatures)
		return err
	})
}

// upgrade hands host1 over and wants that to be done.
func (r *handRig) upgrade(req hostapi.UpgradeRequest) hostapi.Upgrade {
	r.t.Helper()
	v, err := r.h1.Upgrade(r.t.Context(), req)
	must(r.t, err)
	if v.State != hostapi.UpgradeDone {
		r.t.Fatalf("upgrade: %+v", v)
	}
	return v
}

// begin begins an upgrade that takes its time, and waits until some ports have moved.
func (r *handRig) begin() {
	r.t.Helper()
	must(r.t, r.h1.API.StartUpgrade(r.t.Context(), hostapi.UpgradeRequest{Rate: 2}))
	waitFor(r.t, r.c, "the first port to move", func() bool {
		v, err := r.h1.API.Upgrade(r.t.Context())
		return err == nil && len(v.Ports) > 0 && v.Ports[0].Phase == hostapi.UpgradePortMoved
	})
}

// canary begins an upgrade with these canaries, and waits until they are looked at, for so many
// seconds.
func (r *handRig) canary(seconds float64, vms ...string) {
	r.t.Helper()
	must(r.t, r.h1.API.StartUpgrade(r.t.Context(), hostapi.UpgradeRequest{Canary: vms, CanaryS: seconds}))
	waitFor(r.t, r.c, "the canaries' time", func() bool {
		v, err := r.h1.API.Upgrade(r.t.Context())
		return err == nil && v.Phase == "canary"
	})
}

// dryRun wants nothing to be in the way of an upgrade.
func (r *handRig) dryRun() {
	r.t.Helper()
	must(r.t, r.h1.API.StartUpgrade(r.t.Context(), hostapi.UpgradeRequest{DryRun: true}))
	if v := r.ended(); v.State != hostapi.UpgradeChecked || v.Error != "" {
		r.t.Errorf("dry run: %+v", v)
	}
}

// rolledBack waits for the upgrade's end and wants all to be as before, for a reason that has want.
func (r *handRig) rolledBack(want string) hostapi.Upgrade {
	r.t.Helper()
	v := r.ended()
	if v.State != hostapi.UpgradeRolledBack || !strings.Contains(v.Error, want) || v.PID != r.h1.Proc.Pid() {
		r.t.Errorf("upgrade: %+v; want it rolled back for a reason with %q", v, want)
	}
	r.t.Logf("rolled back after %.1f s: %s", v.TotalS, v.Error)
	must(r.t, r.h1.WaitPorts(r.ports...))
	eachMore(r.streams, 50)
	return v
}

// ended waits for the upgrade's end.
func (r *handRig) ended() (v hostapi.Upgrade) {
	r.t.Helper()
	waitFor(r.t, r.c, "the upgrade's end", func() bool {
		now, err := r.h1.API.Upgrade(r.t.Context())
		v = now
		return err == nil && v.State != hostapi.UpgradeRunning
	})
	return v
}

// succeeded waits until another process than the one that was here answers, and makes it host1's.
func (r *handRig) succeeded() hostapi.Upgrade {
	r.t.Helper()
	was := r.h1.Proc.Pid()
	var v hostapi.Upgrade
	waitFor(r.t, r.c, "another process' answer", func() bool {
		now, err := r.h1.API.Upgrade(r.t.Context())
		v = now
		return err == nil && now.PID != was
	})
	must(r.t, r.h1.Adopt(v.PID))
	must(r.t, r.h1.WaitPorts(r.ports...))
	return v
}

// ready waits for host1's standby.
func (r *handRig) ready() {
	r.t.Helper()
	waitFor(r.t, r.c, "the standby", func() bool {
		s, err := r.h1.Stats()
		return err == nil && s.Standby == "ready"
	})
}

// child is the process that the host's batond has started with a flag.
func child(t *testing.T, h *cluster.Host, flag string) int {
	t.Helper()
	all := children(h, flag)
	if len(all) != 1 {
		t.Fatalf("%s has %d processes with %s, want 1", h.Name, len(all), flag)
	}
	return all[0]
}

// children lists the processes that the host's batond has started with a flag.
func children(h *cluster.Host, flag string) (pids []int) {
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		line, _ := os.ReadFile("/proc/" + e.Name() + "/cmdline") // empty: gone, or a zombie
		stat, _ := os.ReadFile("/proc/" + e.Name() + "/stat")
		// After the name, which is in brackets: state, parent.
		rest := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		if len(rest) > 1 && rest[1] == strconv.Itoa(h.Proc.Pid()) && strings.Contains(string(line), "\x00"+flag) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// alone wants that host1's batond has no new process and no zombie.
func (r *handRig) alone() {
	r.t.Helper()
	if all := children(r.h1, "--takeover="); len(all) != 0 {
		r.t.Errorf("host1 has still new processes: %v", all)
	}
}

// signal sends a signal to a process that is not the lab's own.
func signal(t *testing.T, pid int, s syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(pid, s); err != nil && !errors.Is(err, syscall.ESRCH) {
		t.Fatalf("signal %v to %d: %v", s, pid, err)
	}
}
