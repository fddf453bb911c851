package hdr_test

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"pgregory.net/rapid"

	"baton/dataplane/hdr"
	"baton/dataplane/hdr/hdrtest"
)

// naive is the checksum as RFC 1071 says it, one word at a time.
func naive(b []byte) uint16 {
	var sum uint64
	for i := 0; i < len(b); i += 2 {
		w := uint64(b[i]) << 8
		if i+1 < len(b) {
			w |= uint64(b[i+1])
		}
		sum += w
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// TestChecksum holds the fast sum against the naive one, and incremental updates
// against computing anew.
func TestChecksum(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := rapid.SliceOfN(rapid.Byte(), 2, 100).Draw(t, "bytes")
		c := hdr.Checksum(b)
		if want := naive(b); c != want {
			t.Fatalf("%x: %04x, want %04x", b, c, want)
		}
		cut := rapid.IntRange(0, len(b)/2).Draw(t, "cut") * 2
		if got := hdr.Finish(hdr.Sum(b[cut:], hdr.Sum(b[:cut], 0))); got != c {
			t.Fatalf("%x in two parts at %d: %04x, want %04x", b, cut, got, c)
		}
		size := rapid.IntRange(1, len(b)/2).Draw(t, "size") * 2
		at := rapid.IntRange(0, (len(b)-size)/2).Draw(t, "at") * 2
		old := bytes.Clone(b[at : at+size])
		for i := range size {
			b[at+i] = rapid.Byte().Draw(t, "new")
		}
		got := hdr.UpdateBytes(c, old, b[at:at+size])
		if want := naive(b); got != want && got^want != 0xffff { // ones' complement has two zeros
			t.Fatalf("updated %04x, want %04x", got, want)
		}
		if size == 2 && got != hdr.Update(c, binary.BigEndian.Uint16(old), binary.BigEndian.Uint16(b[at:])) {
			t.Fatalf("Update and UpdateBytes differ")
		}
	})
}

// TestRFC1624 is the example of RFC 1624 4: equation 3 gives 0x0000, not 0xffff.
func TestRFC1624(t *testing.T) {
	if got := hdr.Update(0xdd2f, 0x5555, 0x3285); got != 0 {
		t.Errorf("got %04x, want 0000", got)
	}
}

// TestRoundTrip: what is encoded is decoded again, whatever was there before.
func TestRoundTrip(t *testing.T) {
	room := func() []byte {
		b := make([]byte, 64)
		for i := range b {
			b[i] = byte(rand.Uint32())
		}
		return b
	}
	mac := func(n byte) [6]byte { return [6]byte{2, 3, 4, 5, 6, n} }
	eth := hdr.EthernetFields{Dst: mac(1), Src: mac(2), Type: 0x86dd}
	b := room()
	hdr.Ethernet(b).Encode(eth)
	check(t, hdr.Ethernet(b).Fields(), eth)
	vlan := hdr.VLANFields{TCI: 0x6005, Type: 0x0800}
	hdr.VLAN(b).Encode(vlan)
	check(t, hdr.VLAN(b).Fields(), vlan)
	arp := hdr.ARPFields{Op: 2, SenderMAC: mac(1), SenderIP: [4]byte{1, 2, 3, 4}, TargetMAC: mac(2), TargetIP: [4]byte{5, 6, 7, 8}}
	hdr.ARP(b).Encode(arp)
	check(t, hdr.ARP(b).Fields(), arp)
	ip4 := hdr.IPv4Fields{HeaderSize: 24, TOS: 1, TotalSize: 60, ID: 3, Frag: 0x2004, TTL: 5, Proto: 6, Checksum: 7, Src: [4]byte{8}, Dst: [4]byte{9}}
	b = room()
	hdr.IPv4(b).Encode(ip4)
	check(t, hdr.IPv4(b).Fields(), ip4)
	if hdr.IPv4(b).SetChecksum(); !hdr.IPv4(b).ChecksumOK() || !hdr.IPv4(b).Valid() || len(hdr.IPv4(b).Payload()) != 36 {
		t.Errorf("IPv4 %x", b)
	}
	ip6 := hdr.IPv6Fields{TrafficClass: 0xab, FlowLabel: 0xcdef1, PayloadSize: 24, NextHeader: 17, HopLimit: 3, Src: [16]byte{4}, Dst: [16]byte{5}}
	hdr.IPv6(b).Encode(ip6)
	check(t, hdr.IPv6(b).Fields(), ip6)
	icmp := hdr.ICMPFields{Type: 8, Code: 1, Checksum: 2, Rest: 3}
	hdr.ICMP(b).Encode(icmp)
	check(t, hdr.ICMP(b).Fields(), icmp)
	tcp := hdr.TCPFields{SrcPort: 1, DstPort: 2, Seq: 3, Ack: 4, HeaderSize: 40, Flags: 0x12, Window: 6, Checksum: 7, Urgent: 8}
	hdr.TCP(b).Encode(tcp)
	check(t, hdr.TCP(b).Fields(), tcp)
	udp := hdr.UDPFields{SrcPort: 1, DstPort: 2, Size: 30, Checksum: 4}
	hdr.UDP(b).Encode(udp)
	check(t, hdr.UDP(b).Fields(), udp)
	geneve := hdr.GeneveFields{OptionsSize: 12, Control: true, Critical: true, Protocol: 0x6558, VNI: 0xabcdef}
	hdr.Geneve(b).Encode(geneve)
	check(t, hdr.Geneve(b).Fields(), geneve)
	option := hdr.BatonOption{SrcPort: 1, DstPort: 2, Flags: 3, Command: 4}
	option.Encode(b)
	check(t, hdr.DecodeBatonOption(b), option)
}

