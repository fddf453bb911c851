package action

import (
	"encoding/binary"

	"baton/dataplane/buf"
	"baton/dataplane/flow"
	"baton/dataplane/hdr"
	"baton/dataplane/parse"
	"baton/dataplane/stats"
)

// Execute edits the frame in b as l says. It neither encapsulates nor sends. Of a
// checksum that is still to be completed (buf.TxL4Mask) it keeps right what is there:
// the pseudo header's sum.
//
//	in:    b with all headers in its first segment; l made by a walk for the key of this very frame
//	out:   DropNone: send the frame as l.Verdict says. Else the frame must be
//	       dropped for that reason, and its content is of no meaning
//	owner: the caller stays b's owner
//	alloc: 0
func Execute(b *buf.Buf, l *List) stats.DropReason {
	return edit(b.Data(), b.Len(), b.OlFlags&buf.TxL4Mask != 0, l)
}

// Edit is Execute for the bytes of a frame with complete checksums.
func Edit(frame []byte, l *List) stats.DropReason { return edit(frame, len(frame), false, l) }

// edit is Execute for a frame of size bytes that head is the beginning of.
func edit(frame []byte, size int, partial bool, l *List) stats.DropReason {
	if l.Edits&EditL3 != 0 {
		at, reason := parse.LocateHead(frame, size)
		if reason == stats.DropNone {
			reason = editL3(frame, &at, partial, l)
		}
		if reason != stats.DropNone {
			return reason
		}
	}
	if l.Verdict == VerdictDrop {
		return l.Reason
	}
	if l.Edits&(EditEthDst|EditEthSrc) != 0 {
		if len(frame) < 12 {
			return stats.DropShortFrame
		}
		if l.Edits&EditEthDst != 0 {
			copy(frame[0:6], l.EthDst[:])
		}
		if l.Edits&EditEthSrc != 0 {
			copy(frame[6:12], l.EthSrc[:])
		}
	}
	return stats.DropNone
}

// editL3 makes the edits behind the Ethernet header.
func editL3(frame []byte, at *parse.Layout, partial bool, l *List) stats.DropReason {
	p := frame[at.L3:at.End]
	switch at.Type {
	case flow.EtherTypeARP:
		if l.Edits&EditL3 != EditARPReply {
			return stats.DropBadRule
		}
		arpReply(p, l.ARPMAC)
		return stats.DropNone
	case flow.EtherTypeIPv4, flow.EtherTypeIPv6:
		if l.Edits&EditARPReply != 0 {
			return stats.DropBadRule
		}
	default:
		return stats.DropBadRule
	}
	e := editor{ip: p, v6: at.Type == flow.EtherTypeIPv6, sum: -1, partial: partial}
	if at.L4 != 0 {
		e.l4 = p[at.L4-at.L3:]
		e.locateSum(at.Proto)
	}
	if reason := e.expired(l); reason != stats.DropNone || l.Verdict == VerdictDrop {
		return reason
	}
	if l.Edits&EditEchoReply != 0 && !e.echoReply(at) {
		return stats.DropBadRule
	}
	e.addresses(l)
	if l.Edits&(EditL4Src|EditL4Dst) != 0 && !e.ports(at.Proto, l) {
		return stats.DropBadRule
	}
	if l.Edits&EditTOS != 0 {
		e.setTOS(l.TOS)
	}
	e.setTTL(l)
	return stats.DropNone
}

// arpReply turns the ARP packet p into the answer that its target is at mac.
func arpReply(p []byte, mac flow.MAC) {
	a := (*[28]byte)(p) // parse.Locate took it for an ARP packet
	asker := [10]byte(a[8:18])
	a[7] = 2
	copy(a[8:14], mac[:])
	copy(a[14:18], a[24:28])
	copy(a[18:28], asker[:])
}

// editor edits one IP packet. The slices are as long as parse.Locate checked.
type editor struct {
	ip  []byte // from the IP header on
	l4  []byte // from the L4 header on; empty in a later fragment
	sum int    // offset in l4 of a checksum that covers the addresses, -1 if there is none
	udp bool
	v6  bool
	// partial says that the checksum field of TCP or UDP holds the sum of the pseudo
	// header, not complemented: addresses count in it, ports do not.
	partial bool
}

// locateSum finds the checksum that covers the pseudo header.
func (e *editor) locateSum(proto uint8) {
	switch {
	case proto == flow.ProtoTCP:
		e.sum = hdr.TCPChecksumAt
	case proto == flow.ProtoUDP:
		e.sum, e.udp = hdr.UDPChecksumAt, true
	case proto == flow.ProtoICMPv6 && e.v6:
		e.sum = 2
	}
}

// addressChanged brings the L4 checksum up to date after bytes of the pseudo header
// changed.
func (e *editor) addressChanged(old, new []byte) {
	if e.sum < 0 || !e.partial {
		e.changed(old, new)
		return
	}
	// RFC 1624 is about the complement of the sum: go there and back.
	at := e.l4[e.sum:]
	binary.BigEndian.PutUint16(at, ^hdr.UpdateBytes(^binary.BigEndian.Uint16(at), old, new))
}

