package parse

import (
	"encoding/binary"

	"baton/dataplane/flow"
	"baton/dataplane/stats"
)

// MaxExtensions is how many IPv6 extension headers are walked at the most. Real
// packets have up to three; each one more costs the worker time that its
// sender decides about.
const MaxExtensions = 8

// Sizes of headers in bytes.
const (
	ethSize  = 14
	vlanSize = 4
	arpSize  = 28
	ip4Size  = 20
	ip6Size  = 40
	tcpSize  = 20
	udpSize  = 8
	icmpSize = 8
	icmp6Min = 4
)

// firstLength is the smallest number in the type field that is a type: smaller
// ones are 802.3 lengths (IEEE 802.3 3.2.6).
const firstLength = 0x600

// Frame fills the L2 to L4 fields of k from frame. InPort and the tunnel's
// fields are the caller's and stay as they are.
//
//	in:    frame of any content and length
//	out:   DropNone, or why the frame cannot be used: k's L2 to L4 fields are then of no meaning
//	alloc: 0
func Frame(frame []byte, k *flow.Key) stats.DropReason {
	var l Layout
	return general(frame, len(frame), k, &l)
}

// Head is Frame for a frame of size bytes of which head is only the beginning: the
// first segment of a chain.
//
//	in:    head of any content, at most size bytes
//	out:   as Frame; headers that do not lie in head are short_frame
//	alloc: 0
func Head(head []byte, size int, k *flow.Key) stats.DropReason {
	var l Layout
	return general(head, size, k, &l)
}

// Layout says where a frame's headers lie.
type Layout struct {
	Type  uint16 // EtherType of the payload, as in flow.Key
	L3    int    // bytes before the L3 header
	L4    int    // bytes before the L4 header; 0 if there is none (not IP, or a later fragment)
	End   int    // bytes to the end of the IP packet, or of what was given of it; less than that if the frame is padded
	Proto uint8  // as in flow.Key
	Frag  uint8  // as in flow.Key
}

// Locate finds the headers of frame.
//
//	out:   DropNone, or why the frame cannot be used: then the layout is of no meaning
//	alloc: 0
func Locate(frame []byte) (l Layout, reason stats.DropReason) { return LocateHead(frame, len(frame)) }

// LocateHead is Locate for a frame of size bytes that head is the beginning of.
func LocateHead(head []byte, size int) (l Layout, reason stats.DropReason) {
	var k flow.Key
	reason = general(head, size, &k, &l)
	l.End = min(l.End, len(head))
	return l, reason
}

// general parses any frame, the plain way. size is the frame's length, of which the
// bytes in frame may be the first only.
func general(frame []byte, size int, k *flow.Key, l *Layout) stats.DropReason {
	if len(frame) < ethSize {
		return stats.DropShortFrame
	}
	k.EthDst = flow.MAC(frame[0:6])
	k.EthSrc = flow.MAC(frame[6:12])
	k.EthType = binary.BigEndian.Uint16(frame[12:14])
	k.VLAN = 0
	k.IPSrc, k.IPDst = [16]byte{}, [16]byte{}
	k.Proto, k.TOS, k.Frag, k.L4Src, k.L4Dst = 0, 0, 0, 0, 0
	l.L3 = ethSize
	if k.EthType == flow.EtherTypeVLAN {
		if len(frame) < ethSize+vlanSize {
			return stats.DropShortFrame
		}
		k.VLAN = binary.BigEndian.Uint16(frame[14:16]) | 0x1000
		k.EthType = binary.BigEndian.Uint16(frame[16:18])
		l.L3 = ethSize + vlanSize
	}
	if k.EthType < firstLength {
		k.EthType = 0
	}
	l.End = len(frame)
	reason := stats.DropNone
	switch k.EthType {
	case flow.EtherTypeIPv4:
		reason = ipv4(frame, size, k, l)
	case flow.EtherTypeIPv6:
		reason = ipv6(frame, size, k, l)
	case flow.EtherTypeARP:
		reason = arp(frame[l.L3:], k)
	}
	l.Type, l.Proto, l.Frag = k.EthType, k.Proto, k.Frag
	return reason
}

// arp parses an ARP packet (RFC 826) for Ethernet and IPv4.
func arp(p []byte, k *flow.Key) stats.DropReason {
	// Hardware type 1, protocol type IPv4, address lengths 6 and 4.
	if len(p) < arpSize || binary.BigEndian.Uint64(p[0:8])>>16 != 0x000108000604 {
		return stats.DropBadARP
	}
	if p[6] == 0 { // an opcode above 255 is none that anybody knows
		k.Proto = p[7]
	}
	copy(k.IPSrc[:4], p[14:18])
	copy(k.IPDst[:4], p[24:28])
	return stats.DropNone
}

// ipv4 parses the IPv4 header at l.L3 (RFC 791) and what follows.
func ipv4(frame []byte, whole int, k *flow.Key, l *Layout) stats.DropReason {
	p := frame[l.L3:]
	if len(p) < ip4Size {
		return stats.DropShortFrame
	}
	size, total := int(p[0]&15)*4, int(binary.BigEndian.Uint16(p[2:4]))
	if p[0]>>4 != 4 || size < ip4Size || total < size || total > whole-l.L3 {
		return stats.DropBadIPv4
	}
	k.TOS = p[1]
	k.Proto = p[9]
	copy(k.IPSrc[:4], p[12:16])
	copy(k.IPDst[:4], p[16:20])
	l.End = l.L3 + total
	switch frag := binary.BigEndian.Uint16(p[6:8]); {
	case frag&0x1fff != 0:
		k.Frag = flow.FragAny | flow.FragLater
		return stats.DropNone
	case frag&0x2000 != 0:
		k.Frag = flow.FragAny
	}
	if size > len(p) {
		return stats.DropShortFrame
	}
	l.L4 = l.L3 + size
	return transport(frame[l.L4:min(l.End, len(frame))], k)
}

// transport parses the L4 header that p begins with.
func transport(p []byte, k *flow.Key) stats.DropReason {
	whole := k.Frag == 0
	switch k.Proto {
	case flow.ProtoTCP:
		if len(p) < tcpSize {
			return stats.DropShortFrame
		}
		if size := int(p[12]>>4) * 4; size < tcpSize || whole && size > len(p) {
			return stats.DropShortFrame
		}
	case flow.ProtoUDP:
		if len(p) < udpSize {
			return stats.DropShortFrame
		}
		if size := int(binary.BigEndian.Uint16(p[4:6])); size < udpSize || whole && size > len(p) {
			return stats.DropShortFrame
		}
	case flow.ProtoICMP, flow.ProtoICMPv6:
		return icmp(p, k)
	default:
		return stats.DropNone
	}
	k.L4Src = binary.BigEndian.Uint16(p[0:2])
	k.L4Dst = binary.BigEndian.Uint16(p[2:4])
	return stats.DropNone
}

// icmp parses the header of ICMP (RFC 792) or ICMPv6 (RFC 4443). Each belongs to
// its own IP version; in the other one it is a protocol like any unknown one.
func icmp(p []byte, k *flow.Key) stats.DropReason {
	need := icmpSize
	if k.Proto == flow.ProtoICMPv6 {
		need = icmp6Min
	}
	if (k.Proto == flow.ProtoICMPv6) != (k.EthType == flow.EtherTypeIPv6) {
		return stats.DropNone
	}
	if len(p) < need {
		return stats.DropShortFrame
	}
	k.L4Src = uint16(p[0])
	k.L4Dst = uint16(p[1])
	return stats.DropNone
}
