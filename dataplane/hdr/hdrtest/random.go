package hdrtest

import (
	"net/netip"

	"pgregory.net/rapid"

	"baton/dataplane/hdr"
)

// MAC is one of a few Ethernet addresses, number n.
func MAC(n int) [6]byte { return [6]byte{0x02, 0, 0, 0, 0, byte(n)} }

// IP4 is one of a few IPv4 addresses, number n: 10.0.(n/4).(n%4+1).
func IP4(n int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, byte(n / 4), byte(n%4 + 1)}) }

// IP6 is one of a few IPv6 addresses, number n.
func IP6(n int) netip.Addr {
	return netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 15: byte(n + 1)})
}

// Few is how many different addresses of each kind Random uses: so few that
// rules made of the same addresses often match.
const Few = 8

// Random is a random packet of any kind that baton knows, and some that it does not.
func Random(t *rapid.T) Packet {
	num := func(n int, name string) int { return rapid.IntRange(0, n-1).Draw(t, name) }
	p := Packet{
		EthDst: MAC(num(Few, "eth_dst")), EthSrc: MAC(num(Few, "eth_src")),
		TTL: uint8(1 + num(6, "ttl")), TOS: uint8(4 * num(3, "tos")),
		SrcPort: uint16(num(3, "l4_src")), DstPort: uint16(num(3, "l4_dst")),
		Payload: make([]byte, 8*num(5, "payload")), NoChecksum: num(4, "no checksum") == 0,
	}
	for i := range p.Payload {
		p.Payload[i] = byte(i * 37)
	}
	if num(6, "tagged") == 0 {
		p.VLAN = uint16(1 + num(2, "vlan"))
	}
	src, dst := num(Few, "src"), num(Few, "dst")
	p.Src, p.Dst = IP4(src), IP4(dst)
	kind := num(10, "kind")
	switch kind {
	case 0:
		p.ARP = uint16(1 + num(2, "arp op"))
	case 1, 2:
		p.Src, p.Dst = IP6(src), IP6(dst)
		p.Proto = []uint8{hdr.ProtoTCP, hdr.ProtoUDP, hdr.ProtoICMPv6, 132}[num(4, "proto6")]
		p.Extensions = [][]byte{nil, {0}, {60, 43}}[num(3, "extensions")]
	default:
		p.Proto = []uint8{hdr.ProtoTCP, hdr.ProtoUDP, hdr.ProtoICMP, 132}[num(4, "proto4")]
		p.Options = 4 * num(2, "options")
	}
	switch p.Proto {
	case hdr.ProtoICMP:
		p.SrcPort, p.DstPort = []uint16{0, 8, 3}[num(3, "type")], 0
	case hdr.ProtoICMPv6:
		p.SrcPort, p.DstPort = []uint16{128, 129, 135}[num(3, "type6")], 0
	}
	if p.ARP == 0 {
		switch num(8, "fragment") {
		case 0:
			p.FragOffset = 5
			p.Payload = make([]byte, 24)
		case 1:
			p.MoreFragments = true
		}
		p.Padding = 3 * num(2, "padding")
	}
	return p
}
