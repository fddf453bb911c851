package worker

import (
	"encoding/binary"
	"sync"
	"testing"

	"baton/dataplane/flow"
	"baton/dataplane/hdr"
	"baton/dataplane/hdr/hdrtest"
	"baton/dataplane/port"
	"baton/dataplane/stats"
)

// told collects the ICMP messages that a guest gets, as next-hop MTU and quoted packet.
type told struct {
	mu     sync.Mutex
	mtu    []int
	quoted [][]byte
	other  int
}

func listen(d *double) *told {
	m := &told{}
	d.sink(func(f []byte) {
		m.mu.Lock()
		defer m.mu.Unlock()
		l3 := hdr.EthernetSize
		if f[12] == 0x81 {
			l3 += hdr.VLANSize
		}
		switch ip := f[l3:]; {
		case ip[0] == 0x45 && ip[9] == hdr.ProtoICMP && ip[20] == 3 && ip[21] == 4:
			m.mtu, m.quoted = append(m.mtu, int(binary.BigEndian.Uint16(ip[26:]))), append(m.quoted, ip[28:])
		case ip[0]>>4 == 6 && ip[6] == hdr.ProtoICMPv6 && ip[40] == 2:
			m.mtu, m.quoted = append(m.mtu, int(binary.BigEndian.Uint32(ip[44:]))), append(m.quoted, ip[48:])
		default:
			m.other++
		}
	})
	return m
}

// l3 is a packet of size bytes from the IP header on, to L4 port dst.
func l3(v6 bool, vlan, dst uint16, size int) []byte {
	p := hdrtest.Packet{
		EthDst: hdrtest.MAC(1), EthSrc: hdrtest.MAC(2), Src: hdrtest.IP4(1), Dst: hdrtest.IP4(2), VLAN: vlan,
		Proto: hdr.ProtoUDP, DstPort: dst, Payload: make([]byte, size-28),
	}
	if v6 {
		p.Src, p.Dst, p.Payload = hdrtest.IP6(1), hdrtest.IP6(2), make([]byte, size-48)
	}
	return p.Bytes()
}

// TestTooBigIsAnswered: what the tunnel or the receiving guest has no room for goes no
// further, what just fits does, and the sender hears what that is, whatever is in front
// of its packet and whatever was done to it on the way.
// forget makes m as it was.
func (m *told) forget() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mtu, m.quoted = nil, nil
}

// check holds what became of a packet, by the port's counts from before to s, against tt.
func (m *told) check(t *testing.T, tt sizeCase, before, s PortStats) {
	t.Helper()
	drops, made := s.Drops[stats.DropTooBig]-before.Drops[stats.DropTooBig], s.TxPackets-before.TxPackets
	if s.Dropped()-before.Dropped() != drops {
		t.Errorf("%s: drops %v", tt.name, s.Drops)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case tt.mtu == 0:
		if drops != 0 || made != 0 {
			t.Errorf("%s: %d drops, %d answers", tt.name, drops, made)
		}
	case drops != 1 || made != 1 || len(m.mtu) != 1 || m.mtu[0] != tt.mtu:
		t.Errorf("%s: %d drops, told %v; want %d", tt.name, drops, m.mtu, tt.mtu)
	default:
		at := hdr.EthernetSize
		if tt.f.frame[12] == 0x81 {
			at += hdr.VLANSize
		}
		if q := m.quoted[0]; string(q[:36]) != string(tt.f.frame[at:at+36]) {
			t.Errorf("%s: quoted as %x, sent as %x", tt.name, q[:36], tt.f.frame[at:at+36])
		}
	}
}

// sizeCase is a packet and what becomes of it.
type sizeCase struct {
	name string
	f    injected
	mtu  int // that the sender is told, 0: it fits
}

// sizeCases are packets just small enough and just too big for where they go, in the network of
// TestTooBigIsAnswered.
var sizeCases = []sizeCase{
	{name: "fits the tunnel", f: injected{frame: l3(false, 0, 1, 1438)}},
	{name: "does not fit the tunnel", f: injected{frame: l3(false, 0, 1, 1439)}, mtu: 1438},
	{name: "IPv6", f: injected{frame: l3(true, 0, 1, 1500)}, mtu: 1438},
	{name: "fits the tunnel with its tag", f: injected{frame: l3(false, 5, 1, 1434)}},
	{name: "does not with its tag", f: injected{frame: l3(false, 5, 1, 1435)}, mtu: 1434},
	{name: "fits the guest", f: injected{frame: l3(false, 0, 3, 1300)}},
	{name: "fits the guest, tagged", f: injected{frame: l3(false, 5, 3, 1300)}},
	{name: "does not fit the guest", f: injected{frame: l3(false, 0, 3, 1301)}, mtu: 1300},
	{name: "routed", f: injected{frame: l3(false, 0, 4, 1301)}, mtu: 1300},
	{name: "routed, fits", f: injected{frame: l3(false, 0, 4, 1300)}},
	{name: "segments fit the guest", f: injected{frame: tcp(1, 3, 20000), segment: 1260}},
	{name: "segments do not fit the guest", f: injected{frame: tcp(1, 3, 20000), segment: 1261}, mtu: 1300},
	{name: "segments fit the tunnel", f: injected{frame: tcp(1, 1, 20000), segment: 1398}},
	{name: "segments do not fit the tunnel", f: injected{frame: tcp(1, 1, 20000), segment: 1399}, mtu: 1438},
}