// check compares two structs of fields.
func check[T comparable](t *testing.T, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// TestGeneveBytes is the wire format, byte by byte.
func TestGeneveBytes(t *testing.T) {
	b := bytes.Repeat([]byte{0xff}, hdr.GeneveFullSize)
	hdr.Geneve(b).EncodeFull(0x123456, hdr.BatonOption{SrcPort: 0x0102, DstPort: 0x0304, Flags: 0x0506, Command: 0x0708})
	want := []byte{
		0x03, 0x40, 0x65, 0x58, // version 0, 3 words of options, critical, Ethernet
		0x12, 0x34, 0x56, 0x00, // VNI
		0xff, 0xee, 0x80, 0x02, // class, type, 2 words
		1, 2, 3, 4, 5, 6, 7, 8, // source and destination port id, flags, command id
	}
	if !bytes.Equal(b, want) {
		t.Errorf("got  %x\nwant %x", b, want)
	}
}

// TestScanOptions: what is known, unknown, critical and malformed.
func TestScanOptions(t *testing.T) {
	ours := make([]byte, hdr.BatonOptionSize)
	hdr.BatonOption{SrcPort: 5}.Encode(ours)
	short := append([]byte(nil), ours...)
	short[3] = 1
	other := []byte{0x01, 0x02, 0x01, 0x01, 9, 9, 9, 9}
	critical := []byte{0x01, 0x02, 0x81, 0x00}
	tests := []struct {
		name    string
		options []byte
		want    hdr.OptionScan
	}{
		{"none", nil, hdr.OptionScan{}},
		{"ours", ours, hdr.OptionScan{Baton: hdr.BatonOption{SrcPort: 5}, HasBaton: true}},
		{"ours behind another", append(append([]byte(nil), other...), ours...), hdr.OptionScan{Baton: hdr.BatonOption{SrcPort: 5}, HasBaton: true}},
		{"unknown critical", critical, hdr.OptionScan{Critical: true}},
		{"cut off", ours[:8], hdr.OptionScan{Bad: true}},
		{"half a header", ours[:2], hdr.OptionScan{Bad: true}},
		{"ours too short", short[:8], hdr.OptionScan{Bad: true}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { check(t, hdr.ScanOptions(tt.options), tt.want) })
	}
	if got := hdr.ScanOptions(append(append([]byte(nil), ours...), ours...)); !got.Bad {
		t.Errorf("ours twice: %+v", got)
	}
}

// TestGopacketAgrees decodes random packets with another implementation, which
// also computes the checksums on its own.
func TestGopacketAgrees(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := hdrtest.Random(t)
		if p.Options != 0 || p.Extensions != nil || p.FragOffset != 0 || p.MoreFragments || p.NoChecksum {
			p.Options, p.Extensions, p.FragOffset, p.MoreFragments, p.NoChecksum = 0, nil, 0, false, false
		}
		frame := p.Bytes()
		packet := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.Default)
		if err := packet.ErrorLayer(); err != nil && p.Proto != 132 && p.SrcPort != 135 { // the payload is no SCTP and no neighbour solicitation
			t.Fatalf("%x: %v", frame, err.Error())
		}
		var ends [2]netip.Addr
		if ip, ok := packet.NetworkLayer().(*layers.IPv4); ok {
			ends = [2]netip.Addr{netip.AddrFrom4([4]byte(ip.SrcIP)), netip.AddrFrom4([4]byte(ip.DstIP))}
			check2(t, "TTL", ip.TTL, p.TTL)
			check2(t, "protocol", uint8(ip.Protocol), p.Proto)
			sum := ip.Checksum
			again := gopacket.NewSerializeBuffer()
			if err := ip.SerializeTo(again, gopacket.SerializeOptions{ComputeChecksums: true}); err != nil {
				t.Fatal(err)
			}
			check2(t, "IPv4 checksum", binary.BigEndian.Uint16(again.Bytes()[10:]), sum)
		} else if ip, ok := packet.NetworkLayer().(*layers.IPv6); ok {
			ends = [2]netip.Addr{netip.AddrFrom16([16]byte(ip.SrcIP)), netip.AddrFrom16([16]byte(ip.DstIP))}
			check2(t, "hop limit", ip.HopLimit, p.TTL)
		} else if arp, ok := packet.Layer(layers.LayerTypeARP).(*layers.ARP); ok {
			ends = [2]netip.Addr{netip.AddrFrom4([4]byte(arp.SourceProtAddress)), netip.AddrFrom4([4]byte(arp.DstProtAddress))}
			check2(t, "ARP operation", arp.Operation, p.ARP)
		}
		check2(t, "addresses", ends, [2]netip.Addr{p.Src, p.Dst})
		if p.ARP == 0 {
			checkL4(t, packet, p)
		}
	})
}

