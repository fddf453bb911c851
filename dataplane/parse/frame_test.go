package parse_test

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"pgregory.net/rapid"

	"baton/dataplane/buf/buftest"
	"baton/dataplane/flow"
	"baton/dataplane/hdr"
	"baton/dataplane/hdr/hdrtest"
	"baton/dataplane/parse"
	"baton/dataplane/stats"
)

// keyOf is the key that a packet should have.
func keyOf(p hdrtest.Packet) (k flow.Key) {
	k.EthDst, k.EthSrc = p.EthDst, p.EthSrc
	if p.VLAN != 0 {
		k.VLAN = p.VLAN | 0x1000
	}
	k.IPSrc, k.IPDst = flow.Addr(p.Src), flow.Addr(p.Dst)
	switch {
	case p.ARP != 0:
		k.EthType, k.Proto = flow.EtherTypeARP, uint8(p.ARP)
		return k
	case p.Src.Is4():
		k.EthType = flow.EtherTypeIPv4
	default:
		k.EthType = flow.EtherTypeIPv6
	}
	k.Proto, k.TOS = p.Proto, p.TOS
	switch {
	case p.FragOffset != 0:
		k.Frag = flow.FragAny | flow.FragLater
		return k
	case p.MoreFragments:
		k.Frag = flow.FragAny
	}
	switch p.Proto {
	case flow.ProtoTCP, flow.ProtoUDP, flow.ProtoICMP, flow.ProtoICMPv6:
		k.L4Src, k.L4Dst = p.SrcPort, p.DstPort
	}
	return k
}

// TestRandomPackets: every packet that the builder makes gives its key, and the
// caller's fields stay as they are.
func TestRandomPackets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := hdrtest.Random(t)
		want := keyOf(p)
		want.InPort, want.VNI, want.TunSrc, want.SrcPort, want.Flags = 7, 8, 9, 10, 11
		got := flow.Key{IPSrc: [16]byte{15: 1}, Proto: 99, Frag: 3, L4Src: 5, VLAN: 6, TOS: 7}
		got.InPort, got.VNI, got.TunSrc, got.SrcPort, got.Flags = 7, 8, 9, 10, 11
		if r := parse.Frame(p.Bytes(), &got); r != stats.DropNone {
			t.Fatalf("%+v: %s", p, r)
		}
		if got != want {
			t.Fatalf("%+v:\ngot  %s\nwant %s", p, got, want)
		}
	})
}

var (
	a4, b4 = netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	a6, b6 = netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")
)

// TestLies: each frame claims what is not so and is dropped for it.
func TestLies(t *testing.T) {
	udp4 := hdrtest.Packet{Src: a4, Dst: b4, Proto: hdr.ProtoUDP, Payload: make([]byte, 20)}
	tcp4 := hdrtest.Packet{Src: a4, Dst: b4, Proto: hdr.ProtoTCP}
	udp6 := hdrtest.Packet{Src: a6, Dst: b6, Proto: hdr.ProtoUDP}
	icmp4 := hdrtest.Packet{Src: a4, Dst: b4, Proto: hdr.ProtoICMP}
	arp := hdrtest.Packet{Src: a4, Dst: b4, ARP: 1}
	many := udp6
	many.Extensions = make([]byte, parse.MaxExtensions+1)
	put := func(p hdrtest.Packet, at int, v ...byte) []byte {
		b := p.Bytes()
		copy(b[at:], v)
		return b
	}
	ext := udp6
	ext.Extensions = []byte{0}
	tests := []struct {
		name  string
		frame []byte
		want  stats.DropReason
	}{
		{"empty", nil, stats.DropShortFrame},
		{"13 bytes", make([]byte, 13), stats.DropShortFrame},
		{"half a VLAN tag", append(make([]byte, 12), 0x81, 0, 0, 1), stats.DropShortFrame},
		{"half an IPv4 header", udp4.Bytes()[:30], stats.DropShortFrame},
		{"IPv4 version 5", put(udp4, 14, 0x55), stats.DropBadIPv4},
		{"IPv4 header length 4", put(udp4, 14, 0x44), stats.DropBadIPv4},
		{"IPv4 header longer than the packet", put(hdrtest.Packet{Src: a4, Dst: b4, Proto: 99}, 14, 0x4f), stats.DropBadIPv4},
		{"IPv4 total length above the frame's", put(udp4, 16, 0, 49), stats.DropBadIPv4},
		{"IPv4 total length below the header's", put(udp4, 16, 0, 19), stats.DropBadIPv4},
		{"UDP longer than the packet", put(udp4, 38, 0, 29), stats.DropShortFrame},
		{"UDP of 7 bytes", put(udp4, 38, 0, 7), stats.DropShortFrame},
		{"half a UDP header", put(udp4, 16, 0, 27), stats.DropShortFrame},
		{"TCP header longer than the packet", put(tcp4, 46, 0x60), stats.DropShortFrame},
		{"TCP header of 16 bytes", put(tcp4, 46, 0x40), stats.DropShortFrame},
		{"half a TCP header", put(tcp4, 16, 0, 39), stats.DropShortFrame},
		{"half an ICMP header", put(icmp4, 16, 0, 27), stats.DropShortFrame},
		{"half an IPv6 header", udp6.Bytes()[:50], stats.DropShortFrame},
		{"IPv6 version 4", put(udp6, 14, 0x40), stats.DropBadIPv6},
		{"IPv6 payload above the frame's", put(udp6, 18, 0, 9), stats.DropBadIPv6},
		{"IPv6 extension longer than the packet", put(ext, 55, 2), stats.DropBadIPv6},
		{"IPv6 extension cut off", put(ext, 18, 0, 7), stats.DropBadIPv6},
		{"too many IPv6 extensions", many.Bytes(), stats.DropBadIPv6},
		{"half an ARP packet", arp.Bytes()[:41], stats.DropBadARP},
		{"ARP for token ring", put(arp, 15, 6), stats.DropBadARP},
		{"ARP with long addresses", put(arp, 18, 8), stats.DropBadARP},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var k flow.Key
			if got := parse.Frame(tt.frame, &k); got != tt.want {
				t.Errorf("%s, want %s (%x)", got, tt.want, tt.frame)
			}
		})
	}
}

