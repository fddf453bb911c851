package worker

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"baton/dataplane/action"
	"baton/dataplane/buf"
	"baton/dataplane/flow"
	"baton/dataplane/overlay"
	"baton/dataplane/pipeline"
	"baton/dataplane/port"
	"baton/dataplane/stats"
)

// tunnelChange sends what local ports send to the host at 192.0.2.to, on
// datapath 1, and what comes out of a tunnel on datapath 1 to the port whose
// number is in the option.
func tunnelChange(to byte) flow.Change {
	out := flow.Rule{
		RuleID: flow.RuleID{Table: pipeline.TableConvertPhyLogical, Priority: 1},
		Actions: []flow.Action{
			flow.SetUint(flow.FieldDatapath, 1), flow.SetUint(flow.FieldSrcPort, 7), flow.Copy(flow.FieldDstPort, flow.FieldL4Dst),
			flow.SetUint(flow.FieldTunDst, 0xc0000200|uint64(to)), {Op: flow.OpTunnel},
		},
	}
	c := flow.Change{SetRules: []flow.Rule{out}, SetNeighbours: []flow.Neighbour{neighbour(to)}}
	for id := range 4 {
		m := flow.Match{}.WithUint(flow.FieldInPort, uint64(flow.PortTunnel)).WithUint(flow.FieldVNI, 1).WithUint(flow.FieldTunDstPort, uint64(id+1))
		c.SetRules = append(c.SetRules, flow.Rule{
			RuleID:  flow.RuleID{Table: pipeline.TableConvertPhyLogical, Priority: 10, Match: m},
			Actions: []flow.Action{flow.Output(number(id + 1))},
		})
	}
	m := flow.Match{}.WithUint(flow.FieldInPort, uint64(flow.PortTunnel))
	c.SetRules = append(c.SetRules, flow.Rule{
		RuleID:  flow.RuleID{Table: pipeline.TableConvertPhyLogical, Priority: 5, Match: m},
		Actions: []flow.Action{flow.Drop(stats.DropUnknownDatapath)},
	})
	return c
}

// tunnelLab is a host at 192.0.2.host with a NIC.
func tunnelLab(t testing.TB, host, other byte) (*lab, *double) {
	t.Helper()
	l := newLab(t, func(c *Config) { c.Workers, c.Endpoint = 2, tunnelEnd(t, host) })
	nic := newDouble(t, "nic", port.KindNIC, 2)
	if err := l.AddPort(nic, PortOptions{}); err != nil {
		t.Fatal(err)
	}
	l.apply(tunnelChange(other))
	return l, nic
}

// TestTwoHosts: frames go through the tunnel and arrive as they were.
func TestTwoHosts(t *testing.T) {
	l1, nic1 := tunnelLab(t, 1, 2)
	l2, nic2 := tunnelLab(t, 2, 1)
	cross := func(from, to *double) {
		from.sink(func(f []byte) { to.queues[int(f[35])%2].inject(append([]byte(nil), f...)) })
	}
	cross(nic1, nic2)
	cross(nic2, nic1)
	var got [2]atomic.Uint64
	check := func(i int) func(f []byte) {
		return func(f []byte) {
			if string(f) != string(frame(frameSrc(f), 1, frameSeq(f))) {
				t.Errorf("arrived as %x", f)
			}
			got[i].Add(1)
		}
	}
	v1 := l1.addPort(1, newDouble(t, "v1", port.KindVhost, 1).sink(check(0)))
	v2 := l2.addPort(1, newDouble(t, "v2", port.KindVhost, 1).sink(check(1)))
	const num = 3000
	there := func(want uint64) func() bool {
		return func() bool { return got[0].Load()+got[1].Load()+dropsOf(l1)+dropsOf(l2) >= want }
	}
	for i := range uint64(num) {
		v1.queues[0].inject(frame(uint16(i), 1, i))
		v2.queues[0].inject(frame(uint16(i), 1, i))
		if i%256 == 255 { // a worker without CPU must not have more before it than a hand-off ring holds
			eventually(t, "most packets", there(2*i-128))
		}
	}
	eventually(t, "all packets arrive", there(2*num))
	if n := got[0].Load() + got[1].Load(); n != 2*num {
		t.Errorf("%d of %d arrived; drops %v, %v", n, 2*num, l1.Totals().Drops, l2.Totals().Drops)
	}
}