// checkL4 compares the transport's checksum with the one that gopacket computes.
func checkL4(t *rapid.T, packet gopacket.Packet, p hdrtest.Packet) {
	switch l := packet.TransportLayer().(type) {
	case *layers.TCP:
		_ = l.SetNetworkLayerForChecksum(packet.NetworkLayer())
		sum, err := l.ComputeChecksum()
		if err != nil || sum != 0 { // over a right checksum
			t.Fatalf("TCP checksum %04x leaves %04x, %v", l.Checksum, sum, err)
		}
		check2(t, "port", uint16(l.DstPort), p.DstPort)
	case *layers.UDP:
		_ = l.SetNetworkLayerForChecksum(packet.NetworkLayer())
		sum, again := l.Checksum, gopacket.NewSerializeBuffer()
		if err := gopacket.SerializeLayers(again, gopacket.SerializeOptions{ComputeChecksums: true}, l, gopacket.Payload(l.Payload)); err != nil {
			t.Fatal(err)
		}
		check2(t, "UDP checksum", binary.BigEndian.Uint16(again.Bytes()[6:]), sum)
		check2(t, "port", uint16(l.DstPort), p.DstPort)
	}
}

// check2 compares a value with what it should be.
func check2[T comparable](t *rapid.T, what string, got, want T) {
	if got != want {
		t.Fatalf("%s: gopacket has %v, want %v", what, got, want)
	}
}

// FuzzHeaders: bytes that a type says are Valid can be decoded, encoded again to
// the same, and their payload lies in them.
func FuzzHeaders(f *testing.F) {
	f.Add(hdrtest.Packet{Src: hdrtest.IP4(1), Dst: hdrtest.IP4(2), Proto: 6, Options: 4}.Bytes()[14:])
	f.Add(hdrtest.Packet{Src: hdrtest.IP6(1), Dst: hdrtest.IP6(2), Proto: 17, Extensions: []byte{0, 44, 51}}.Bytes()[14:])
	full := make([]byte, hdr.GeneveFullSize)
	hdr.Geneve(full).EncodeFull(5, hdr.BatonOption{SrcPort: 1})
	f.Add(full)
	f.Fuzz(func(t *testing.T, b []byte) {
		again := bytes.Clone(b)
		if h := hdr.IPv4(b); h.Valid() {
			hdr.IPv4(again).Encode(h.Fields())
			_, _ = h.Payload(), h.ChecksumOK()
		}
		if h := hdr.IPv6(b); h.Valid() {
			hdr.IPv6(again).Encode(h.Fields())
			if _, at, _, ok := h.Upper(); ok && (at < hdr.IPv6Size || at > hdr.IPv6Size+h.PayloadSize()) {
				t.Fatalf("upper layer at %d of %x", at, b)
			}
		}
		if h := hdr.TCP(b); h.Valid() {
			_ = h.Payload()
			f := h.Fields()
			hdr.TCP(again).Encode(f)
			again[12] |= b[12] & 15 // reserved bits are not among the fields
		}
		if h := hdr.UDP(b); h.Valid() {
			hdr.UDP(again).Encode(h.Fields())
			_ = h.Payload()
		}
		if h := hdr.ARP(b); h.Valid() {
			hdr.ARP(again).Encode(h.Fields())
		}
		if !bytes.Equal(again, b) {
			t.Fatalf("%x became %x", b, again)
		}
		if h := hdr.Geneve(b); h.Valid() {
			s := hdr.ScanOptions(h.Options())
			if s.HasBaton && len(h.Options()) < hdr.BatonOptionSize {
				t.Fatalf("option %+v in %x", s, h.Options())
			}
			_ = h.Payload()
		}
	})
}