// changed brings the L4 checksum up to date after bytes that it covers changed. One
// that is still to be completed will be made over what is there then.
func (e *editor) changed(old, new []byte) {
	if e.sum < 0 || e.partial {
		return
	}
	c := binary.BigEndian.Uint16(e.l4[e.sum:])
	if e.udp && c == 0 { // RFC 768: the sender made none
		return
	}
	c = hdr.UpdateBytes(c, old, new)
	if e.udp && c == 0 {
		c = 0xffff
	}
	binary.BigEndian.PutUint16(e.l4[e.sum:], c)
}

// put16 writes two bytes of the IP header and brings its checksum up to date.
func (e *editor) put16(at int, v uint16) {
	if !e.v6 {
		c := binary.BigEndian.Uint16(e.ip[10:])
		binary.BigEndian.PutUint16(e.ip[10:], hdr.Update(c, binary.BigEndian.Uint16(e.ip[at:]), v))
	}
	binary.BigEndian.PutUint16(e.ip[at:], v)
}

// ttlAt is the offset of TTL or hop limit.
func (e *editor) ttlAt() int {
	if e.v6 {
		return 7
	}
	return 8
}

// expired is ttl_expired if the packet does not get past all routers of the list.
func (e *editor) expired(l *List) stats.DropReason {
	if l.Edits&EditTTL == 0 {
		return stats.DropNone
	}
	ttl := e.ip[e.ttlAt()]
	if l.TTLBefore > 0 && ttl <= l.TTLBefore {
		return stats.DropTTLExpired
	}
	if l.Edits&EditEchoReply != 0 {
		ttl = 255
	}
	if l.TTL > 0 && ttl <= l.TTL {
		return stats.DropTTLExpired
	}
	return stats.DropNone
}

// setTTL writes what is left of the TTL: of 255 in an echo reply.
func (e *editor) setTTL(l *List) {
	if l.Edits&(EditTTL|EditEchoReply) == 0 {
		return
	}
	at := e.ttlAt()
	ttl := e.ip[at]
	if l.Edits&EditEchoReply != 0 {
		ttl = 255
	}
	ttl -= l.TTL
	if e.v6 {
		e.ip[at] = ttl
		return
	}
	e.put16(8, uint16(ttl)<<8|uint16(e.ip[9]))
}

// echoReply swaps the addresses and makes request into reply; false if it is none.
func (e *editor) echoReply(at *parse.Layout) bool {
	request, reply := uint16(8<<8), uint16(0)
	want := flow.ProtoICMP
	if e.v6 {
		request, reply, want = 128<<8, 129<<8, flow.ProtoICMPv6
	}
	if at.Proto != want || at.Frag != 0 || binary.BigEndian.Uint16(e.l4) != request {
		return false
	}
	src, dst := e.address(false), e.address(true)
	for i := range src {
		src[i], dst[i] = dst[i], src[i] // no checksum changes by a swap
	}
	c := binary.BigEndian.Uint16(e.l4[2:])
	binary.BigEndian.PutUint16(e.l4[2:], hdr.Update(c, request, reply))
	binary.BigEndian.PutUint16(e.l4, reply)
	return true
}

// address is the bytes of the source or destination address.
func (e *editor) address(dst bool) []byte {
	switch {
	case e.v6 && dst:
		return e.ip[24:40]
	case e.v6:
		return e.ip[8:24]
	case dst:
		return e.ip[16:20]
	}
	return e.ip[12:16]
}

// addresses writes source and destination address.
func (e *editor) addresses(l *List) {
	if l.Edits&EditIPSrc != 0 {
		e.setAddress(e.address(false), &l.IPSrc)
	}
	if l.Edits&EditIPDst != 0 {
		e.setAddress(e.address(true), &l.IPDst)
	}
}

// setAddress writes one address and brings the checksums up to date.
func (e *editor) setAddress(at []byte, v *[16]byte) {
	new := v[:len(at)]
	e.addressChanged(at, new)
	if !e.v6 {
		c := binary.BigEndian.Uint16(e.ip[10:])
		binary.BigEndian.PutUint16(e.ip[10:], hdr.UpdateBytes(c, at, new))
	}
	copy(at, new)
}

// ports writes the ports of TCP or UDP; false if the packet has none.
func (e *editor) ports(proto uint8, l *List) bool {
	if len(e.l4) == 0 || proto != flow.ProtoTCP && proto != flow.ProtoUDP {
		return false
	}
	var new [4]byte
	copy(new[:], e.l4)
	if l.Edits&EditL4Src != 0 {
		binary.BigEndian.PutUint16(new[0:], l.L4Src)
	}
	if l.Edits&EditL4Dst != 0 {
		binary.BigEndian.PutUint16(new[2:], l.L4Dst)
	}
	e.changed(e.l4[:4], new[:])
	copy(e.l4, new[:])
	return true
}

// setTOS writes DSCP and ECN.
func (e *editor) setTOS(tos uint8) {
	old := binary.BigEndian.Uint16(e.ip)
	if e.v6 {
		e.put16(0, old&0xf00f|uint16(tos)<<4)
		return
	}
	e.put16(0, old&0xff00|uint16(tos))
}