// TestOddButTrue: unusual frames that are not wrong.
func TestOddButTrue(t *testing.T) {
	atomic := hdrtest.Packet{Src: a6, Dst: b6, Proto: hdr.ProtoUDP, SrcPort: 5, DstPort: 6, Extensions: []byte{44}}
	most := atomic
	most.Extensions = make([]byte, parse.MaxExtensions)
	qinq := append(make([]byte, 12), 0x81, 0, 0, 1, 0x81, 0, 0, 2)
	length := append(make([]byte, 12), 0, 46)
	tests := []struct {
		name  string
		frame []byte
		check func(k *flow.Key) bool
	}{
		{"atomic IPv6 fragment (RFC 6946)", atomic.Bytes(), func(k *flow.Key) bool { return k.Frag == 0 && k.L4Dst == 6 }},
		{"as many IPv6 extensions as allowed", most.Bytes(), func(k *flow.Key) bool { return k.L4Dst == 6 && k.Proto == hdr.ProtoUDP }},
		{"second VLAN tag", qinq, func(k *flow.Key) bool { return k.VLAN == 0x1001 && k.EthType == flow.EtherTypeVLAN }},
		{"802.3 length", length, func(k *flow.Key) bool { return k.EthType == 0 }},
		{"ICMPv6 in IPv4 is any protocol", hdrtest.Packet{Src: a4, Dst: b4, Proto: 58, SrcPort: 128}.Bytes(),
			func(k *flow.Key) bool { return k.Proto == 58 && k.L4Src == 0 }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var k flow.Key
			if r := parse.Frame(tt.frame, &k); r != stats.DropNone || !tt.check(&k) {
				t.Errorf("%s, %s (%x)", r, k, tt.frame)
			}
		})
	}
}

// TestFrameAllocates nothing.
func TestFrameAllocates(t *testing.T) {
	frames := [][]byte{
		hdrtest.Packet{Src: a4, Dst: b4, Proto: hdr.ProtoUDP}.Bytes(),
		hdrtest.Packet{Src: a6, Dst: b6, Proto: hdr.ProtoTCP, Extensions: []byte{0}, VLAN: 3}.Bytes(),
	}
	var k flow.Key
	for _, f := range frames {
		if n := testing.AllocsPerRun(100, func() { parse.Frame(f, &k) }); n != 0 {
			t.Errorf("%v allocations for %x", n, f)
		}
	}
}

// FuzzFrame: no frame makes the parser panic or read behind its end, both ways to
// parse agree, and what Locate says lies in the frame.
func FuzzFrame(f *testing.F) {
	f.Add(hdrtest.Packet{Src: a4, Dst: b4, Proto: hdr.ProtoTCP, Options: 8, VLAN: 5}.Bytes())
	f.Add(hdrtest.Packet{Src: a6, Dst: b6, Proto: hdr.ProtoUDP, Extensions: []byte{0, 60, 51, 44}}.Bytes())
	f.Add(hdrtest.Packet{Src: a4, Dst: b4, ARP: 1}.Bytes())
	e := buftest.NewEdge(f)
	f.Fuzz(func(t *testing.T, frame []byte) {
		if e.Lay(frame) == nil {
			t.Skip("longer than a buffer")
		}
		readsNoFurther(t, e, frame)
		var k, again flow.Key
		reason := parse.Frame(frame, &k)
		// A frame with a VLAN tag put in must agree.
		if len(frame) >= 14 && binary.BigEndian.Uint16(frame[12:]) != flow.EtherTypeVLAN {
			tagged := append(append(append([]byte(nil), frame[:12]...), 0x81, 0, 0x10, 0), frame[12:]...)
			if r := parse.Frame(tagged, &again); r != reason {
				t.Fatalf("%s, with a VLAN tag %s", reason, r)
			}
			again.VLAN = 0
			if reason == stats.DropNone && k != again {
				t.Fatalf("%s, with a VLAN tag %s", k, again)
			}
		}
		l, r := parse.Locate(frame)
		if r != reason {
			t.Fatalf("Frame %s, Locate %s", reason, r)
		}
		if r != stats.DropNone {
			return
		}
		if l.L3 > l.End || l.End > len(frame) || l.L4 != 0 && (l.L4 < l.L3 || l.L4 > l.End) {
			t.Fatalf("%+v of %d bytes", l, len(frame))
		}
		if l.Type != k.EthType || l.Proto != k.Proto || l.Frag != k.Frag {
			t.Fatalf("%+v, key %s", l, k)
		}
	})
}
