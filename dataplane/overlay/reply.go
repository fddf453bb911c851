package overlay

import (
	"encoding/binary"

	"baton/dataplane/buf"
	"baton/dataplane/flow"
	"baton/dataplane/hdr"
	"baton/dataplane/stats"
)

// Sizes and numbers of ARP (RFC 826) and ICMP (RFC 792).
const (
	arpSize     = 28
	arpEthernet = 0x000108000604 // Ethernet, IPv4, lengths 6 and 4
	arpRequest  = 1
	arpReply    = 2

	icmpSize  = 8
	icmpEcho  = 8
	icmpReply = 0
)

// arp answers a request for the end point's address, in place.
func (e *Endpoint) arp(b *buf.Buf) (Verdict, stats.DropReason) {
	f := b.Data()
	p := f[ethSize:]
	if len(p) < arpSize || binary.BigEndian.Uint64(p[0:8])>>16 != arpEthernet {
		return Drop, stats.DropBadARP
	}
	if binary.BigEndian.Uint16(p[6:8]) != arpRequest || binary.BigEndian.Uint32(p[24:28]) != e.ip {
		return Drop, stats.DropNotForUs
	}
	asker := flow.MAC(p[8:14])
	if asker[0]&1 != 0 || f[6]&1 != 0 {
		return Drop, stats.DropBadARP // an answer to a group would multiply
	}
	copy(f[0:6], f[6:12])
	copy(f[6:12], e.cfg.MAC[:])
	binary.BigEndian.PutUint16(p[6:8], arpReply)
	copy(p[18:28], p[8:18]) // the asker's addresses become the target's
	copy(p[8:14], e.cfg.MAC[:])
	binary.BigEndian.PutUint32(p[14:18], e.ip)
	return Reply, stats.DropNone
}

// echo answers an ICMP echo request to the end point, in place; ip is the whole
// IPv4 packet in b.
func (e *Endpoint) echo(b *buf.Buf, ip []byte) (Verdict, stats.DropReason) {
	p := ip[ipSize:]
	if len(p) < icmpSize || hdr.Checksum(p) != 0 {
		return Drop, stats.DropOuterBad
	}
	f := b.Data()
	if p[0] != icmpEcho || p[1] != 0 || f[6]&1 != 0 || flow.MAC(f[0:6]) == broadcast {
		return Drop, stats.DropNotForUs
	}
	copy(f[0:6], f[6:12])
	copy(f[6:12], e.cfg.MAC[:])

	copy(ip[16:20], ip[12:16])
	binary.BigEndian.PutUint32(ip[12:16], e.ip)
	ip[8] = ttl
	ip[10], ip[11] = 0, 0
	binary.BigEndian.PutUint16(ip[10:12], hdr.Checksum(ip[:ipSize]))

	p[0] = icmpReply
	p[2], p[3] = 0, 0
	binary.BigEndian.PutUint16(p[2:4], hdr.Checksum(p))
	b.Truncate(ethSize + len(ip))
	return Reply, stats.DropNone
}
