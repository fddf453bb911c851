package parse

import (
	"encoding/binary"

	"baton/dataplane/flow"
	"baton/dataplane/stats"
)

// IPv6 extension headers (RFC 8200 4, RFC 4302, RFC 6275, RFC 7401, RFC 5533).
const (
	extHopByHop = 0
	extRouting  = 43
	extFragment = 44
	extAuth     = 51
	extDestOpts = 60
	extMobility = 135
	extHIP      = 139
	extShim6    = 140
)

// ipv6 parses the IPv6 header at l.L3 (RFC 8200), its extensions and what follows.
func ipv6(frame []byte, whole int, k *flow.Key, l *Layout) stats.DropReason {
	p := frame[l.L3:]
	if len(p) < ip6Size {
		return stats.DropShortFrame
	}
	size := int(binary.BigEndian.Uint16(p[4:6]))
	if p[0]>>4 != 6 || size > whole-l.L3-ip6Size {
		return stats.DropBadIPv6
	}
	k.TOS = uint8(binary.BigEndian.Uint16(p[0:2]) >> 4)
	k.IPSrc = [16]byte(p[8:24])
	k.IPDst = [16]byte(p[24:40])
	l.End = l.L3 + ip6Size + size
	end := min(l.End, len(frame)) // of what can be looked into
	at := l.L3 + ip6Size
	next := p[6]
	for range MaxExtensions + 1 {
		if !isExtension(next) {
			k.Proto = next
			l.L4 = at
			return transport(frame[at:end], k)
		}
		h := frame[at:end]
		if len(h) < 8 {
			return stats.DropBadIPv6
		}
		size := extensionSize(next, h[1])
		if size > len(h) {
			return stats.DropBadIPv6
		}
		if next == extFragment {
			frag := binary.BigEndian.Uint16(h[2:4])
			if frag&0xfff8 != 0 {
				k.Frag = flow.FragAny | flow.FragLater
				k.Proto = h[0]
				return stats.DropNone
			}
			if frag&1 != 0 { // else an atomic fragment (RFC 6946): the whole packet
				k.Frag = flow.FragAny
			}
		}
		next = h[0]
		at += size
	}
	return stats.DropBadIPv6
}

// isExtension reports whether next is an extension header that has another header behind it.
func isExtension(next uint8) bool {
	switch next {
	case extHopByHop, extRouting, extFragment, extAuth, extDestOpts, extMobility, extHIP, extShim6:
		return true
	}
	return false
}

// extensionSize is the size in bytes of extension header kind whose length byte is n.
func extensionSize(kind, n uint8) int {
	switch kind {
	case extFragment:
		return 8
	case extAuth:
		return (int(n) + 2) * 4
	}
	return (int(n) + 1) * 8
}
