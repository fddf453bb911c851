package e2e_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"baton/hostapi"
	"baton/test/cluster"
	"baton/test/lab/guestwire"
)

// TestGuests has two Linux guests on two hosts. Guest a's QEMU listens for the
// switch, and two workers serve it; guest b's QEMU connects to the switch.
func TestGuests(t *testing.T) {
	a := &machine{t: t, name: "a", last: 1, place: "host1", cards: cards, mode: "client", mayReboot: true}
	b := &machine{t: t, name: "b", last: 2, place: "host2", cards: cards, mode: "server", mayReboot: true}
	c := newCluster(t)
	startController(t, c, guestNetwork(a, b))
	cfg1, cfg2 := host1(), host2()
	cfg1.More = append(cfg1.More, "workers: {cpus: [0, 1]}")
	cfg1.VhostMode, cfg1.QueuePairs = a.mode, 2
	cfg2.VhostMode, cfg2.QueuePairs = b.mode, 2
	a.host, b.host = startHost(t, c, cfg1), startHost(t, c, cfg2)
	must(t, c.WaitInStep("host1", "host2"))
	both := []*machine{a, b}
	t.Cleanup(func() { // before the hosts are checked
		for _, m := range both {
			if m.Guest != nil {
				m.Kill()
			}
		}
	})
	for _, m := range both {
		m.start(c.Lab)
	}
	for _, m := range both {
		m.configure()
		m.checkFeatures()
	}
	all := []int{0, 1, 2, 3}
	step := func(name string, f func(t *testing.T)) {
		t.Run(name, func(t *testing.T) {
			a.t, b.t = t, t
			f(t)
		})
	}
	step("traffic", func(t *testing.T) { exchange(t, a, b, 2<<20, all...) })
	step("mtu", func(t *testing.T) { testGuestMTU(t, a, b) })
	step("flood", func(t *testing.T) { testGuestFlood(t, a, b) })
	step("queues", func(t *testing.T) { testGuestQueues(t, a, b) })
	step("driver gone and back", func(t *testing.T) { testDrivers(t, c, a, b, all) })
	step("switch restarts", func(t *testing.T) { testSwitchRestart(t, c, a, b, all) })
	step("guests restart", func(t *testing.T) { testGuestsRestart(t, a, b, all) })
	step("qemu killed", func(t *testing.T) { testKill(t, c, a, b, all) })
}

// testGuestMTU: cards that tell the MTU have the overlay's without a word from
// anybody; a guest that makes itself a larger one loses its large packets, with
// a reason, until it has heard what gets through: then its own kernel refuses them.
func testGuestMTU(t *testing.T, a, b *machine) {
	for i, k := range cards {
		want := k.mtu
		if want == 0 {
			want = 1500
		}
		for _, m := range []*machine{a, b} {
			if r := m.link(i); r.MTU != want {
				t.Errorf("%s: eth%d has MTU %d, want %d", m.name, i, r.MTU, want)
			}
		}
	}
	const headers = 20 + 8 // IPv4 and ICMP
	ping := func(i, size int) guestwire.PingResult {
		r, err := a.Ping(guestwire.PingArgs{Dst: b.port(i).IP.String(), Count: 5, IntervalUs: 2000, Size: size - headers, WaitMs: 1500, DF: true})
		must(t, err)
		return r
	}
	if r := ping(0, overlayMTU); r.Received != 5 {
		t.Errorf("packets of exactly the MTU: %+v", r)
	}
	before := dropCount(t, a.host, "too_big")
	a.shell("ip link set eth1 mtu 1800")
	r := ping(1, overlayMTU+50)
	if r.Received != 0 || r.Sent < 1 || r.SendErrors < 1 || r.Sent+r.SendErrors != 5 {
		t.Errorf("packets larger than the MTU: %+v; want some sent, the rest refused by the guest's kernel", r)
	}
	if n := dropCount(t, a.host, "too_big") - before; n != uint64(r.Sent) {
		t.Errorf("%d packets dropped as too big, want %d", n, r.Sent)
	}
	a.shell("ip link set eth1 mtu 1500")
}

// testGuestFlood: broadcasts and frames to nobody cost drops, and nobody else's packets.
func testGuestFlood(t *testing.T, a, b *machine) {
	const each = 5000
	a.shell("arp -s 10.0.3.99 02:00:00:00:00:99")
	was := a.link(3).Statistics["tx_packets"]
	drops, got := hostPort(t, a.host, a.port(3).Name).Dropped, hostPort(t, b.host, b.port(3).Name).TxPackets
	var wg sync.WaitGroup
	for port, dst := range []string{"10.0.3.255", "10.0.3.99"} {
		wg.Go(func() {
			var r guestwire.UDPSendResult
			args := guestwire.UDPSendArgs{Dst: dst, Port: 100 + port, Count: each, Size: 200}
			if err := a.Call(guestwire.OpUDPSend, args, guestWait, &r); err != nil || r.Sent == 0 {
				t.Errorf("flood to %s: %+v, %v", dst, r, err)
			}
		})
	}
	r, err := a.Ping(guestwire.PingArgs{Dst: b.port(0).IP.String(), Count: 100, IntervalUs: 5000, WaitMs: 5000})
	must(t, err)
	wg.Wait()
	if r.Received != 100 {
		t.Errorf("ping beside the flood: %+v", r)
	}
	_, err = a.host.CheckConserved()
	must(t, err)
	sent := a.link(3).Statistics["tx_packets"] - was
	if n := hostPort(t, a.host, a.port(3).Name).Dropped - drops; n < each || n > sent {
		t.Errorf("%d frames to nobody were sent, %d dropped", sent, n)
	}
	if n := hostPort(t, b.host, b.port(3).Name).TxPackets - got; n != 0 {
		t.Errorf("%d frames of the flood went to %s", n, b.port(3).Name)
	}
}

