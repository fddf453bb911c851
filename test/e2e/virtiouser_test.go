package e2e_test

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"baton/hostapi"
	"baton/test/cluster"
	"baton/test/lab"
)

// TestVirtioUser has DPDK's testpmd as the VM of host1, in both socket modes and
// with one and four queue pairs. It sends as fast as it can to a VM on host2,
// and gives back what that one sends; then each end is restarted in turn.
func TestVirtioUser(t *testing.T) {
	for _, mode := range []string{"client", "server"} {
		for _, pairs := range []int{1, 4} {
			t.Run(fmt.Sprintf("%s/%d", mode, pairs), func(t *testing.T) { testVirtioUser(t, mode, pairs) })
		}
	}
}

func testVirtioUser(t *testing.T, mode string, pairs int) {
	c := newCluster(t)
	startController(t, c, network)
	cfg := host1()
	cfg.VhostMode, cfg.QueuePairs = mode, pairs
	h1, h2 := startHost(t, c, cfg), startHost(t, c, host2())
	must(t, c.WaitInStep("host1", "host2"))
	x := attachVM(t, c, h2, vm3)

	starts := 0
	pmd := func() *testpmd {
		starts++
		p := startTestpmd(t, c, vm1, vm3, lab.TestpmdConfig{
			Name: fmt.Sprintf("testpmd-%d", starts), Socket: h1.VhostSocket("vm1"), Server: mode == "client", Queues: pairs,
		})
		must(t, h1.WaitPorts("vm1"))
		waitRings(t, c, h1, pairs)
		return p
	}
	p := pmd()
	checkFlood(t, h1, p, x)
	checkEcho(t, h1, p, x)
	checkRings(t, h1, pairs)

	// testpmd ends and comes again.
	p.quit(t)
	p = pmd()
	checkEcho(t, h1, p, x)

	// batond ends and comes again. A testpmd that listens is found again; one
	// that connects does so once in its life, and crashes when told to quit then.
	must(t, h1.Proc.Stop())
	must(t, h1.Start())
	if mode == "server" {
		p.Crash()
		p = pmd()
	}
	must(t, h1.WaitPorts("vm1"))
	waitRings(t, c, h1, pairs)
	must(t, c.WaitInStep("host1", "host2"))
	checkEcho(t, h1, p, x)
	p.quit(t)
}

// checkFlood has testpmd send as fast as it can, and counts at both ends: what
// testpmd says it sent came in, what went out to the other VM arrived.
func checkFlood(t *testing.T, h1 *cluster.Host, p *testpmd, x *simVM) {
	t.Helper()
	const num = 50000
	before, had := portOf(t, h1, "vm1").RxPackets, x.total()
	out := portOf(t, x.host, x.Name).TxPackets
	p.start(t, "txonly")
	waitFor(t, x.c, "packets from testpmd", func() bool { return rxPackets(t, h1, "vm1") >= before+num && x.total() > had })
	_, sent := p.stopForwarding(t)
	waitFor(t, x.c, fmt.Sprintf("the last of %d packets from testpmd", sent), func() bool { return rxPackets(t, h1, "vm1") >= before+sent })
	s, err := h1.CheckConserved()
	must(t, err)
	if n := rxPackets(t, h1, "vm1") - before; n != sent {
		t.Errorf("testpmd sent %d packets, %s received %d", sent, h1.Name, n)
	}
	for reason := range s.Drops {
		if reason != "tx_full" { // the underlay's queue: nothing else may go wrong
			t.Errorf("%s dropped %d packets for %s", h1.Name, s.Drops[reason], reason)
		}
	}
	far, err := x.host.CheckConserved()
	must(t, err)
	delivered := int(portOf(t, x.host, x.Name).TxPackets - out)
	waitFor(t, x.c, "all packets that were delivered", func() bool { return x.total()-had >= delivered })
	if n := x.total() - had; n != delivered {
		t.Errorf("%s delivered %d packets, %s received %d", x.host.Name, delivered, x.Name, n)
	}
	for _, f := range x.take() {
		if !bytes.HasPrefix(f, slices.Concat(vm3.MAC, vm1.MAC, []byte{0x08, 0x00, 0x45})) || len(f) != 64 {
			t.Fatalf("not testpmd's packet: %s", describe(f))
		}
	}
	t.Logf("testpmd sent %d packets, %d arrived; dropped %v and %v, the rest by the kernel between the hosts", sent, delivered, s.Drops, far.Drops)
}

// checkEcho sends frames of many flows to testpmd, which swaps the MACs and
// sends them back: all of them, and not a bit else is changed.
func checkEcho(t *testing.T, h1 *cluster.Host, p *testpmd, x *simVM) {
	t.Helper()
	const rounds, flows = 20, 64
	p.start(t, "macswap")
	for round := range rounds {
		var there, back [][]byte
		for flow := range flows {
			spec := frameSpec{Src: vm3, Dst: vm1, SrcPort: uint16(3000 + flow), DstPort: 9, ID: uint16(round*flows + flow), Len: 60 + (round*flows+flow)*(maxFrame-60)/(rounds*flows)}
			there = append(there, spec.Bytes())
			spec.From, spec.Via = vm1.MAC, vm3.MAC
			back = append(back, spec.Bytes())
		}
		x.send(t, there...)
		x.expect(t, back...)
	}
	rx, tx := p.stopForwarding(t)
	if rx != rounds*flows || tx != rounds*flows {
		t.Errorf("testpmd received %d and sent %d packets, want %d", rx, tx, rounds*flows)
	}
	for _, h := range []*cluster.Host{h1, x.host} {
		_, err := h.CheckConserved()
		must(t, err)
	}
}

// waitRings waits until all rings are enabled. testpmd does not wait for it, and
// frames in a ring that is started and not enabled are discarded uncounted, as
// vhost-user demands (VHOST_USER_SET_VRING_ENABLE).
func waitRings(t *testing.T, c *cluster.Cluster, h *cluster.Host, pairs int) {
	t.Helper()
	waitFor(t, c, fmt.Sprintf("%d rings of vm1", 2*pairs), func() bool {
		enabled := 0
		for _, r := range vhostOf(t, h, "vm1").Rings {
			if r.Started && r.Enabled {
				enabled++
			}
		}
		return enabled == 2*pairs
	})
}

// checkRings holds that every queue pair was used, and none has broken.
func checkRings(t *testing.T, h *cluster.Host, pairs int) {
	t.Helper()
	v := vhostOf(t, h, "vm1")
	if len(v.Rings) != 2*pairs {
		t.Fatalf("%d rings, want %d", len(v.Rings), 2*pairs)
	}
	for _, r := range v.Rings {
		if !r.Started || !r.Enabled || r.Broken != "" || r.Packets == 0 {
			t.Errorf("ring %d: %+v", r.Index, r)
		}
	}
	if len(v.Errors) != 0 {
		t.Errorf("vhost errors: %v", v.Errors)
	}
}

// vhostOf is what the host says of a port's vhost-user device.
func vhostOf(t testing.TB, h *cluster.Host, port string) hostapi.Vhost {
	t.Helper()
	devices, err := h.API.Vhosts(t.Context())
	must(t, err)
	for _, v := range devices {
		if v.Port == port {
			return v
		}
	}
	t.Fatalf("%s has no vhost device %s", h.Name, port)
	return hostapi.Vhost{}
}
