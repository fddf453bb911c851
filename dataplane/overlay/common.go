package overlay

import (
	"math/bits"

	"baton/dataplane/buf"
	"baton/dataplane/flow"
)

// commonSize is the outer headers, and an Ethernet header in the tunnel.
const commonSize = HeaderSize + ethSize

// What common compares: fields of the outer headers, as they lie in little-endian words.
const (
	mac48 = 1<<48 - 1

	// Bytes 12 to 14: EtherType IPv4, version 4, header length 5.
	typeMask, typeWant = 0xffffff, 0x450008
	// Bytes 20, 21 and 23: no fragment, UDP.
	fragMask, fragWant = 0xff00ff3f, uint64(flow.ProtoUDP) << 24
	// Bytes 36 to 45, but for the length: destination port; no checksum, our option alone,
	// no control packet, Ethernet in the tunnel.
	portMask, portWant     = 0xffff, Port>>8 | Port&0xff<<8
	geneveMask, geneveWant = 0xffff80ffffff, uint64(protoEthernet&0xff)<<40 | protoEthernet>>8<<32 | optionSize/4<<16
	// Bytes 50 to 53: our option; three reserved bits before its length do not count.
	optionMask, optionWant = 0x1fffffff, optionWords<<24 | optionType<<16 | optionClass&0xff<<8 | optionClass>>8
)

// common is general for what other hosts' baton sends: UDP without checksum, our option
// alone, from a peer that was met before. f is the begin of b's frame.
//
//	out: false, and nothing done: general has to look at the frame
func (e *Endpoint) common(f *[commonSize]byte, b *buf.Buf, peers *Peers, k *flow.Key) bool {
	head, port := le.Uint64(f[12:20]), le.Uint64(f[36:44])
	diff := (le.Uint64(f[0:8]) ^ e.mac) & mac48
	diff |= (head ^ typeWant) & typeMask
	diff |= (le.Uint64(f[20:28]) ^ fragWant) & fragMask
	diff |= uint64(le.Uint32(f[30:34])) ^ e.dst
	diff |= (port ^ portWant) & portMask
	diff |= (le.Uint64(f[40:48]) ^ geneveWant) & geneveMask
	diff |= (uint64(le.Uint32(f[50:54])) ^ optionWant) & optionMask
	total, udp := bits.ReverseBytes16(uint16(head>>32)), bits.ReverseBytes16(uint16(port>>16))
	src := be.Uint32(f[26:30])
	if diff != 0 || total != udp+ipSize || total < commonSize-ethSize || int(total) > int(b.DataLen)-ethSize ||
		!peers.met(src) || src == e.ip || !headerHolds((*[ipSize]byte)(f[ethSize:])) {
		return false
	}
	ids := le.Uint64(f[54:62])
	w := k.Words()
	w[0] = uint64(flow.PortTunnel)
	w[1] = uint64(be.Uint32(f[46:50])>>8) | uint64(src)<<32
	w[2] = ids&0x00ff00ff00ff00ff<<8 | ids>>8&0x00ff00ff00ff00ff
	b.Truncate(ethSize + int(total)) // padding of the outer frame is no part of the inner one
	b.Trim(HeaderSize)
	if b.OlFlags&rxL4 != 0 {
		checked(b)
	}
	return true
}
