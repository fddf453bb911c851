package e2e_test

import (
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"baton/hostapi"
	"baton/test/cluster"
	"baton/test/lab"
	"baton/test/lab/guestwire"
)

// offloadsOff are QEMU's properties of a card without any offload.
const offloadsOff = "csum=off,guest_csum=off,host_tso4=off,host_tso6=off,host_ecn=off,guest_tso4=off,guest_tso6=off,guest_ecn=off"

// bulkBytes is one transfer of these tests.
const bulkBytes = 4 << 20

// vm is a Linux guest with two cards: eth0 on host1, on switch same, and eth1 on
// switch across.
type vm struct {
	*lab.Guest
	name   string
	device string        // of both cards
	hosts  [2]string     // of each card
	pairs  int           // of queues of each card
	eps    [2]endpoint   // of each card
	v6     [2]netip.Addr // of each card
	at     [2]*cluster.Host
}

func newVM(name string, last int, device, across string, pairs int) *vm {
	m := &vm{name: name, device: device, hosts: [2]string{"host1", across}, pairs: pairs}
	for i := range m.eps {
		m.eps[i] = endpointOf(fmt.Sprint(name, i), fmt.Sprintf("10.0.%d.%d", i, last))
		m.v6[i] = netip.MustParseAddr(fmt.Sprintf("fd00:%d::%d", i, last))
	}
	return m
}

// offloadRig is three guests: a and b have offloads on, c has them off. By eth0
// all meet on host1; by eth1 a reaches b and c across hosts.
type offloadRig struct {
	c       *cluster.Cluster
	a, b, o *vm
}

func newOffloadRig(t *testing.T) *offloadRig {
	r := &offloadRig{
		c: newCluster(t), a: newVM("a", 1, "", "host1", 4), b: newVM("b", 2, "", "host2", 4), o: newVM("c", 3, offloadsOff, "host2", 1),
	}
	docs := []string{
		"{kind: Host, name: host1, underlay: 192.168.100.1/24, mtu: 1600}",
		"{kind: Host, name: host2, underlay: 192.168.100.2/24, mtu: 1600}",
		"{kind: Switch, name: same, vni: 4001}", "{kind: Switch, name: across, vni: 4002}",
	}
	for _, m := range r.all() {
		for i, e := range m.eps {
			docs = append(docs, fmt.Sprintf("{kind: Port, name: %s, switch: %s, ip: %v, host: %s, id: %d}",
				e.Name, []string{"same", "across"}[i], e.IP, m.hosts[i], e.IP.As4()[3]))
		}
	}
	startController(t, r.c, strings.Join(docs, "\n---\n"))
	cfg1, cfg2 := host1(), host2()
	cfg1.More = append(cfg1.More, "workers: {cpus: [0, 1]}", "memory: {buffers: 16384}")
	cfg2.More = append(cfg2.More, "memory: {buffers: 16384}")
	cfg1.QueuePairs, cfg2.QueuePairs = 4, 4
	hosts := map[string]*cluster.Host{"host1": startHostAs(t, r.c, cfg1), "host2": startHostAs(t, r.c, cfg2)}
	must(t, r.c.WaitInStep("host1", "host2"))
	t.Cleanup(func() { // before the hosts are checked
		for _, m := range r.all() {
			if m.Guest != nil {
				m.Kill()
			}
		}
	})
	for _, m := range r.all() {
		for i := range m.at {
			m.at[i] = hosts[m.hosts[i]]
		}
		m.start(t, r.c.Lab)
	}
	for _, m := range r.all() {
		m.configure(t, r.all())
	}
	return r
}

func (r *offloadRig) all() []*vm { return []*vm{r.a, r.b, r.o} }

// start starts QEMU and returns at once.
func (m *vm) start(t *testing.T, l *lab.Lab) {
	t.Helper()
	cfg := lab.GuestConfig{Name: m.name, IPv6: true, HotplugMiB: 256}
	for i, e := range m.eps {
		nic := lab.NIC{MAC: e.MAC, VhostSocket: m.at[i].VhostSocket(e.Name), QueuePairs: m.pairs, Device: m.device}
		if i == 0 {
			nic.MTU = overlayMTU // a card that is told its MTU can have no larger one
		}
		cfg.NICs = append(cfg.NICs, nic)
	}
	var err error
	m.Guest, err = l.StartGuest(cfg)
	must(t, err)
}

// configure gives the guest its addresses and, for IPv6, its neighbours, and waits
// for its ports.
func (m *vm) configure(t *testing.T, all []*vm) {
	t.Helper()
	must(t, m.WaitReady(guestBoot))
	for i, e := range m.eps {
		link := fmt.Sprint("eth", i)
		args := guestwire.NetArgs{Link: link, Addr: m.v6[i].String() + "/64"}
		for _, other := range all {
			if other != m {
				args.Neighbours = append(args.Neighbours, guestwire.Neighbour{IP: other.v6[i].String(), MAC: other.eps[i].MAC.String()})
			}
		}
		must(t, m.Configure(guestwire.NetArgs{Link: link, Addr: e.IP.String() + "/24"}))
		must(t, m.Configure(args))
		_, err := m.SetChannels(link, m.pairs)
		must(t, err)
		must(t, m.at[i].WaitPorts(e.Name))
	}
}

