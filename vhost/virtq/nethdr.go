package virtq

import (
	"encoding/binary"

	"baton/dataplane/buf"
	"baton/dataplane/hdr"
)

// Feature bits of virtio-net that give its header a meaning (virtio 1.2 section
// 5.1.3), as masks of Config.Net.
const (
	NetCsum      uint64 = 1 << 0  // VIRTIO_NET_F_CSUM
	NetGuestCsum uint64 = 1 << 1  // VIRTIO_NET_F_GUEST_CSUM
	NetGuestTSO4 uint64 = 1 << 7  // VIRTIO_NET_F_GUEST_TSO4
	NetGuestTSO6 uint64 = 1 << 8  // VIRTIO_NET_F_GUEST_TSO6
	NetGuestECN  uint64 = 1 << 9  // VIRTIO_NET_F_GUEST_ECN
	NetHostTSO4  uint64 = 1 << 11 // VIRTIO_NET_F_HOST_TSO4
	NetHostTSO6  uint64 = 1 << 12 // VIRTIO_NET_F_HOST_TSO6
	NetHostECN   uint64 = 1 << 13 // VIRTIO_NET_F_HOST_ECN
)

// NetHeader is a struct virtio_net_hdr (virtio 1.2 section 5.1.6), little endian, in
// private memory. Without num_buffers it is 10 bytes, and the rest is 0.
//
//	0 flags   1 gso_type   2 hdr_len   4 gso_size   6 csum_start   8 csum_offset   10 num_buffers
type NetHeader [12]byte

// Flags and values of gso_type.
const (
	netNeedsCsum = 1 // VIRTIO_NET_HDR_F_NEEDS_CSUM
	netDataValid = 2 // VIRTIO_NET_HDR_F_DATA_VALID

	netGSONone  = 0
	netGSOTCPv4 = 1
	netGSOTCPv6 = 4
	netGSOECN   = 0x80
)

// MaxSegments is the most segments that one super-segment may be of: 64 KiB at 512
// bytes each, which is less than the segment size of the smallest packets that every
// host takes (536, RFC 9293 3.7.1, less 12 bytes of timestamps). With smaller ones a
// guest could make of one burst tens of thousands of packets, and a worker that makes
// them serves nobody else meanwhile. A connection to a peer that wants so small
// segments goes on with what its window makes of no more than these.
const MaxSegments = 65536 / 512

// maxIPSize is the longest packet that an IP header can name, its own size included.
const maxIPSize = 65535

// HeaderVerdict says whether a frame can be used with the header that came with it.
type HeaderVerdict uint8

// The verdicts.
const (
	HeaderOK     HeaderVerdict = iota
	HeaderBad                  // what it asks for was not negotiated, or does not fit the frame
	HeaderTooBig               // the frame is longer than a buffer or an IP packet, and no super-segment
)

// Decode gives b the offload flags and lengths that its header asks for. b holds the
// whole frame as it was copied, fresh from a cache but for that: in one buffer, or in
// a chain whose first buffer is full.
//
// What the driver must not do (5.1.6.2.1) is HeaderBad where it could do harm or has
// no meaning, and passed over where it does not matter: flags that a device does not
// know or that are a device's own (DATA_VALID, RSC_INFO), hdr_len of any value, and
// everything else if neither flags nor gso_type ask for work. A checksum that is not
// the one of a plain TCP or UDP packet (that of an inner packet of the guest's own
// tunnel, behind two VLAN tags, in a fragment) is completed here, over all bytes up
// to the frame's end.
//
//	in:    any bytes; features: the negotiated Net... masks
//	out:   HeaderOK: a frame of more than one buffer has buf.TxTCPSeg, and all header
//	       lengths together are at most the first buffer's. Else drop it
//	alloc: 0
func (h *NetHeader) Decode(b *buf.Buf, features uint64) HeaderVerdict {
	if h[0]&netNeedsCsum == 0 && h[1] == netGSONone {
		if b.NbSegs > 1 {
			return HeaderTooBig
		}
		return HeaderOK
	}
	return h.decodeOffload(b, features)
}

// decodeOffload is Decode of a header that asks for work.
func (h *NetHeader) decodeOffload(b *buf.Buf, features uint64) HeaderVerdict {
	// A super-segment without NEEDS_CSUM has a checksum that fits none of its segments.
	if h[0]&netNeedsCsum == 0 || features&NetCsum == 0 {
		return HeaderBad
	}
	start := int(binary.LittleEndian.Uint16(h[6:]))
	offset := int(binary.LittleEndian.Uint16(h[8:]))
	// Not beyond the frame (CVE-2024-11614), and not over what bridges look at.
	if start < hdr.EthernetSize || start+offset+2 > b.Len() {
		return HeaderBad
	}
	if h[1] != netGSONone {
		return h.decodeSegments(b, features, start, offset)
	}
	if b.NbSegs > 1 {
		return HeaderTooBig
	}
	l, ok := locate(b.Data())
	sumAt := hdr.TCPChecksumAt
	if l.proto == hdr.ProtoUDP {
		sumAt = hdr.UDPChecksumAt
	}
	// With bytes behind the IP packet the sum that virtio means is not a NIC's.
	if !ok || l.ipSize != b.Len()-l.l2 || l.l2+l.l3 != start || offset != sumAt {
		hdr.Complete(b.Data(), start, offset)
		return HeaderOK
	}
	l.mark(b, 0)
	return HeaderOK
}

