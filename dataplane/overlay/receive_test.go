package overlay_test

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"baton/dataplane/buf"
	"baton/dataplane/buf/buftest"
	"baton/dataplane/flow"
	"baton/dataplane/hdr"
	"baton/dataplane/overlay"
	"baton/dataplane/stats"
)

// edited is a good tunnel packet, changed.
func edited(t *testing.T, edit func(f []byte)) []byte {
	f := outerFrame(t, innerFrame(64))
	edit(f)
	return f
}

// TestHostile44 is the Geneve header and its options (RFC 8926 3.4, 3.5).
func TestHostile44(t *testing.T) {
	good := outerFrame(t, innerFrame(64))
	ours := good[atOption:atInner]
	optional := []byte{1, 2, 0x03, 0, 1, 2, 0x04, 1, 9, 9, 9, 9} // two unknown options, not critical
	for _, c := range []struct {
		name string
		f    []byte
		want stats.DropReason
	}{
		{"opt_len beyond the packet", edited(t, func(f []byte) { f[atGeneve] = 63 }), stats.DropGeneveOptions},
		{"opt_len cuts our option", edited(t, func(f []byte) { f[atGeneve] = 2 }), stats.DropGeneveOptions},
		{"options longer than opt_len", withOptions(good, []byte{1, 2, 3, 5, 0, 0, 0, 0}), stats.DropGeneveOptions},
		{"option of length 31", withOptions(good, []byte{1, 2, 3, 31}), stats.DropGeneveOptions},
		{"our option with 4 bytes", withOptions(good, []byte{0xff, 0xee, 0x80, 1, 0, 0, 0, 0}), stats.DropGeneveOptions},
		{"our option with 12 bytes", withOptions(good, append([]byte{0xff, 0xee, 0x80, 3}, make([]byte, 12)...)), stats.DropGeneveOptions},
		{"our option twice", withOptions(good, append(append([]byte(nil), ours...), ours...)), stats.DropGeneveOptions},
		{"unknown critical option", withOptions(good, []byte{1, 2, 0x83, 0}), stats.DropGeneveCritical},
		{"our class, unknown critical type", withOptions(good, []byte{0xff, 0xee, 0x81, 0}), stats.DropGeneveCritical},
		{"critical behind ours", withOptions(good, append(append([]byte(nil), ours...), 1, 2, 0x83, 0)), stats.DropGeneveCritical},
		{"OAM bit", edited(t, func(f []byte) { f[atGeneve+1] |= 0x80 }), stats.DropGeneveOAM},
		{"version 1", edited(t, func(f []byte) { f[atGeneve] |= 0x40 }), stats.DropGeneveVersion},
		{"version 3", edited(t, func(f []byte) { f[atGeneve] |= 0xc0 }), stats.DropGeneveVersion},
		{"payload IPv4", edited(t, func(f []byte) { f[atGeneve+2], f[atGeneve+3] = 8, 0 }), stats.DropGeneveProtocol},
		{"no Geneve header", fixed(good[:atGeneve+7]), stats.DropShortFrame},
	} {
		wantDrop(t, c.name, c.f, c.want)
	}

	inner := innerFrame(64)
	k := wantInner(t, "reserved bits and critical bit differ", edited(t, func(f []byte) {
		f[atGeneve+1] = 0x3f // RFC 8926 3.4: reserved bits are ignored
		f[atGeneve+7] = 0xff
		f[atOption+3] |= 0xe0
	}), inner)
	if k.VNI != tunnel.VNI || k.SrcPort != tunnel.SrcPort || k.Command != tunnel.Command {
		t.Errorf("metadata %v", k)
	}
	k = wantInner(t, "unknown options before ours", withOptions(good, append(append([]byte(nil), optional...), ours...)), inner)
	if k.SrcPort != tunnel.SrcPort || k.DstPort != tunnel.DstPort {
		t.Errorf("behind unknown options: metadata %v", k)
	}
	k = wantInner(t, "no option", withOptions(good, nil), inner)
	if k.SrcPort|k.DstPort|k.Flags|k.Command != 0 || k.VNI != tunnel.VNI {
		t.Errorf("without option: metadata %v", k)
	}
}

// fixed is a copy of f with right lengths and checksum.
func fixed(f []byte) []byte {
	f = append([]byte(nil), f...)
	fixLengths(f)
	return f
}

