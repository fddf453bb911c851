package parse

import (
	"encoding/binary"
	"math/bits"

	"baton/dataplane/buf"
	"baton/dataplane/flow"
)

// commonSize is the headers of the common case: Ethernet, IPv4 and TCP, each without
// tag or options.
const commonSize = ethSize + ip4Size + tcpSize

// le reads fields where only their place in a word counts. baton runs on
// little-endian platforms.
var le = binary.LittleEndian

// Burst is Frame for the frames of v[:n] that are of the common case: IPv4 without VLAN
// tag, options or fragments, with TCP or UDP, in one segment. It writes their keys word
// by word, as flow.Key lies in memory.
//
//	out:   the set of the other frames, bit i is frame i: Frame has to look at those
//	alloc: 0
func Burst(v *buf.Vec, n int, keys *[buf.Burst]flow.Key) (odd uint32) {
	for i := range min(n, buf.Burst) {
		b := v[i]
		size := int(b.DataLen)
		if size < commonSize || b.NbSegs != 1 {
			odd |= 1 << i
			continue
		}
		// SAFETY: the frame has commonSize bytes.
		f := (*[commonSize]byte)(b.Ptr())
		head, rest := le.Uint64(f[12:20]), le.Uint64(f[20:28])
		total := int(bits.ReverseBytes16(uint16(head >> 32)))
		proto, room := uint8(rest>>24), total-ip4Size
		l4, least := 0, udpSize
		switch proto {
		case flow.ProtoUDP:
			l4 = int(binary.BigEndian.Uint16(f[38:40]))
		case flow.ProtoTCP:
			l4, least = int(f[46]>>4)*4, tcpSize
		}
		// EtherType 0x0800, version 4, header length 5; no fragment: bytes 12 to 14, 20 and 21.
		if (head^0x450008)&0xffffff|rest&0xff3f != 0 || total > size-ethSize || l4 < least || l4 > room {
			odd |= 1 << i
			continue
		}
		const mac = 1<<48 - 1
		ports := bits.RotateLeft32(bits.ReverseBytes32(le.Uint32(f[34:38])), 16)
		w := keys[i].Words()
		w[3] = le.Uint64(f[0:8])&mac | uint64(flow.EtherTypeIPv4)<<48
		w[4] = le.Uint64(f[6:14]) & mac // VLAN 0
		w[5], w[6] = uint64(le.Uint32(f[26:30])), 0
		w[7], w[8] = uint64(le.Uint32(f[30:34])), 0
		w[9] = uint64(proto) | head>>16&0xff00 | uint64(ports)<<32 // Frag 0
	}
	return odd
}
