package pmtu

import (
	"encoding/binary"

	"baton/dataplane/buf"
	"baton/dataplane/flow"
	"baton/dataplane/hdr"
	"baton/dataplane/parse"
	"baton/dataplane/stats"
)

// The largest messages, in bytes from the IP header on: RFC 1812 4.3.2.3, RFC 4443 2.4 c.
const (
	most4 = 576
	most6 = 1280
)

// Types and codes of the messages.
const (
	unreachable  = 3 // ICMP: destination unreachable,
	needFragment = 4 // fragmentation needed and DF set
	tooBig6      = 2 // ICMPv6: packet too big
	ttl          = 64
)

// Answers reports whether the sender of b is to be told that no packets of more than
// mtu bytes get through.
//
//	in:    b as its sender sent it: not edited, not in a tunnel of ours
//	alloc: 0
func Answers(b *buf.Buf, mtu int) bool {
	at, reason := parse.LocateHead(b.Data(), b.Len())
	if reason != stats.DropNone || at.Frag&flow.FragLater != 0 {
		return false
	}
	f := b.Data()
	if f[0]&1 != 0 || f[6]&1 != 0 { // to or from a group
		return false
	}
	ip := f[at.L3:]
	switch at.Type {
	case flow.EtherTypeIPv4:
		return single4(ip[12:16]) && single4(ip[16:20]) && larger(hdr.IPv4(ip).TotalSize(), mtu) && !isError4(f, &at)
	case flow.EtherTypeIPv6:
		return single6(ip[8:24]) && single6(ip[24:40]) && larger(hdr.IPv6Size+hdr.IPv6(ip).PayloadSize(), mtu) && !isError6(f, &at)
	}
	return false
}

// larger reports whether the IP packet itself, of size bytes, is too large, and not
// just the frame with what is behind it.
func larger(size, mtu int) bool {
	return size > mtu && mtu >= 68 // IPv4's smallest (RFC 791)
}

// single4 reports whether a is an address of one host: not 0/8, loopback, multicast or above.
func single4(a []byte) bool { return a[0] != 0 && a[0] != 127 && a[0] < 224 }

// single6 reports whether a is an address of one host: not unspecified, loopback, multicast.
func single6(a []byte) bool {
	if a[0] == 0xff {
		return false
	}
	return binary.BigEndian.Uint64(a) != 0 || binary.BigEndian.Uint64(a[8:]) > 1
}

// isError4 reports whether the packet is an ICMP message other than the questions and
// their answers.
func isError4(f []byte, at *parse.Layout) bool {
	if at.Proto != flow.ProtoICMP {
		return false
	}
	switch f[at.L4] {
	case hdr.ICMPEchoReply, hdr.ICMPEchoRequest, 13, 14: // timestamp and its reply
		return false
	}
	return true
}

// isError6 is the same of ICMPv6: errors have no top bit, and a redirect (137) is as bad.
func isError6(f []byte, at *parse.Layout) bool {
	return at.Proto == flow.ProtoICMPv6 && (f[at.L4] < 128 || f[at.L4] == 137)
}

// Answer makes the message about b into r, an empty buffer; Answers said that it is wanted.
//
//	alloc: 0
//	spec:  RFC 792, RFC 1191 4, RFC 4443 3.2
func Answer(r, b *buf.Buf, mtu int) {
	at, _ := parse.LocateHead(b.Data(), b.Len())
	f := b.Data()
	most, head := most4, hdr.IPv4Size+hdr.ICMPSize
	if at.Type == flow.EtherTypeIPv6 {
		most, head = most6, hdr.IPv6Size+hdr.ICMPSize
	}
	head += at.L3
	quoted := min(b.Len()-at.L3, most+at.L3-head)
	quoted = min(quoted, r.Tailroom()-head)
	m := r.Append(head + quoted)
	b.CopyOut(at.L3, m[head:])
	copy(m[0:6], f[6:12])
	copy(m[6:12], f[0:6])
	copy(m[12:at.L3], f[12:at.L3]) // type, and VLAN tag if there is one
	if at.Type == flow.EtherTypeIPv6 {
		answer6(m[at.L3:], f[at.L3:], mtu)
		return
	}
	answer4(m[at.L3:], f[at.L3:], mtu)
}

// answer4 fills in the headers of m, about the IPv4 packet ip.
func answer4(m, ip []byte, mtu int) {
	h := hdr.IPv4(m)
	h.Encode(hdr.IPv4Fields{
		TotalSize: uint16(len(m)), Frag: hdr.IPv4DontFragment, TTL: ttl, Proto: hdr.ProtoICMP,
		Src: [4]byte(ip[16:20]), Dst: [4]byte(ip[12:16]),
	})
	h.SetChecksum()
	icmp := hdr.ICMP(m[hdr.IPv4Size:])
	icmp.Encode(hdr.ICMPFields{Type: unreachable, Code: needFragment, Rest: uint32(min(mtu, 0xffff))})
	icmp.SetChecksum(0)
}

// answer6 is answer4 for IPv6.
func answer6(m, ip []byte, mtu int) {
	size := len(m) - hdr.IPv6Size
	hdr.IPv6(m).Encode(hdr.IPv6Fields{
		PayloadSize: uint16(size), NextHeader: hdr.ProtoICMPv6, HopLimit: ttl,
		Src: [16]byte(ip[24:40]), Dst: [16]byte(ip[8:24]),
	})
	icmp := hdr.ICMP(m[hdr.IPv6Size:])
	icmp.Encode(hdr.ICMPFields{Type: tooBig6, Rest: uint32(mtu)})
	icmp.SetChecksum(hdr.Pseudo(ip[24:40], ip[8:24], hdr.ProtoICMPv6, size))
}