// TestHostile45 is lengths and checksums of the outer headers.
func TestHostile45(t *testing.T) {
	good := outerFrame(t, innerFrame(64))
	set := func(at int, v uint16) []byte {
		return edited(t, func(f []byte) {
			binary.BigEndian.PutUint16(f[at:], v)
			fixIP(f)
		})
	}
	for _, c := range []struct {
		name string
		f    []byte
		want stats.DropReason
	}{
		{"UDP longer than IP", set(atUDP+4, uint16(len(good)-33)), stats.DropOuterBad},
		{"UDP shorter than IP", set(atUDP+4, uint16(len(good)-35)), stats.DropOuterBad},
		{"UDP length 0", set(atUDP+4, 0), stats.DropOuterBad},
		{"IP longer than the frame", set(atIP+2, uint16(len(good)-13)), stats.DropOuterBad},
		{"IP shorter than its header", set(atIP+2, 19), stats.DropOuterBad},
		{"IP without UDP header", set(atIP+2, 27), stats.DropOuterBad},
		{"IPv4 checksum", edited(t, func(f []byte) { f[atIP+10] ^= 1 }), stats.DropOuterBad},
		{"IP version 5", edited(t, func(f []byte) { f[atIP] = 0x55; fixIP(f) }), stats.DropOuterBad},
		{"IP header of 4 bytes", edited(t, func(f []byte) { f[atIP] = 0x41; fixIP(f) }), stats.DropOuterBad},
		{"IP options", edited(t, func(f []byte) { f[atIP] = 0x46; fixIP(f) }), stats.DropOuterBad},
		{"UDP checksum wrong", edited(t, func(f []byte) { f[atUDP+6] = 1 }), stats.DropOuterBad},
		{"from our own address", edited(t, func(f []byte) { copy(f[atIP+12:], f[atIP+16:atIP+20]); fixIP(f) }), stats.DropOuterBad},
		{"from a group", edited(t, func(f []byte) { f[atIP+12] = 224; fixIP(f) }), stats.DropOuterBad},
		{"from a stranger", edited(t, func(f []byte) { f[atIP+15] = 99; fixIP(f) }), stats.DropUnknownTunnelSource},
		{"to another address", edited(t, func(f []byte) { f[atIP+19] = 99; fixIP(f) }), stats.DropNotForUs},
		{"to another MAC", edited(t, func(f []byte) { f[5] = 99 }), stats.DropNotForUs},
		{"to a group MAC", edited(t, func(f []byte) { f[0] = 1 }), stats.DropNotForUs},
		{"over IPv6, where checksum 0 is not allowed", edited(t, func(f []byte) { f[12], f[13] = 0x86, 0xdd }), stats.DropNotForUs},
		{"in a VLAN", edited(t, func(f []byte) { f[12], f[13] = 0x81, 0 }), stats.DropNotForUs},
		{"other UDP port", edited(t, func(f []byte) { f[atUDP+3]++ }), stats.DropNotForUs},
		{"other protocol", edited(t, func(f []byte) { f[atIP+9] = 6; fixIP(f) }), stats.DropNotForUs},
	} {
		wantDrop(t, c.name, c.f, c.want)
	}
	inner := innerFrame(64)
	wantInner(t, "right UDP checksum", withSum(good), inner)
	wantInner(t, "outer padding", append(edited(t, func([]byte) {}), 1, 2, 3, 4, 5), inner)
	wantInner(t, "broadcast MAC", edited(t, func(f []byte) { copy(f, "\xff\xff\xff\xff\xff\xff") }), inner)
}

// TestHostile46 is fragments of the outer packet.
func TestHostile46(t *testing.T) {
	for name, v := range map[string]uint16{"first": 0x2000, "middle": 0x2001, "last": 0x00b9, "first with DF": 0x6000, "last with DF": 0x4001} {
		wantDrop(t, name, edited(t, func(f []byte) {
			binary.BigEndian.PutUint16(f[atIP+6:], v)
			fixIP(f)
		}), stats.DropOuterFragment)
	}
	wantInner(t, "reserved bit and no DF", edited(t, func(f []byte) {
		f[atIP+6] = 0x80
		fixIP(f)
	}), innerFrame(64))
}

// TestHostile47 is inner frames too short to be frames; what follows in them is
// the parser's.
func TestHostile47(t *testing.T) {
	good := outerFrame(t, innerFrame(64))
	for n := range 14 {
		wantDrop(t, fmt.Sprintf("inner frame of %d bytes", n), fixed(good[:atInner+n]), stats.DropShortFrame)
	}
	wantInner(t, "inner frame of 14 bytes", fixed(good[:atInner+14]), innerFrame(14))
	for n := range atInner {
		if v, _, _, _ := receive(t, good[:n]); v != overlay.Drop {
			t.Errorf("cut to %d bytes: %v", n, v)
		}
	}
}