// ring is the sum of a card's rings of one direction, in batonctl's own words.
func (m *vm) ring(t *testing.T, i int, direction string) (sum hostapi.Ring) {
	t.Helper()
	var v hostapi.Vhost
	must(t, m.at[i].Ask(&v, "vhost", "show", m.eps[i].Name))
	for _, r := range v.Rings {
		if r.Direction == direction {
			sum.Packets, sum.Bytes = sum.Packets+r.Packets, sum.Bytes+r.Bytes
			sum.Super, sum.Partial, sum.DataValid = sum.Super+r.Super, sum.Partial+r.Partial, sum.DataValid+r.DataValid
		}
	}
	return sum
}

// bulk sends bulk TCP and checks the hash.
func bulk(t *testing.T, from, to *vm, dst netip.Addr, bytes int64) lab.Transfer {
	t.Helper()
	tr, err := from.SendTCP(to.Guest, dst.String(), bytes, uint64(bytes)+uint64(dst.As16()[15]), 2*guestWait)
	if err == nil {
		err = tr.Check(bytes)
	}
	if err != nil {
		t.Errorf("%s to %s at %v: %v", from.name, to.name, dst, err)
	}
	return tr
}

// TestOffloads has Linux guests with offloads and without on one host and across
// hosts, and changes what can change under their traffic.
func TestOffloads(t *testing.T) {
	r := newOffloadRig(t)
	t.Run("super-segments stay whole on one host", r.testSupers)
	t.Run("on and off, same host", func(t *testing.T) { r.testMixed(t, 0) })
	t.Run("on and off, across hosts", r.testWire)
	t.Run("mtu", r.testMTU)
	t.Run("queues change under TCP", r.testQueues)
	t.Run("memory comes under TCP", r.testPlug)
	for _, m := range r.all() {
		must(t, m.CheckHealth())
	}
}

// testSupers: what a sends goes to b as it is, fewer and larger than any wire has.
func (r *offloadRig) testSupers(t *testing.T) {
	for _, dst := range []netip.Addr{r.b.eps[0].IP, r.b.v6[0]} {
		from, to := r.a.ring(t, 0, "tx"), r.b.ring(t, 0, "rx")
		tr := bulk(t, r.a, r.b, dst, 2*bulkBytes)
		from2, to2 := r.a.ring(t, 0, "tx"), r.b.ring(t, 0, "rx")
		sent, got := from2.Super-from.Super, to2.Super-to.Super
		packets, bytes := to2.Packets-to.Packets, to2.Bytes-to.Bytes
		t.Logf("%v: %.0f Mbit/s, %d super-segments from the guest, %d to the other; %d packets of %d bytes on average",
			dst, tr.Mbits(), sent, got, packets, bytes/max(packets, 1))
		if sent == 0 || got == 0 || bytes/max(packets, 1) <= overlayMTU {
			t.Errorf("%v: bulk TCP did not pass in super-segments", dst)
		}
		if from2.Partial == from.Partial || to2.Partial == to.Partial {
			t.Errorf("%v: no checksum was left to the receiver", dst)
		}
	}
}

// testMixed sends between all by card i, both ways; a guest without offloads gets
// nothing unfinished.
func (r *offloadRig) testMixed(t *testing.T, i int) {
	for _, other := range []*vm{r.b, r.o} {
		for _, way := range [][2]*vm{{r.a, other}, {other, r.a}} {
			bulk(t, way[0], way[1], way[1].eps[i].IP, bulkBytes)
			bulk(t, way[0], way[1], way[1].v6[i], bulkBytes/4)
		}
	}
	for _, direction := range []string{"rx", "tx"} {
		if n := r.o.ring(t, i, direction); n.Super+n.Partial+n.DataValid != 0 || n.Packets == 0 {
			t.Errorf("a guest without offloads: %s %+v", direction, n)
		}
	}
}

// testWire is testMixed across hosts; tshark holds what is on the underlay against
// the rules: lengths and checksums, inner ones too.
func (r *offloadRig) testWire(t *testing.T) {
	l := r.c.Lab
	capture, err := l.Capture(lab.CaptureConfig{Name: "offloads", Netns: r.c.Bridge.Netns, Ifname: r.c.Bridge.Name, Filter: "udp port 6081"})
	must(t, err)
	before, err := r.a.at[1].API.Workers(t.Context())
	must(t, err)
	r.testMixed(t, 1)
	after, err := r.a.at[1].API.Workers(t.Context())
	must(t, err)
	must(t, capture.Stop())
	cut := 0
	for i := range after {
		cut += int(after[i].Segments - before[i].Segments)
	}
	checks := []string{"ip.check_checksum:TRUE", "tcp.check_checksum:TRUE", "udp.check_checksum:TRUE"}
	count := func(filter string) int {
		n, err := l.CountPackets(capture.File, "geneve && "+filter, checks...)
		must(t, err)
		return n
	}
	const largest = 1600 + 14
	good, v6 := count("tcp.checksum.status == 1"), count("tcp && ipv6")
	t.Logf("%d segments were cut in software; %d inner TCP checksums on the wire are right", cut, good)
	if cut == 0 || good == 0 || v6 == 0 {
		t.Errorf("%d segments cut, %d TCP packets, %d of IPv6: want some of each", cut, good, v6)
	}
	for _, wrong := range []string{
		// What a connection carries are random bytes, in which tshark finds broken
		// messages of many a protocol: only what is around them counts.
		"tcp.checksum.status != 1", "ip.checksum.status == 0", "udp.checksum.status == 0", "_ws.malformed && !tcp.payload",
		fmt.Sprintf("frame.len > %d", largest), "ip.flags.mf == 1",
	} {
		if n := count("(" + wrong + ")"); n != 0 {
			t.Errorf("%d packets on the underlay: %s", n, wrong)
		}
	}
}

