package virtq

import (
	"encoding/binary"

	"baton/dataplane/buf"
	"baton/dataplane/hdr"
	"baton/dataplane/port"
)

// typeServiceVLAN is the EtherType of an 802.1ad tag.
const typeServiceVLAN = 0x88a8

// maxL3 is the longest IP header, extensions included, that buf.Lengths holds.
const maxL3 = 511

// IPv6 extension headers that may stand before TCP in a super-segment (RFC 8200 4):
// each of its segments gets a copy. A fragment header is none of them.
const (
	extHopByHop = 0
	extRouting  = 43
	extDestOpts = 60
)

// Offloads is what a driver with these negotiated features takes unfinished: what
// Encode can put into a header.
func Offloads(features uint64) (o port.Offloads) {
	if features&NetGuestCsum == 0 {
		return 0 // the GUEST_TSO features depend on it (5.1.3.1)
	}
	o = port.OffloadCsum
	if features&NetGuestTSO4 != 0 {
		o |= port.OffloadTSO4
	}
	if features&NetGuestTSO6 != 0 {
		o |= port.OffloadTSO6
	}
	if features&NetGuestECN != 0 {
		o |= port.OffloadECN
	}
	return o
}

// layout is where the headers of an Ethernet[+VLAN]/IP/TCP|UDP frame lie; sizes in bytes.
type layout struct {
	l2, l3, l4 int // header lengths
	v6         bool
	proto      uint8 // TCP or UDP
	ipSize     int   // IP packet with its header, as that says; 0 if it says nothing
}

// locate finds the headers in f, the frame or its first part. ok is false if they are
// others or not whole, of a fragment, or too long for buf.Lengths.
//
//	alloc: 0
func locate(f []byte) (l layout, ok bool) {
	l.l2 = hdr.EthernetSize
	if len(f) < l.l2+hdr.VLANSize {
		return l, false
	}
	typ := hdr.Ethernet(f).Type()
	if typ == hdr.TypeVLAN || typ == typeServiceVLAN {
		typ = binary.BigEndian.Uint16(f[16:])
		l.l2 += hdr.VLANSize
	}
	switch typ {
	case hdr.TypeIPv4:
		ok = l.ipv4(f[l.l2:])
	case hdr.TypeIPv6:
		ok = l.ipv6(f[l.l2:])
	}
	if !ok {
		return l, false
	}
	f = f[l.l2+l.l3:]
	switch l.proto {
	case hdr.ProtoTCP:
		if !hdr.TCP(f).Valid() {
			return l, false
		}
		l.l4 = hdr.TCP(f).HeaderSize()
		return l, true
	case hdr.ProtoUDP:
		l.l4 = hdr.UDPSize
		return l, len(f) >= hdr.UDPSize
	}
	return l, false
}

// ipv4 is locate for the IPv4 header that f begins with.
func (l *layout) ipv4(f []byte) bool {
	if len(f) < hdr.IPv4Size || f[0]>>4 != 4 {
		return false
	}
	h := hdr.IPv4(f)
	l.l3, l.proto, l.ipSize = h.HeaderSize(), h.Proto(), h.TotalSize()
	return l.l3 >= hdr.IPv4Size && l.l3 <= len(f) && h.Frag()&(hdr.IPv4MoreFragments|hdr.IPv4OffsetMask) == 0
}

// ipv6 is locate for the IPv6 header that f begins with. Extensions are walked up to
// maxL3 bytes, at most 58 of them.
func (l *layout) ipv6(f []byte) bool {
	if len(f) < hdr.IPv6Size || f[0]>>4 != 6 {
		return false
	}
	l.v6 = true
	l.l3, l.proto = hdr.IPv6Size, f[6]
	if size := hdr.IPv6(f).PayloadSize(); size != 0 { // 0: a jumbogram (RFC 2675)
		l.ipSize = hdr.IPv6Size + size
	}
	for l.proto == extHopByHop || l.proto == extRouting || l.proto == extDestOpts {
		if len(f) < l.l3+8 {
			return false
		}
		l.proto, l.l3 = f[l.l3], l.l3+(int(f[l.l3+1])+1)*8
		if l.l3 > maxL3 {
			return false
		}
	}
	return l.l3 <= len(f)
}

// fixSize reports whether the IP header's length is that of super-segment b. Of IPv4
// it may be 0, as drivers leave it that know cards which want it so: then it is
// written, and with it the sum of the pseudo header, which did not know it either.
// Any other difference is bytes that were cut off, or padding that would become TCP
// payload.
func (l *layout) fixSize(b *buf.Buf) bool {
	size := b.Len() - l.l2
	if l.ipSize == size {
		return true
	}
	if l.ipSize != 0 || l.v6 {
		return false
	}
	f := b.Data()[l.l2:]
	binary.BigEndian.PutUint16(f[2:], uint16(size))
	hdr.IPv4(f[:l.l3]).SetChecksum()
	pseudo := hdr.Pseudo(f[12:16], f[16:20], hdr.ProtoTCP, size-l.l3)
	binary.BigEndian.PutUint16(f[l.l3+hdr.TCPChecksumAt:], ^hdr.Finish(pseudo))
	return true
}

// mark writes flags and lengths into b: its checksum is to be completed, and if
// segSize is not 0 it is to be cut.
func (l *layout) mark(b *buf.Buf, segSize int) {
	flags := buf.TxIPv4
	if l.v6 {
		flags = buf.TxIPv6
	}
	switch {
	case l.proto == hdr.ProtoUDP:
		flags |= buf.TxUDPCksum
	case segSize != 0:
		flags |= buf.TxTCPCksum | buf.TxTCPSeg
	default:
		flags |= buf.TxTCPCksum
	}
	b.OlFlags |= flags
	b.SetLengths(buf.Lengths{L2: l.l2, L3: l.l3, L4: l.l4, SegSize: segSize})
}