// TestHostile48 is control protocols inside a tunnel: the end point answers
// nothing that comes out of one.
func TestHostile48(t *testing.T) {
	arp := arpRequest(t, ourIP)
	wantInner(t, "ARP request for the end point", outerFrame(t, arp), arp)
	echo := echoRequest(t)
	wantInner(t, "echo request to the end point", outerFrame(t, echo), echo)
	for name, dst := range map[string]string{
		"LLDP": "\x01\x80\xc2\x00\x00\x0e\x02\xaa\x00\x00\x00\x08\x88\xcc", "LACP": "\x01\x80\xc2\x00\x00\x02\x02\xaa\x00\x00\x00\x08\x88\x09",
	} {
		f := append([]byte(dst), make([]byte, 50)...)
		wantInner(t, name, outerFrame(t, f), f)
		wantDrop(t, name+" on the underlay", f, stats.DropNotForUs)
	}
	// An unknown VNI is no business of the end point: the pipeline has the datapaths.
	f := edited(t, func(f []byte) { f[atGeneve+4] = 0x12 })
	if k := wantInner(t, "unknown VNI", f, innerFrame(64)); k.VNI != 0x12cdef {
		t.Errorf("VNI %#x", k.VNI)
	}
}

// TestHostile49 is a tunnel in a tunnel: one header is taken off.
func TestHostile49(t *testing.T) {
	inner := outerFrame(t, innerFrame(64))
	twice := outerFrame(t, inner)
	wantInner(t, "twice", twice, inner)
	thrice := outerFrame(t, twice)
	wantInner(t, "three times", thrice, twice)
}

// TestHostile50 is a packet that the tunnel headers make too large: DF is set on
// the underlay, so it must not leave.
func TestHostile50(t *testing.T) {
	e := endpoint(t, 1500)
	for n := 1439; n < 1600; n += 40 {
		b := newBuf(t, innerFrame(14+n))
		if r := e.Push(b, &tunnel, 1); r != stats.DropTooBig {
			t.Errorf("%d bytes of L3: %v, want too_big", n, r)
		}
	}
}

func arpRequest(t testing.TB, target uint32) []byte {
	t.Helper()
	var dst [4]byte
	binary.BigEndian.PutUint32(dst[:], target)
	return serialize(t,
		&layers.Ethernet{SrcMAC: peerMAC[:], DstMAC: []byte{255, 255, 255, 255, 255, 255}, EthernetType: layers.EthernetTypeARP},
		&layers.ARP{
			AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4, Operation: layers.ARPRequest,
			SourceHwAddress: peerMAC[:], SourceProtAddress: []byte{192, 0, 2, 2}, DstHwAddress: make([]byte, 6), DstProtAddress: dst[:],
		})
}

func echoRequest(t testing.TB) []byte {
	t.Helper()
	return serialize(t,
		&layers.Ethernet{SrcMAC: peerMAC[:], DstMAC: ourMAC[:], EthernetType: layers.EthernetTypeIPv4},
		&layers.IPv4{Version: 4, TTL: 9, Protocol: layers.IPProtocolICMPv4, SrcIP: []byte{192, 0, 2, 2}, DstIP: []byte{192, 0, 2, 1}},
		&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(8, 0), Id: 77, Seq: 5},
		gopacket.Payload("who is there?"))
}