func hostPort(t *testing.T, h *cluster.Host, name string) hostapi.Port {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), guestWait)
	defer cancel()
	ports, err := h.API.Ports(ctx)
	must(t, err)
	at := slices.IndexFunc(ports, func(p hostapi.Port) bool { return p.Name == name })
	if at < 0 {
		t.Fatalf("no port %s", name)
	}
	return ports[at]
}

// testGuestQueues changes how many of its queue pairs the guest uses while
// packets come for it: nothing is lost in a queue that is off.
func testGuestQueues(t *testing.T, a, b *machine) {
	down, full := dropCount(t, a.host, "port_down"), dropCount(t, a.host, "tx_full")
	var lost atomic.Int64
	var wg sync.WaitGroup
	for flow := range 4 {
		wg.Go(func() {
			sent, got, err := b.SendUDP(a.Guest, guestwire.UDPSendArgs{
				Dst: a.port(0).IP.String(), Port: 7000 + flow, Count: 750, Size: 300, IntervalUs: 2000,
			}, 3*time.Second)
			if err != nil || got.Received == 0 || got.Corrupt+got.Duplicates != 0 {
				t.Errorf("flow %d: sent %+v, received %+v, %v", flow, sent, got, err)
			}
			lost.Add(int64(sent.Sent - got.Received))
		})
	}
	for n := range 6 {
		pairs := 1 + n%2
		r, err := a.SetChannels("eth0", pairs)
		must(t, err)
		if r.MaxCombined != 2 || a.enabled(0) != pairs {
			t.Errorf("the guest uses %+v pairs, the host sees %d", r, a.enabled(0))
		}
	}
	wg.Wait()
	// An emulated CPU that stands still may leave its ring full, and that is said.
	down, full = dropCount(t, a.host, "port_down")-down, dropCount(t, a.host, "tx_full")-full
	if down != 0 || uint64(lost.Load()) > full {
		t.Errorf("%d packets were lost, %d dropped with the ring full, %d with the port down", lost.Load(), full, down)
	}
}

// testDrivers takes the guests' drivers away under traffic and brings them back.
func testDrivers(t *testing.T, c *cluster.Cluster, a, b *machine, all []int) {
	a.shell("rmmod virtio_net")
	must(t, c.Lab.WaitFor("a's ports to go down", guestWait, func() bool { return a.enabled(0) == 0 }))
	a.shell("insmod /modules/*-virtio_net.ko")
	a.configure()
	b.shell("cd /sys/bus/virtio/drivers/virtio_net; d=$(basename $(readlink /sys/class/net/eth1/device)); echo $d > unbind; test ! -e /sys/class/net/eth1; echo $d > bind")
	b.configure()
	for _, m := range []*machine{a, b} {
		m.checkFeatures()
	}
	exchange(t, a, b, 1<<18, all...)
}

// testSwitchRestart ends both batonds, one by a crash, and starts them again
// under the running guests: their network comes back without a word to them.
func testSwitchRestart(t *testing.T, c *cluster.Cluster, a, b *machine, all []int) {
	var features [2][]string
	var changes [2][]int
	for n, m := range []*machine{a, b} {
		for _, i := range all {
			features[n] = append(features[n], m.vhost(i).Features)
			changes[n] = append(changes[n], m.link(i).CarrierChanges)
		}
	}
	must(t, a.host.Proc.Stop())
	b.host.Proc.Kill()
	for _, m := range []*machine{a, b} {
		must(t, c.Lab.WaitFor(m.name+" to lose its carrier", guestWait, func() bool { return !m.link(0).Carrier }))
		must(t, m.host.Start())
	}
	must(t, c.WaitInStep("host1", "host2"))
	for n, m := range []*machine{a, b} {
		must(t, m.host.WaitPorts(m.ports()...))
		for _, i := range all {
			must(t, c.Lab.WaitFor(fmt.Sprintf("carrier of %s's eth%d", m.name, i), guestWait, func() bool { return m.link(i).Carrier }))
			if got := m.link(i).CarrierChanges - changes[n][i]; got != 2 {
				t.Errorf("%s: carrier of eth%d changed %d times, want 2: down and up", m.name, i, got)
			}
			if f := m.vhost(i).Features; f != features[n][i] {
				t.Errorf("%s: eth%d has features %s, before the restart %s", m.name, i, f, features[n][i])
			}
		}
		m.checkFeatures()
	}
	exchange(t, a, b, 1<<18, all...)
}

// testGuestsRestart restarts both guests, whose drivers set all up anew.
func testGuestsRestart(t *testing.T, a, b *machine, all []int) {
	var wg sync.WaitGroup
	for _, m := range []*machine{a, b} {
		wg.Go(func() {
			if err := m.Reboot(guestBoot); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, m := range []*machine{a, b} {
		m.configure()
		m.checkFeatures()
	}
	exchange(t, a, b, 1<<18, all...)
}

// testKill ends both QEMUs by a crash and starts them again on the same sockets.
func testKill(t *testing.T, c *cluster.Cluster, a, b *machine, all []int) {
	a.Kill()
	b.Kill()
	for _, m := range []*machine{a, b} {
		must(t, c.Lab.WaitFor("end of the sessions of "+m.name, guestWait, func() bool { return !m.vhost(0).Connected && !m.vhost(3).Connected }))
		m.start(c.Lab)
	}
	for _, m := range []*machine{a, b} {
		m.configure()
		m.checkFeatures()
	}
	exchange(t, a, b, 1<<18, all...)
}
