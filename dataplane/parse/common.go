package parse

import (
	"encoding/binary"
	"math/bits"

	"baton/dataplane/flow"
)

// commonSize is the headers of the common case: Ethernet, IPv4 and TCP, each without
// tag or options.
const commonSize = ethSize + ip4Size + tcpSize

// le reads fields where only their place in a word counts. baton runs on
// little-endian platforms.
var le = binary.LittleEndian

// common is general for the common case: IPv4 without VLAN tag, options or fragments,
// with TCP or UDP. f is the begin of a frame of size bytes. It writes the key word by
// word, as flow.Key lies in memory.
//
//	out: false, and k as it was: general has to look at the frame
func common(f *[commonSize]byte, size int, k *flow.Key) bool {
	head, rest := le.Uint64(f[12:20]), le.Uint64(f[20:28])
	// EtherType 0x0800, version 4, header length 5; no fragment: bytes 12 to 14, 20 and 21.
	if (head^0x450008)&0xffffff|rest&0xff3f != 0 {
		return false
	}
	total := int(bits.ReverseBytes16(uint16(head >> 32)))
	if total > size-ethSize {
		return false
	}
	proto, room := uint8(rest>>24), total-ip4Size
	switch proto {
	case flow.ProtoUDP:
		if n := int(binary.BigEndian.Uint16(f[38:40])); n < udpSize || n > room {
			return false
		}
	case flow.ProtoTCP:
		if n := int(f[46]>>4) * 4; n < tcpSize || n > room {
			return false
		}
	default:
		return false
	}
	const mac = 1<<48 - 1
	ports := bits.RotateLeft32(bits.ReverseBytes32(le.Uint32(f[34:38])), 16)
	w := k.Words()
	w[3] = le.Uint64(f[0:8])&mac | uint64(flow.EtherTypeIPv4)<<48
	w[4] = le.Uint64(f[6:14]) & mac // VLAN 0
	w[5], w[6] = uint64(le.Uint32(f[26:30])), 0
	w[7], w[8] = uint64(le.Uint32(f[30:34])), 0
	w[9] = uint64(proto) | head>>16&0xff00 | uint64(ports)<<32 // Frag 0
	return true
}
