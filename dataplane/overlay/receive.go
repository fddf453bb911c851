package overlay

import (
	"encoding/binary"

	"baton/dataplane/buf"
	"baton/dataplane/flow"
	"baton/dataplane/hdr"
	"baton/dataplane/stats"
)

// Verdict is what Receive made of a frame.
type Verdict uint8

// The verdicts.
const (
	Drop    Verdict = iota // free it and count the reason
	Deliver                // the inner frame is in the buffer, its metadata in the key
	Reply                  // send the buffer back by the port that it came from
)

// String is the verdict's stable name.
func (v Verdict) String() string {
	switch v {
	case Drop:
		return "drop"
	case Deliver:
		return "deliver"
	case Reply:
		return "reply"
	}
	return "unknown"
}

// Receive takes a frame that a NIC received. Of a tunnel packet from one of
// peers it takes the outer headers off and fills InPort and the tunnel fields of
// k; the other fields of k are the parser's. ARP requests and echo requests to
// the end point become their replies.
//
//	in:    b of any content and length, one segment
//	out:   Drop has a reason, the other verdicts DropNone. On Drop the frame may have been changed.
//	alloc: 0
//	spec:  RFC 8926 3.4, 3.5, 4.1, 4.4; RFC 791; RFC 768
func (e *Endpoint) Receive(b *buf.Buf, peers *Peers, k *flow.Key) (Verdict, stats.DropReason) {
	f := b.Data()
	if b.NbSegs == 1 && len(f) >= commonSize && e.common((*[commonSize]byte)(f), b, peers, k) {
		return Deliver, stats.DropNone
	}
	return e.general(b, peers, k)
}

// general is Receive for a frame of any kind.
func (e *Endpoint) general(b *buf.Buf, peers *Peers, k *flow.Key) (Verdict, stats.DropReason) {
	f := b.Data()
	if b.NbSegs != 1 {
		return Drop, stats.DropOuterBad // larger than any frame that the underlay's MTU allows
	}
	if len(f) < ethSize {
		return Drop, stats.DropShortFrame
	}
	dst := flow.MAC(f[0:6])
	if dst != e.cfg.MAC && dst != broadcast {
		return Drop, stats.DropNotForUs
	}
	switch binary.BigEndian.Uint16(f[12:14]) {
	case flow.EtherTypeIPv4:
	case flow.EtherTypeARP:
		return e.arp(b)
	default:
		return Drop, stats.DropNotForUs
	}
	size, reason := e.checkIPv4(f[ethSize:])
	if reason != stats.DropNone {
		return Drop, reason
	}
	ip := f[ethSize : ethSize+size]
	switch ip[9] {
	case flow.ProtoUDP:
	case flow.ProtoICMP:
		return e.echo(b, ip)
	default:
		return Drop, stats.DropNotForUs
	}
	return e.decapsulate(b, ip, peers, k)
}

var broadcast = flow.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// checkIPv4 checks the outer IPv4 header and returns the packet's size. Headers
// with options are refused: no host of ours sends any, and nobody may make the
// fast path longer.
func (e *Endpoint) checkIPv4(p []byte) (int, stats.DropReason) {
	if len(p) < ipSize {
		return 0, stats.DropShortFrame
	}
	size := int(binary.BigEndian.Uint16(p[2:4]))
	if p[0] != 0x45 || size < ipSize || size > len(p) || !headerHolds((*[ipSize]byte)(p)) {
		return 0, stats.DropOuterBad
	}
	if binary.BigEndian.Uint32(p[16:20]) != e.ip {
		return 0, stats.DropNotForUs
	}
	if binary.BigEndian.Uint16(p[6:8])&0x3fff != 0 {
		return 0, stats.DropOuterFragment
	}
	src := binary.BigEndian.Uint32(p[12:16])
	if src == e.ip || !usable(src) {
		return 0, stats.DropOuterBad
	}
	return size, stats.DropNone
}

// headerHolds checks the checksum of an IPv4 header without options. hdr.Checksum is
// made for longer packets.
func headerHolds(h *[ipSize]byte) bool {
	s := uint64(binary.BigEndian.Uint32(h[0:])) + uint64(binary.BigEndian.Uint32(h[4:])) +
		uint64(binary.BigEndian.Uint32(h[8:])) + uint64(binary.BigEndian.Uint32(h[12:])) + uint64(binary.BigEndian.Uint32(h[16:]))
	s = s>>32 + s&0xffffffff
	s = s>>16 + s&0xffff
	s = s>>16 + s&0xffff
	return s>>16+s&0xffff == 0xffff
}

// decapsulate takes UDP and Geneve off; ip is the whole outer IPv4 packet in b.
func (e *Endpoint) decapsulate(b *buf.Buf, ip []byte, peers *Peers, k *flow.Key) (Verdict, stats.DropReason) {
	udp := ip[ipSize:]
	if len(udp) < udpSize {
		return Drop, stats.DropOuterBad
	}
	if int(binary.BigEndian.Uint16(udp[4:6])) != len(udp) {
		return Drop, stats.DropOuterBad
	}
	if binary.BigEndian.Uint16(udp[2:4]) != Port {
		return Drop, stats.DropNotForUs
	}
	if udp[6]|udp[7] != 0 && !udpSumHolds(ip) {
		return Drop, stats.DropOuterBad
	}
	src := binary.BigEndian.Uint32(ip[12:16])
	if !peers.Has(src) {
		return Drop, stats.DropUnknownTunnelSource
	}
	g := udp[udpSize:]
	if len(g) < geneveSize {
		return Drop, stats.DropShortFrame
	}
	end, reason := options(g, k)
	if reason != stats.DropNone {
		return Drop, reason
	}
	if len(g)-end < ethSize {
		return Drop, stats.DropShortFrame
	}
	k.InPort = flow.PortTunnel
	k.VNI = binary.BigEndian.Uint32(g[4:8]) >> 8
	k.TunSrc = src
	b.Truncate(ethSize + len(ip)) // padding of the outer frame is no part of the inner one
	b.Trim(ethSize + ipSize + udpSize + end)
	if b.OlFlags&rxL4 != 0 {
		checked(b)
	}
	return Deliver, stats.DropNone
}

const (
	rxL4       = buf.RxL4Good | buf.RxL4Bad
	tunnelType = 0xf000 // RTE_PTYPE_TUNNEL_MASK: the NIC saw a tunnel and looked into it
)

// checked keeps what the NIC says about the L4 checksum only if it says it about the
// inner packet. RxL4Bad drops nothing: the receiver checks what is not said to be
// good, and a NIC may err. Both flags together mean that it could not tell.
func checked(b *buf.Buf) {
	if b.PacketType&tunnelType == 0 || b.OlFlags&rxL4 == rxL4 {
		b.OlFlags &^= rxL4
	}
}

// udpSumHolds checks the UDP checksum of a whole IPv4 packet (RFC 768).
func udpSumHolds(ip []byte) bool {
	pseudo := hdr.Pseudo(ip[12:16], ip[16:20], flow.ProtoUDP, len(ip)-ipSize)
	return hdr.Finish(hdr.Sum(ip[ipSize:], pseudo)) == 0
}