// decodeSegments is Decode of a header with a gso_type. hdr_len is not used: lengths
// are those that the headers of our copy have.
func (h *NetHeader) decodeSegments(b *buf.Buf, features uint64, start, offset int) HeaderVerdict {
	need, v6 := NetHostTSO4, false
	switch h[1] &^ netGSOECN {
	case netGSOTCPv4:
	case netGSOTCPv6:
		need, v6 = NetHostTSO6, true
	default: // UFO and USO are not offered
		return HeaderBad
	}
	if h[1]&netGSOECN != 0 { // says no more than CWR, which is read from the TCP header
		need |= NetHostECN
	}
	segSize := int(binary.LittleEndian.Uint16(h[4:]))
	if features&need != need || segSize == 0 {
		return HeaderBad
	}
	l, ok := locate(b.Data())
	// Fragments are among what locate does not find: each would carry TCP bytes in
	// another place than the segments would.
	if !ok || l.proto != hdr.ProtoTCP || l.v6 != v6 || l.l2+l.l3 != start || offset != hdr.TCPChecksumAt {
		return HeaderBad
	}
	if b.Len()-l.l2 > maxIPSize {
		return HeaderTooBig
	}
	if !l.fixSize(b) {
		return HeaderBad
	}
	num := (b.Len() - start - l.l4 + segSize - 1) / segSize
	switch {
	case num > MaxSegments:
		return HeaderBad
	case num > 1:
		l.mark(b, segSize)
		return HeaderOK
	case b.NbSegs > 1: // one segment, which fits no buffer
		return HeaderTooBig
	}
	l.mark(b, 0) // already as small as it shall be: a partial checksum is all
	return HeaderOK
}

// Encode makes the header that b gets in a receive ring of numBuffers chains.
//
//	out:   false, and the header of a frame without offloads, if the negotiated
//	       features do not let the driver take b as it is: never so for a frame
//	       that asks only for what Offloads tells
//	alloc: 0
func (h *NetHeader) Encode(b *buf.Buf, features uint64, numBuffers uint16) bool {
	*h = NetHeader{10: byte(numBuffers), 11: byte(numBuffers >> 8)}
	switch flags := b.OlFlags; {
	case flags&buf.TxWork != 0:
		return h.encodeOffload(b, features)
	case flags&buf.RxL4Good != 0 && features&NetGuestCsum != 0:
		h[0] = netDataValid
	}
	return true
}

// encodeOffload is Encode of a frame with buf.TxWork.
func (h *NetHeader) encodeOffload(b *buf.Buf, features uint64) bool {
	flags, l := b.OlFlags, b.Lengths()
	sumAt := hdr.TCPChecksumAt
	if flags&buf.TxL4Mask == buf.TxUDPCksum {
		sumAt = hdr.UDPChecksumAt
	}
	end := l.L2 + l.L3 + max(l.L4, sumAt+2)
	l4 := flags & buf.TxL4Mask
	if features&NetGuestCsum == 0 || l4 != buf.TxTCPCksum && l4 != buf.TxUDPCksum ||
		flags&buf.TxTunnelMask != 0 || end > int(b.DataLen) {
		return false
	}
	gso, size := byte(netGSONone), 0
	if flags&buf.TxTCPSeg != 0 {
		need := NetGuestTSO4
		gso, size = netGSOTCPv4, l.SegSize
		if flags&buf.TxIPv6 != 0 {
			gso, need = netGSOTCPv6, NetGuestTSO6
		}
		if b.Data()[l.L2+l.L3+hdr.TCPFlagsAt]&hdr.TCPCWR != 0 {
			gso |= netGSOECN
			need |= NetGuestECN
		}
		if l4 != buf.TxTCPCksum || features&need != need {
			return false
		}
	}
	h[0], h[1] = netNeedsCsum, gso
	binary.LittleEndian.PutUint16(h[2:], uint16(l.L2+l.L3+l.L4))
	binary.LittleEndian.PutUint16(h[4:], uint16(size))
	binary.LittleEndian.PutUint16(h[6:], uint16(l.L2+l.L3))
	binary.LittleEndian.PutUint16(h[8:], uint16(sumAt))
	return true
}
