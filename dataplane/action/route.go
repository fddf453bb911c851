package action

import (
	"encoding/binary"
	"math/bits"

	"baton/dataplane/hdr"
)

// EditsRouted are the edits of a packet that went through routers and nothing else.
const EditsRouted = EditEthDst | EditEthSrc | EditTTL

// Route is Edit for what routers do to nearly all packets: l's edits are EditsRouted, and the
// frame is IPv4 without VLAN tag or options. It looks at nothing but what it changes and
// what says that it may.
//
//	in:    a frame of the flow that l was made for
//	out:   false, and nothing done: Edit has to look, also at a TTL that is too small
//	alloc: 0
func Route(frame []byte, l *List) bool {
	if len(frame) < hdr.EthernetSize+20 {
		return false
	}
	f := (*[hdr.EthernetSize + 20]byte)(frame)
	le := binary.LittleEndian
	ttl := f[22]
	if le.Uint32(f[12:16])&0xffffff != 0x450008 || ttl <= l.TTL || ttl <= l.TTLBefore {
		return false
	}
	// The checksum is of big-endian words; one of swapped bytes is updated as well (RFC 1071).
	word := le.Uint16(f[22:24])
	left := word - uint16(l.TTL)
	le.PutUint16(f[24:26], bits.ReverseBytes16(hdr.Update(bits.ReverseBytes16(le.Uint16(f[24:26])), bits.ReverseBytes16(word), bits.ReverseBytes16(left))))
	le.PutUint16(f[22:24], left)
	*(*[6]byte)(f[0:6]) = l.EthDst
	*(*[6]byte)(f[6:12]) = l.EthSrc
	return true
}