func serialize(t testing.TB, l ...gopacket.SerializableLayer) []byte {
	t.Helper()
	out := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(out, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, l...); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestARPReply(t *testing.T) {
	pad := make([]byte, 18) // a wire's shortest frame
	v, r, b, _ := receive(t, append(arpRequest(t, ourIP), pad...))
	if v != overlay.Reply {
		t.Fatal(v, r)
	}
	p := gopacket.NewPacket(b.Data(), layers.LayerTypeEthernet, gopacket.Default)
	eth := p.Layer(layers.LayerTypeEthernet).(*layers.Ethernet)
	a := p.Layer(layers.LayerTypeARP).(*layers.ARP)
	if flow.MAC(eth.DstMAC) != peerMAC || flow.MAC(eth.SrcMAC) != ourMAC {
		t.Errorf("from %v to %v", eth.SrcMAC, eth.DstMAC)
	}
	if a.Operation != layers.ARPReply || flow.MAC(a.SourceHwAddress) != ourMAC || string(a.SourceProtAddress) != "\xc0\x00\x02\x01" ||
		flow.MAC(a.DstHwAddress) != peerMAC || string(a.DstProtAddress) != "\xc0\x00\x02\x02" {
		t.Errorf("ARP %+v", a)
	}

	wantDrop(t, "for another", arpRequest(t, peerIP+7), stats.DropNotForUs)
	wantDrop(t, "truncated", arpRequest(t, ourIP)[:41], stats.DropBadARP)
	for name, edit := range map[string]func(f []byte){
		"hardware type": func(f []byte) { f[15] = 6 }, "protocol type": func(f []byte) { f[16] = 0x86 }, "address length": func(f []byte) { f[18] = 8 },
		"asker is a group": func(f []byte) { f[22] |= 1 }, "sent by a group": func(f []byte) { f[6] |= 1 },
	} {
		f := arpRequest(t, ourIP)
		edit(f)
		wantDrop(t, name, f, stats.DropBadARP)
	}
	f := arpRequest(t, ourIP)
	f[21] = 2
	wantDrop(t, "a reply", f, stats.DropNotForUs)
}

func TestEchoReply(t *testing.T) {
	v, r, b, _ := receive(t, echoRequest(t)) // of 55 bytes, padded to 60
	if v != overlay.Reply {
		t.Fatal(v, r)
	}
	p := gopacket.NewPacket(b.Data(), layers.LayerTypeEthernet, gopacket.Default)
	ip4 := p.Layer(layers.LayerTypeIPv4).(*layers.IPv4)
	icmp := p.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4)
	if ip4.SrcIP.String() != "192.0.2.1" || ip4.DstIP.String() != "192.0.2.2" || ip4.TTL != 64 {
		t.Errorf("IPv4 %+v", ip4)
	}
	if icmp.TypeCode != 0 || icmp.Id != 77 || icmp.Seq != 5 || string(icmp.Payload) != "who is there?" || b.Len() != 55 {
		t.Errorf("ICMP %+v in %d bytes, want 55", icmp, b.Len())
	}
	if hdr.Checksum(b.Data()[14:34]) != 0 || hdr.Checksum(b.Data()[34:]) != 0 {
		t.Error("checksums are wrong")
	}
	for _, c := range []struct {
		name string
		edit func(f []byte)
		want stats.DropReason
	}{
		{"checksum", func(f []byte) { f[40] ^= 1 }, stats.DropOuterBad},
		{"a reply", func(f []byte) { f[34] = 0; fixICMP(f) }, stats.DropNotForUs},
		{"code 1", func(f []byte) { f[35] = 1; fixICMP(f) }, stats.DropNotForUs},
		{"sent by a group", func(f []byte) { f[6] |= 1 }, stats.DropNotForUs},
		{"to all", func(f []byte) { copy(f, "\xff\xff\xff\xff\xff\xff") }, stats.DropNotForUs},
	} {
		f := echoRequest(t)
		c.edit(f)
		wantDrop(t, c.name, f, c.want)
	}
}

func fixICMP(f []byte) {
	f[36], f[37] = 0, 0
	binary.BigEndian.PutUint16(f[36:], hdr.Checksum(f[34:]))
}

func TestSegmentsAreRefused(t *testing.T) {
	b := newBuf(t, outerFrame(t, innerFrame(64)))
	b.NbSegs = 2
	var k flow.Key
	if v, r := endpoint(t, 1500).Receive(b, peers(), &k); v != overlay.Drop || r != stats.DropOuterBad {
		t.Errorf("%v, %v", v, r)
	}
	b.NbSegs = 1
}

// met are peers that were heard of before, as the short way wants it.
func met() *overlay.Peers {
	p := peers()
	p.Has(peerIP)
	p.Has(peerIP + 1)
	return p
}

// withSum is f with a right outer UDP checksum.
func withSum(f []byte) []byte {
	f = append([]byte(nil), f...)
	f[atUDP+6], f[atUDP+7] = 0, 0
	p := hdr.Pseudo(f[atIP+12:atIP+16], f[atIP+16:atIP+20], 17, len(f)-atUDP)
	binary.BigEndian.PutUint16(f[atUDP+6:], hdr.Finish(hdr.Sum(f[atUDP:], p)))
	return f
}

