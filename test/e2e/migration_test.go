package e2e_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"baton/test/cluster"
	"baton/test/lab"
	"baton/test/lab/guestwire"
)

// The traffic of a migration.
const (
	movePings = 2000
	movePace  = 10 * time.Millisecond
	moveLimit = 2 * time.Minute
)

// moveNetwork is a VM that moves from host1 to host2, and one that talks to it.
const moveNetwork = `
{kind: Host, name: host1, underlay: 192.168.100.1/24, mtu: 1600}
---
{kind: Host, name: host2, underlay: 192.168.100.2/24, mtu: 1600}
---
{kind: Switch, name: blue, vni: 3001}
---
{kind: Port, name: mover, switch: blue, ip: 10.0.1.11, host: host1, id: 1}
---
{kind: Port, name: peer, switch: blue, ip: 10.0.1.12, host: host1, id: 2}
`

// TestMigration moves a guest under ping and bulk TCP from one host's QEMU and batond
// to the other's. The guest receives into a file in its memory while it moves: a page
// that a device wrote and nobody copied again has other bytes afterwards.
func TestMigration(t *testing.T) {
	for _, ring := range []struct{ name, device string }{{"split", ""}, {"packed", "packed=on"}} {
		t.Run(ring.name, func(t *testing.T) { testMigration(t, ring.device) })
	}
}

// moveRig is the cluster of a migration.
type moveRig struct {
	c           *cluster.Cluster
	h1, h2      *cluster.Host
	mover, peer *lab.Guest // mover runs on h1 at first
}

func newMoveRig(t *testing.T, device string) *moveRig {
	t.Helper()
	r := &moveRig{c: newCluster(t)}
	startController(t, r.c, moveNetwork)
	r.h1, r.h2 = startHost(t, r.c, host1()), startHost(t, r.c, host2())
	must(t, r.c.WaitInStep("host1", "host2"))
	t.Cleanup(func() { // before the hosts are checked
		for _, g := range []*lab.Guest{r.mover, r.peer} {
			if g != nil {
				g.Kill()
			}
		}
	})
	var err error
	for _, g := range []struct {
		to  **lab.Guest
		end endpoint
	}{{&r.mover, endpointOf("mover", "10.0.1.11")}, {&r.peer, endpointOf("peer", "10.0.1.12")}} {
		*g.to, err = r.c.Lab.StartGuest(lab.GuestConfig{Name: g.end.Name, MemoryMiB: 320, NICs: []lab.NIC{{
			MAC: g.end.MAC, VhostSocket: r.h1.VhostSocket(g.end.Name), Device: device,
		}}})
		must(t, err)
	}
	for g, ip := range map[*lab.Guest]string{r.mover: "10.0.1.11/24", r.peer: "10.0.1.12/24"} {
		must(t, g.WaitReady(guestBoot))
		must(t, g.Configure(guestwire.NetArgs{Link: "eth0", Addr: ip}))
	}
	must(t, r.h1.WaitPorts("mover", "peer"))
	return r
}

// place is where the controller says that the moving port is.
func (r *moveRig) place(t *testing.T) (host, migrateTo string) {
	t.Helper()
	out, err := r.c.Batonctl("get", "port", "mover", "-o", "json")
	must(t, err)
	var p struct{ Host, MigrateTo string }
	must(t, json.Unmarshal([]byte(out), &p))
	return p.Host, p.MigrateTo
}

// shell runs commands in a guest and returns what they print.
func shell(t *testing.T, g *lab.Guest, commands string) string {
	t.Helper()
	r, err := g.Exec(moveLimit, "sh", "-e", "-c", commands)
	must(t, err)
	if r.Code != 0 {
		t.Fatalf("%s: exit code %d: %s%s", commands, r.Code, r.Stdout, r.Stderr)
	}
	return r.Stdout
}

// moveBulk is bulk TCP between the guests, of what nobody can guess, a quarter of a MiB a
// tenth of a second, until /stop is there. The sender has it in /sent, the receiver in
// /received; each guest is one of each.
type moveBulk struct {
	name string
	dst  string // address
	port int
}

var (
	toMover   = moveBulk{"to the guest that moves", "10.0.1.11", 6000}
	fromMover = moveBulk{"from the guest that moves", "10.0.1.12", 6001}
)

// receive is the receiver, whose process id is in /receiver.
func (b moveBulk) receive() string {
	return fmt.Sprintf("echo 4096 4194304 8388608 >/proc/sys/net/ipv4/tcp_rmem; mkfifo /open; exec 3<>/open; "+
		"nc -l -p %d </open >/received & echo $! >/receiver; wait $!", b.port)
}

func (b moveBulk) send() string {
	return fmt.Sprintf("while test ! -e /stop; do dd if=/dev/urandom bs=256k count=1 2>/dev/null; sleep 0.1; done | tee /sent | nc %s %d", b.dst, b.port)
}

// check compares what was sent and received.
func (b moveBulk) check(t *testing.T, from, to *lab.Guest, before int64) {
	t.Helper()
	n := fileSize(t, to, "/received")
	got, want := strings.Fields(shell(t, to, "sha256sum /received"))[0], strings.Fields(shell(t, from, "sha256sum /sent"))[0]
	if got != want {
		t.Errorf("TCP %s: received %d bytes, SHA-256 %s; sent were %d, %s", b.name, n, got, fileSize(t, from, "/sent"), want)
	}
	t.Logf("TCP %s: one connection, %.1f MiB, %.1f of them before the move; bytes right: %v; segments sent again: %s", b.name, float64(n)/(1<<20),
		float64(before)/(1<<20), got == want, strings.TrimSpace(shell(t, from, "awk '/^Tcp/ {n = $13} END {print n}' /proc/net/snmp")))
}