func TestTooBigIsAnswered(t *testing.T) {
	l, _ := tunnelLab(t, 1, 2)
	v := l.addPort(1, newDouble(t, "v", port.KindVhost, 1))
	m := listen(v)
	small := l.addPort(2, newDouble(t, "small", port.KindVhost, 1))
	small.queues[0].offers.Store(uint32(everything))
	routed := toPort(4, number(2))
	routed.Actions = append([]flow.Action{
		flow.SetMAC(flow.FieldEthSrc, hdrtest.MAC(70)), flow.SetMAC(flow.FieldEthDst, hdrtest.MAC(71)), {Op: flow.OpDecTTL},
	}, routed.Actions...)
	l.apply(flow.Change{
		SetBindings: []flow.Binding{{Name: "small", Number: number(2), MTU: 1300}},
		SetRules:    []flow.Rule{toPort(3, number(2)), routed},
	})
	for _, tt := range sizeCases {
		before := l.stat("v")
		m.forget()
		v.queues[0].injectAsking(tt.f)
		l.quiet(v)
		m.check(t, tt, before, l.stat("v"))
	}
	if m.other != 0 {
		t.Errorf("%d other packets came back", m.other)
	}
}

// TestAnswersAreLimited: no sender makes the switch send without end.
func TestAnswersAreLimited(t *testing.T) {
	var q quota
	now, each := uint64(1e9), toCycles(1e9/answersASecond)
	take := func() (n int) {
		for range 1000 {
			if q.take(now) {
				n++
			}
		}
		return n
	}
	if n := take(); n != answersAtOnce {
		t.Errorf("%d at once, want %d", n, answersAtOnce)
	}
	now += each * 5
	if n := take(); n != 5 {
		t.Errorf("%d after a while, want 5", n)
	}
	now += each/2 + 1
	first := take()
	now += each/2 + 1
	if n := first + take(); n != 1 {
		t.Errorf("%d after two halves, want 1", n)
	}
	now += each * 1e6
	if n := take(); n != answersAtOnce {
		t.Errorf("%d after a long time, want %d", n, answersAtOnce)
	}
}

// TestTooBigFromTheWire is counted, and nobody is told.
func TestTooBigFromTheWire(t *testing.T) {
	l, nic := tunnelLab(t, 1, 2)
	l.addPort(1, newDouble(t, "v", port.KindVhost, 1))
	l.apply(flow.Change{SetBindings: []flow.Binding{{Name: "v", Number: number(1), MTU: 1000}}})
	nic.queues[0].inject(pushed(t, tunnelEnd(t, 2), 1, 1, l3(false, 0, 1, 1000)), pushed(t, tunnelEnd(t, 2), 1, 1, l3(false, 0, 1, 1001)))
	l.quiet(nic)
	if s := l.stat("nic"); s.Drops[stats.DropTooBig] != 1 || s.Dropped() != 1 || s.Generated != 0 || s.TxPackets != 0 || l.stat("v").TxPackets != 1 {
		t.Errorf("%+v", s)
	}
}

// TestTooBigAllocatesNothing, and answers no more than it may.
func TestTooBigAllocatesNothing(t *testing.T) {
	vm := &endless{name: "vm", kind: port.KindVhost, frames: [][]byte{l3(false, 0, 1, 1500)}}
	c := tunnelChange(2)
	c.SetBindings = []flow.Binding{{Name: "vm", Number: number(1)}}
	w := still(t, tunnelEnd(t, 1), []port.Port{&endless{name: "nic", kind: port.KindNIC}, vm}, c)
	w.turn()
	if n := testing.AllocsPerRun(50, func() { w.turn() }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	tot := w.pool.Totals()
	if tot.Drops[stats.DropTooBig] < 50*32 || tot.Generated < answersAtOnce || tot.Generated > tot.RxPackets/2 {
		t.Errorf("%+v", tot)
	}
}