// TestTrainIntoGeneve: frames of one flow but of many sizes, which come in one burst, leave
// in order, each with outer headers of its own size. They have their tunnel in common, and
// what is kept of it from one frame to the next must not be the size.
func TestTrainIntoGeneve(t *testing.T) {
	l, nic := tunnelLab(t, 1, 2)
	var left [][]byte
	var mu sync.Mutex
	nic.sink(func(f []byte) {
		mu.Lock()
		defer mu.Unlock()
		left = append(left, append([]byte(nil), f...))
	})
	v := l.addPort(1, newDouble(t, "v", port.KindVhost, 1))
	v.queues[0].inject(frame(5, 1, 0)) // now the flow is known
	l.quiet(v)
	sizes := []int{64, 64, 1400, 64, 65, 65, 1452, 600, 600, 64, 1400, 1400, 64, 66, 64}
	var train []injected
	for i, size := range sizes {
		train = append(train, injected{frame: sized(5, 1, uint64(i+1), size)})
	}
	v.queues[0].injectAsking(train...) // at once, and fewer than a burst holds
	l.quiet(v)
	mu.Lock()
	defer mu.Unlock()
	if len(left) != 1+len(sizes) {
		t.Fatalf("%d frames left, want %d", len(left), 1+len(sizes))
	}
	for i, f := range left[1:] {
		inner := train[i].frame
		p := gopacket.NewPacket(f, layers.LayerTypeEthernet, gopacket.Default)
		ip4, _ := p.Layer(layers.LayerTypeIPv4).(*layers.IPv4)
		udp, _ := p.Layer(layers.LayerTypeUDP).(*layers.UDP)
		g, ok := p.Layer(layers.LayerTypeGeneve).(*layers.Geneve)
		if !ok {
			t.Fatalf("frame %d: another codec finds no Geneve in %x", i, f)
		}
		if want := len(inner) + overlay.HeaderSize - 14; int(ip4.Length) != want || int(udp.Length) != want-20 || len(f) != want+14 {
			t.Errorf("frame %d: %d bytes with IPv4 length %d, UDP length %d; want %d, %d, %d", i, len(f), ip4.Length, udp.Length, want+14, want, want-20)
		}
		if err, r := ip4.VerifyChecksum(); err != nil || !r.Valid {
			t.Errorf("frame %d: IPv4 checksum: %v, %+v", i, err, r)
		}
		if string(g.Payload) != string(inner) {
			t.Errorf("frame %d: %x in the tunnel, want %x", i, g.Payload, inner)
		}
	}
}

func dropsOf(l *lab) uint64 {
	tot := l.Totals()
	return tot.Dropped()
}

// TestHostileWire gives the NIC port one bad frame of each kind (the end point's
// own tests have them all) and looks for its reason, between good ones.
func TestHostileWire(t *testing.T) {
	l, nic := tunnelLab(t, 1, 2)
	var got atomic.Uint64
	l.addPort(1, newDouble(t, "v", port.KindVhost, 1).sink(func([]byte) { got.Add(1) }))
	peer := tunnelEnd(t, 2)
	good := func(vni uint32, inner []byte) []byte { return pushed(t, peer, vni, 1, inner) }
	edit := func(at int, v byte) []byte {
		f := good(1, frame(1, 1, 1))
		f[at] = v
		return f
	}
	want := map[stats.DropReason]uint64{}
	for _, c := range map[string]struct {
		f    []byte
		want stats.DropReason
	}{
		"44 opt_len":               {edit(42, 63), stats.DropGeneveOptions},
		"44 OAM":                   {edit(43, 0xc0), stats.DropGeneveOAM},
		"44 version":               {edit(42, 0x43), stats.DropGeneveVersion},
		"44 unknown critical":      {edit(52, 0x81), stats.DropGeneveCritical},
		"44 protocol":              {edit(45, 0x59), stats.DropGeneveProtocol},
		"45 UDP length":            {edit(39, 0), stats.DropOuterBad},
		"45 IPv4 checksum":         {edit(24, 0), stats.DropOuterBad},
		"45 IPv6":                  {edit(12, 0x86), stats.DropNotForUs},
		"47 inner without header":  {good(1, frame(1, 1, 1)[:14]), stats.DropShortFrame},
		"47 truncated VLAN":        {good(1, append(frame(1, 1, 1)[:12:12], 0x81, 0, 0)), stats.DropShortFrame},
		"47 inner IHL":             {good(1, changed(frame(1, 1, 1), 14, 0x4f)), stats.DropBadIPv4},
		"47 IPv6 extension loop":   {good(1, endlessIPv6()), stats.DropBadIPv6},
		"48 unknown VNI":           {good(2, frame(1, 1, 1)), stats.DropUnknownDatapath},
		"48 LLDP in a tunnel":      {good(2, changed(frame(1, 1, 1), 12, 0x88)), stats.DropUnknownDatapath},
		"49 tunnel in a tunnel":    {pushed(t, peer, 1, 9, good(1, frame(1, 1, 1))), stats.DropUnknownDatapath},
		"no tunnel, other traffic": {frame(1, 1, 1), stats.DropNotForUs},
	} {
		nic.queues[0].inject(good(1, frame(1, 1, 1)), c.f, good(1, frame(1, 1, 2)))
		want[c.want]++
	}
	// Extra padding behind the inner IP packet changes nothing (CVE-2020-35498).
	nic.queues[1].inject(good(1, append(frame(1, 1, 3), make([]byte, 400)...)))
	l.quiet(nic)
	if n := got.Load(); n != 2*16+1 {
		t.Errorf("%d good packets arrived, want 33", n)
	}
	for r, n := range l.stat("nic").Drops {
		if n != want[stats.DropReason(r)] {
			t.Errorf("%v: %d drops, want %d", stats.DropReason(r), n, want[stats.DropReason(r)])
		}
	}
}