// TestReceiveReadsNoFurther: of frames of all lengths, however they end, Receive reads no
// byte behind the end, and says what it says where there are some.
func TestReceiveReadsNoFurther(t *testing.T) {
	good := outerFrame(t, innerFrame(100))
	e, edge, peers := endpoint(t, 1500), buftest.NewEdge(t), met()
	check := func(f []byte) {
		roomy := newBuf(t, f)
		var want, k flow.Key
		verdict, reason := e.Receive(roomy, peers, &want)
		buftest.Inside(t, func() {
			b := edge.Lay(f)
			if v, r := e.Receive(b, peers, &k); v != verdict || r != reason || k != want || string(b.Data()) != string(roomy.Data()) {
				t.Errorf("%x: %v, %v, %v; at the edge %v, %v, %v, %x", f, verdict, reason, want, v, r, k, b.Data())
			}
		}, edge)
	}
	for _, whole := range [][]byte{
		good,
		withSum(good),
		withOptions(good, []byte{1, 2, 3, 1, 0, 0, 0, 0}),
		withOptions(good, nil),
		arpRequest(t, ourIP),
		echoRequest(t),
	} {
		for n := range len(whole) + 1 {
			f := append([]byte(nil), whole[:n]...)
			check(f)
			if n < atIP+20 || f[12] != 8 || f[13] != 0 {
				continue
			}
			// Lengths that say that this is all take it as far as can be.
			binary.BigEndian.PutUint16(f[atIP+2:], uint16(n-atIP))
			switch {
			case f[atIP+9] == 1 && n >= atUDP+4:
				fixICMP(f)
			case f[atIP+9] == 17 && n >= atUDP+8:
				summed := f[atUDP+6]|f[atUDP+7] != 0
				binary.BigEndian.PutUint16(f[atUDP+4:], uint16(n-atUDP))
				if summed {
					f = withSum(f)
				}
			}
			fixIP(f)
			check(f)
		}
	}
}

// FuzzReceive: no frame makes Receive panic or leave its bounds, both ways to receive agree,
// and what it delivers is what another codec finds in the frame.
func FuzzReceive(f *testing.F) {
	f.Add(outerFrame(f, innerFrame(64)))
	f.Add(withSum(outerFrame(f, innerFrame(64))))
	wrong := outerFrame(f, innerFrame(64))
	wrong[atUDP+7] = 0x10
	f.Add(wrong)
	f.Add(withOptions(outerFrame(f, innerFrame(20)), []byte{1, 2, 3, 1, 0, 0, 0, 0}))
	f.Add(arpRequest(f, ourIP))
	f.Add(echoRequest(f))
	e := endpoint(f, 1500)
	edge, plain := buftest.NewEdge(f), buftest.NewEdge(f)
	f.Fuzz(func(t *testing.T, frame []byte) {
		if len(frame) > buf.DefaultDataRoom {
			t.Skip("longer than a buffer")
		}
		b, twin := edge.Lay(frame), plain.Lay(frame)
		b.OlFlags, twin.OlFlags = buf.RxL4Good, buf.RxL4Good
		var k, want flow.Key
		var v, verdict overlay.Verdict
		var r, reason stats.DropReason
		buftest.Inside(t, func() {
			v, r = e.Receive(b, met(), &k)
			verdict, reason = e.General(twin, met(), &want)
		}, edge, plain)
		if (v == overlay.Drop) != (r != stats.DropNone) {
			t.Fatalf("verdict %v with reason %v", v, r)
		}
		if v != verdict || r != reason {
			t.Fatalf("%x: %v, %v, the plain way %v, %v", frame, v, r, verdict, reason)
		}
		if v != overlay.Drop && (k != want || string(b.Data()) != string(twin.Data()) || b.OlFlags != twin.OlFlags) {
			t.Fatalf("%x:\n%v %x, the plain way\n%v %x", frame, k, b.Data(), want, twin.Data())
		}
		switch v {
		case overlay.Reply:
			if b.Len() > len(frame) || flow.MAC(b.Data()[6:12]) != ourMAC {
				t.Fatalf("reply %x to %x", b.Data(), frame)
			}
		case overlay.Deliver:
			p := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.Default)
			g, ok := p.Layer(layers.LayerTypeGeneve).(*layers.Geneve)
			if !ok {
				t.Fatalf("delivered, but another codec finds no Geneve in %x", frame)
			}
			if g.VNI != k.VNI || string(g.Payload) != string(b.Data()) || k.TunSrc != peerIP && k.TunSrc != peerIP+1 {
				t.Fatalf("VNI %#x, source %#x, frame %x; another codec: VNI %#x, frame %x", k.VNI, k.TunSrc, b.Data(), g.VNI, g.Payload)
			}
		}
	})
}