// load is traffic of the moving guest, under way.
type load struct {
	done   chan error // of each of five
	pinged guestwire.PingResult
}

func (r *moveRig) startLoad(t *testing.T) *load {
	t.Helper()
	l := &load{done: make(chan error, 5)}
	run := func(g *lab.Guest, commands string) {
		x, err := g.Exec(moveLimit, "sh", "-c", commands)
		if err == nil && x.Code != 0 {
			err = fmt.Errorf("%s: exit code %d: %s", commands, x.Code, x.Stderr)
		}
		l.done <- err
	}
	mover, peer := r.mover, r.peer
	for _, way := range []struct {
		moveBulk
		from, to *lab.Guest
	}{{toMover, peer, mover}, {fromMover, mover, peer}} {
		go run(way.to, way.receive())
		must(t, r.c.Lab.WaitFor("the receiver to listen", moveLimit, func() bool {
			return strings.Contains(shell(t, way.to, "cat /proc/net/tcp"), fmt.Sprintf(":%04X ", way.port))
		}))
		go run(way.from, way.send())
	}
	go func() {
		var err error
		l.pinged, err = peer.Ping(guestwire.PingArgs{Dst: "10.0.1.11", Count: movePings, IntervalUs: movePace.Microseconds(), WaitMs: 10000})
		l.done <- err
	}()
	return l
}

// fileSize is how many bytes a file in a guest has.
func fileSize(t *testing.T, g *lab.Guest, file string) (n int64) {
	t.Helper()
	_, err := fmt.Sscan(shell(t, g, "stat -c %s "+file), &n)
	must(t, err)
	return n
}

func testMigration(t *testing.T, device string) {
	r := newMoveRig(t, device)
	_, err := r.c.Batonctl("port", "move", "mover", "--to", "host2", "--wait")
	must(t, err)
	to, err := r.mover.StartIncoming("mover-moved", r.h2.VhostSocket("mover"))
	must(t, err)
	t.Cleanup(to.Kill)
	l := r.startLoad(t)
	must(t, r.c.Lab.WaitFor("the bulk to begin", moveLimit, func() bool {
		p := hostPort(t, r.h1, "mover")
		return p.TxBytes > 1<<20 && p.RxBytes > 1<<20
	}))
	if at, next := r.place(t); at != "host1" || next != "host2" {
		t.Errorf("before the migration the port is on %s, to move to %s", at, next)
	}
	source, target := portDown(t, r.h1), portDown(t, r.h2)
	// While the guest moves nobody there reads: what the device writes stays where it
	// was written, in pages that the guest itself does not touch. QEMU copies them
	// again only if the device says so.
	shell(t, r.mover, "kill -STOP $(cat /receiver)")
	m, err := r.mover.MigrateTo(to, moveLimit)
	must(t, err)
	r.mover = to
	shell(t, to, "kill -CONT $(cat /receiver)")
	before := map[*lab.Guest]int64{}
	for _, g := range []*lab.Guest{to, r.peer} {
		before[g] = fileSize(t, g, "/received")
		must(t, r.c.Lab.WaitFor("the connections to go on after the move", moveLimit, func() bool {
			return fileSize(t, g, "/received") > before[g]+1<<20
		}))
	}
	for _, g := range []*lab.Guest{to, r.peer} {
		shell(t, g, "touch /stop")
	}
	for range cap(l.done) {
		must(t, <-l.done)
	}
	if at, next := r.place(t); at != "host2" || next != "" {
		t.Errorf("after the migration the port is on %s, to move to %q", at, next)
	}
	must(t, r.c.WaitInStep("host1", "host2"))
	if p := l.pinged; p.Received == 0 || p.Corrupt+p.Duplicates != 0 {
		t.Errorf("ping: %+v", p)
	}
	t.Logf("migration: %v", m)
	t.Logf("ping every %v: %d of %d lost, longest gap %v, slowest answer %d ms", movePace, l.pinged.Sent-l.pinged.Received, l.pinged.Sent,
		time.Duration(longestRun(l.pinged.Lost))*movePace, l.pinged.MaxUs/1000)
	toMover.check(t, r.peer, to, before[to])
	fromMover.check(t, to, r.peer, before[r.peer])
	// What comes while the guest runs nowhere is lost, but where it is to run: the host
	// that it left relays until all know the new place.
	source, target = portDown(t, r.h1)-source, portDown(t, r.h2)-target
	t.Logf("frames for the guest that were dropped because it ran nowhere: %d where it left, %d where it went", source, target)
	for _, h := range []*cluster.Host{r.h1, r.h2} {
		t.Logf("%s dropped in all: %v", h.Name, stats(t, h).Drops)
	}
	if source > target {
		t.Errorf("the host that the guest left dropped %d frames for it, more than the %d of the host it went to", source, target)
	}
}

// portDown is how many frames a host has dropped for ports that took none.
func portDown(t *testing.T, h *cluster.Host) uint64 {
	t.Helper()
	return stats(t, h).Drops["port_down"]
}

// longestRun is the length of the longest run of successive numbers.
func longestRun(n []int) (longest int) {
	run := 0
	for i := range n {
		if i > 0 && n[i] != n[i-1]+1 {
			run = 0
		}
		run++
		longest = max(longest, run)
	}
	return longest
}