// testMTU: a card that is told the overlay's MTU has it by its driver alone; a guest
// that gives the other card a larger one hears what gets through, and its TCP goes
// on with that.
func (r *offloadRig) testMTU(t *testing.T) {
	const tooLarge, usual = 1800, 1500
	drops := func() uint64 {
		return dropCount(t, r.c.Host("host1"), "too_big") + dropCount(t, r.c.Host("host2"), "too_big")
	}
	setMTU := func(mtu int, machines ...*vm) {
		for _, m := range machines {
			must(t, m.Configure(guestwire.NetArgs{Link: "eth1", MTU: mtu}))
		}
	}
	for _, m := range r.all() {
		if l, err := m.Link("eth0"); err != nil || l.MTU != overlayMTU {
			t.Errorf("%s: eth0 has MTU %d, %v; want %d", m.name, l.MTU, err, overlayMTU)
		}
	}
	for _, way := range [][2]*vm{{r.a, r.b}, {r.o, r.a}} {
		setMTU(tooLarge, way[0], way[1])
		before := drops()
		tr := bulk(t, way[0], way[1], way[1].eps[1].IP, bulkBytes)
		if n := drops() - before; n == 0 || tr.Sender.PathMTU != overlayMTU {
			t.Errorf("%s to %s: %d packets dropped as too big, path MTU %d at the end; want some, and %d",
				way[0].name, way[1].name, n, tr.Sender.PathMTU, overlayMTU)
		}
		setMTU(usual, way[0], way[1])
	}
}

// testQueues changes how many queue pairs both ends use while TCP flows both ways.
func (r *offloadRig) testQueues(t *testing.T) {
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for n := 0; ; n++ {
			for _, m := range []*vm{r.a, r.b} {
				pairs := []int{1, 4, 2, 3, 4}[n%5]
				if c, err := m.SetChannels("eth0", pairs); err != nil || c.Combined != pairs {
					t.Errorf("%s: %+v, %v; want %d pairs", m.name, c, err, pairs)
				}
			}
			select {
			case <-stop:
				return
			case <-time.After(50 * time.Millisecond):
			}
		}
	}()
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() { bulk(t, r.a, r.b, r.b.eps[0].IP, bulkBytes) })
		wg.Go(func() { bulk(t, r.b, r.a, r.a.eps[0].IP, bulkBytes) })
	}
	wg.Wait()
	close(stop)
	<-done
	for _, m := range []*vm{r.a, r.b} {
		_, err := m.SetChannels("eth0", 4)
		must(t, err)
	}
}

// testPlug adds memory to a and b while TCP flows: a region more, and nothing else.
func (r *offloadRig) testPlug(t *testing.T) {
	regions := func(m *vm) int {
		var v hostapi.Vhost
		must(t, m.at[0].Ask(&v, "vhost", "show", m.eps[0].Name))
		return len(v.Regions)
	}
	var before [2]int
	both := []*vm{r.a, r.b}
	for i, m := range both {
		before[i] = regions(m)
	}
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() { bulk(t, r.a, r.b, r.b.eps[0].IP, 2*bulkBytes) })
		wg.Go(func() { bulk(t, r.b, r.a, r.a.eps[0].IP, 2*bulkBytes) })
	}
	for i, m := range both {
		must(t, m.PlugMemory("dimm0", 128))
		must(t, m.PlugMemory("dimm1", 128))
		waitFor(t, r.c, "more memory of "+m.name, func() bool { return regions(m) > before[i] })
	}
	wg.Wait()
	// The old memory is used up, so that packets lie in the new one.
	for _, m := range both {
		fill := "mount -o remount,size=150m /tmp && dd if=/dev/zero of=/tmp/fill bs=1M count=90"
		if out, err := m.Exec(guestWait, "sh", "-c", fill); err != nil || out.Code != 0 {
			t.Errorf("%s: fill memory: %+v, %v", m.name, out, err)
		}
	}
	bulk(t, r.a, r.b, r.b.eps[0].IP, bulkBytes)
	bulk(t, r.b, r.a, r.a.eps[1].IP, bulkBytes)
}