func changed(f []byte, at int, v byte) []byte {
	f[at] = v
	return f
}

// endlessIPv6 is a frame of nothing but hop-by-hop headers that lead to more of them.
func endlessIPv6() []byte {
	f := make([]byte, 14+40+800)
	copy(f, frame(1, 1, 1)[:12])
	f[12], f[13] = 0x86, 0xdd
	f[14] = 0x60
	f[18], f[19] = 800>>8, 800&0xff
	return f
}

// pushed is inner in the tunnel of e to 192.0.2.1, for port dst.
func pushed(t testing.TB, e *overlay.Endpoint, vni uint32, dst uint16, inner []byte) []byte {
	t.Helper()
	n := neighbour(1)
	return pushedAs(t, e, action.Tunnel{VNI: vni, Dst: n.IP, MAC: n.MAC, DstPort: dst}, inner)
}

// pushedAs is inner in the tunnel of e.
func pushedAs(t testing.TB, e *overlay.Endpoint, tunnel action.Tunnel, inner []byte) []byte {
	t.Helper()
	p, err := buf.NewPool(1, buf.DefaultDataRoom)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	one := make([]*buf.Buf, 1)
	p.Get(one)
	defer p.Put(one)
	one[0].SetFrame(inner)
	if r := e.Push(one[0], &tunnel, 3); r != stats.DropNone {
		t.Fatal(r)
	}
	return append([]byte(nil), one[0].Data()...)
}

// TestHostile48GuestSpoofsTunnel: what a guest sends to UDP port 6081 is a
// packet like any other, whatever VNI it claims.
func TestHostile48GuestSpoofsTunnel(t *testing.T) {
	l, nic := tunnelLab(t, 1, 2)
	var leaks, out atomic.Uint64
	v := l.addPort(1, newDouble(t, "v", port.KindVhost, 1).sink(func([]byte) { leaks.Add(1) }))
	nic.sink(func(f []byte) {
		if string(f[62:]) != string(pushed(t, tunnelEnd(t, 2), 1, 1, frame(1, 1, 1))) {
			t.Errorf("left as %x", f)
		}
		out.Add(1)
	})
	v.queues[0].inject(pushed(t, tunnelEnd(t, 2), 1, 1, frame(1, 1, 1)))
	l.quiet(v)
	if leaks.Load() != 0 || out.Load() != 1 {
		t.Errorf("%d packets to the guest, %d to the wire; want 0, 1", leaks.Load(), out.Load())
	}
}

// TestHostile50: a guest's packet that does not fit into the tunnel is dropped and counted.
func TestHostile50(t *testing.T) {
	l, _ := tunnelLab(t, 1, 2)
	v := l.addPort(1, newDouble(t, "v", port.KindVhost, 1))
	v.queues[0].inject(sized(1, 1, 1, 1438+14), sized(1, 1, 1, 1439+14))
	l.quiet(v)
	if s := l.stat("v"); s.Drops[stats.DropTooBig] != 1 || s.Dropped() != 1 {
		t.Errorf("drops %v", s.Drops)
	}
}

// TestHostile51: packets of one flow alone, or all of different ones, get through.
func TestHostile51(t *testing.T) {
	l, nic := tunnelLab(t, 1, 2)
	var got atomic.Uint64
	l.addPort(1, newDouble(t, "v", port.KindVhost, 1).sink(func([]byte) { got.Add(1) }))
	for i := range uint16(500) {
		f := pushed(t, tunnelEnd(t, 2), 1, 1, frame(i%2*i, 1, 1))
		nic.queues[0].inject(f)
	}
	l.quiet(nic)
	if got.Load() != 500 {
		t.Errorf("%d of 500 arrived", got.Load())
	}
}

// TestUnderlayIsAnswered: ARP comes back by the NIC and counts as sent.
func TestUnderlayIsAnswered(t *testing.T) {
	l, nic := tunnelLab(t, 1, 2)
	var got atomic.Pointer[string]
	nic.sink(func(f []byte) { s := fmt.Sprintf("%x", f[20:42]); got.Store(&s) })
	req := []byte{255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 1, 2, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1,
		2, 0, 0, 0, 1, 2, 192, 0, 2, 2, 0, 0, 0, 0, 0, 0, 192, 0, 2, 1}
	nic.queues[1].inject(req)
	l.quiet(nic)
	if s := got.Load(); s == nil || *s != "0002"+"020000000101c0000201"+"020000000102c0000202" {
		t.Errorf("answer %v", s)
	}
	if s := l.stat("nic"); s.RxPackets != 1 || s.TxPackets != 1 || !s.Underlay {
		t.Errorf("%+v", s)
	}
}
