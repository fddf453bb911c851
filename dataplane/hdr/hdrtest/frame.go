// Package hdrtest builds frames for tests: whole, with right lengths and
// checksums, from a few words.
//
//	hdrtest.Packet{Src: a, Dst: b, Proto: hdr.ProtoUDP, DstPort: 53}.Bytes()
//
// Only tests call it.
package hdrtest

import (
	"encoding/binary"
	"net/netip"

	"baton/dataplane/hdr"
)

// Packet describes an IP or ARP packet in an Ethernet frame. Zero fields get
// sensible values.
type Packet struct {
	EthDst, EthSrc [6]byte
	VLAN           uint16 // tag control information, 0 = no tag
	Src, Dst       netip.Addr
	ARP            uint16 // opcode: an ARP packet from Src for Dst
	Proto          uint8
	TTL            uint8 // 0 = 64
	TOS            uint8
	Options        int    // bytes of IPv4 options
	Extensions     []byte // kinds of IPv6 extension headers, 8 bytes each
	FragOffset     uint16 // in units of 8 bytes
	MoreFragments  bool
	SrcPort        uint16 // ICMP: type
	DstPort        uint16 // ICMP: code
	NoChecksum     bool   // UDP without checksum
	Payload        []byte
	Padding        int // bytes behind the IP packet
}

// Bytes is the frame.
func (p Packet) Bytes() []byte {
	typ, l3 := p.l3()
	f := make([]byte, hdr.EthernetSize, 64+len(l3))
	if p.VLAN != 0 {
		hdr.Ethernet(f).Encode(hdr.EthernetFields{Dst: p.EthDst, Src: p.EthSrc, Type: hdr.TypeVLAN})
		f = append(f, make([]byte, hdr.VLANSize)...)
		hdr.VLAN(f[hdr.EthernetSize:]).Encode(hdr.VLANFields{TCI: p.VLAN, Type: typ})
	} else {
		hdr.Ethernet(f).Encode(hdr.EthernetFields{Dst: p.EthDst, Src: p.EthSrc, Type: typ})
	}
	f = append(f, l3...)
	return append(f, make([]byte, p.Padding)...)
}

// l3 is the packet behind the Ethernet header, and its type.
func (p Packet) l3() (uint16, []byte) {
	switch {
	case p.ARP != 0:
		b := make([]byte, hdr.ARPSize)
		hdr.ARP(b).Encode(hdr.ARPFields{Op: p.ARP, SenderMAC: p.EthSrc, SenderIP: p.Src.As4(), TargetIP: p.Dst.As4()})
		return hdr.TypeARP, b
	case p.Src.Is4():
		return hdr.TypeIPv4, p.ipv4()
	}
	return hdr.TypeIPv6, p.ipv6()
}

// ttl is the TTL or hop limit.
func (p Packet) ttl() uint8 {
	if p.TTL == 0 {
		return 64
	}
	return p.TTL
}

// ipv4 is the IPv4 packet.
func (p Packet) ipv4() []byte {
	l4 := p.l4()
	size := hdr.IPv4Size + p.Options
	b := make([]byte, size, size+len(l4))
	b = append(b, l4...)
	frag := p.FragOffset
	if p.MoreFragments {
		frag |= hdr.IPv4MoreFragments
	}
	h := hdr.IPv4(b)
	h.Encode(hdr.IPv4Fields{
		HeaderSize: size, TOS: p.TOS, TotalSize: uint16(len(b)), ID: 7, Frag: frag,
		TTL: p.ttl(), Proto: p.Proto, Src: p.Src.As4(), Dst: p.Dst.As4(),
	})
	for i := hdr.IPv4Size; i < size; i++ {
		b[i] = 1 // no operation
	}
	h.SetChecksum()
	return b
}

// ipv6 is the IPv6 packet.
func (p Packet) ipv6() []byte {
	chain := p.Extensions
	if p.FragOffset != 0 || p.MoreFragments {
		chain = append(append([]byte(nil), chain...), 44)
	}
	var ext []byte
	for i, kind := range chain {
		next := p.Proto
		if i+1 < len(chain) {
			next = chain[i+1]
		}
		e := make([]byte, 8)
		e[0] = next
		if kind == 44 {
			frag := p.FragOffset << 3
			if p.MoreFragments {
				frag |= 1
			}
			binary.BigEndian.PutUint16(e[2:], frag)
		}
		ext = append(ext, e...)
	}
	first := p.Proto
	if len(chain) > 0 {
		first = chain[0]
	}
	rest := append(ext, p.l4()...)
	b := make([]byte, hdr.IPv6Size, hdr.IPv6Size+len(rest))
	hdr.IPv6(b).Encode(hdr.IPv6Fields{
		TrafficClass: p.TOS, PayloadSize: uint16(len(rest)), NextHeader: first, HopLimit: p.ttl(),
		Src: p.Src.As16(), Dst: p.Dst.As16(),
	})
	return append(b, rest...)
}

// pseudo is the sum of the pseudo header for size bytes.
func (p Packet) pseudo(size int) uint32 {
	return hdr.Pseudo(p.Src.AsSlice(), p.Dst.AsSlice(), p.Proto, size)
}

// l4 is the L4 packet; of a later fragment, the payload alone.
func (p Packet) l4() []byte {
	if p.FragOffset != 0 {
		return p.Payload
	}
	switch p.Proto {
	case hdr.ProtoTCP:
		b := append(make([]byte, hdr.TCPSize), p.Payload...)
		hdr.TCP(b).Encode(hdr.TCPFields{SrcPort: p.SrcPort, DstPort: p.DstPort, Seq: 1, Ack: 2, Flags: 0x10, Window: 512})
		hdr.TCP(b).SetChecksum(p.pseudo(len(b)))
		return b
	case hdr.ProtoUDP:
		b := append(make([]byte, hdr.UDPSize), p.Payload...)
		hdr.UDP(b).Encode(hdr.UDPFields{SrcPort: p.SrcPort, DstPort: p.DstPort, Size: uint16(len(b))})
		if !p.NoChecksum {
			hdr.UDP(b).SetChecksum(p.pseudo(len(b)))
		}
		return b
	case hdr.ProtoICMP, hdr.ProtoICMPv6:
		b := append(make([]byte, hdr.ICMPSize), p.Payload...)
		hdr.ICMP(b).Encode(hdr.ICMPFields{Type: uint8(p.SrcPort), Code: uint8(p.DstPort), Rest: 0x00010002})
		if p.Proto == hdr.ProtoICMPv6 {
			hdr.ICMP(b).SetChecksum(p.pseudo(len(b)))
		} else {
			hdr.ICMP(b).SetChecksum(0)
		}
		return b
	}
	return p.Payload
}
