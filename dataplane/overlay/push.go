package overlay

import (
	"encoding/binary"
	"math/bits"

	"baton/dataplane/action"
	"baton/dataplane/buf"
	"baton/dataplane/hdr"
	"baton/dataplane/stats"
)

// Headers are written word by word: le where only a field's place in a word counts, as
// baton runs on little-endian platforms.
var (
	le = binary.LittleEndian
	be = binary.BigEndian
)

// Push puts the outer headers before b's frame, for the host that t names. hash
// is the inner flow's: all packets of a flow take the same way on the underlay.
// A super-segment has to fit in segments; the lengths in its outer headers are then
// those of the whole, and right once it is cut. Of a frame with work left (buf.TxWork)
// the flags and lengths say afterwards that it is in a tunnel.
//
//	out:   DropNone; or DropTooBig, DropNoHeadroom, and b is as it was
//	alloc: 0
//	spec:  RFC 8926 3; UDP checksum 0 over IPv4 as RFC 8926 3.3 allows
func (e *Endpoint) Push(b *buf.Buf, t *action.Tunnel, hash uint64) stats.DropReason {
	if b.Len() > e.MaxFrame() && b.WireLen() > e.MaxFrame() {
		return stats.DropTooBig
	}
	size := uint16(b.Len() + HeaderSize - ethSize) // of the outer IPv4 packet
	room := b.Prepend(HeaderSize)
	if room == nil {
		return stats.DropNoHeadroom
	}
	e.write((*[HeaderSize]byte)(room), t, size, hash)
	if b.OlFlags&buf.TxWork != 0 {
		l := b.Lengths()
		l.OuterL2, l.OuterL3, l.L2 = ethSize, ipSize, l.L2+HeaderSize-ethSize-ipSize
		b.SetLengths(l)
		b.OlFlags |= buf.TxTunnelGeneve | buf.TxOuterIPv4
	}
	return stats.DropNone
}

// write writes the outer headers of a packet of size bytes from the outer IPv4 header on.
// What differs from the template goes into its words, and each word is stored once.
func (e *Endpoint) write(h *[HeaderSize]byte, t *action.Tunnel, size uint16, hash uint64) {
	sum := hdr.Finish(e.partial + uint32(size) + t.Dst>>16 + t.Dst&0xffff)
	dst := uint64(bits.ReverseBytes32(t.Dst))
	mac := uint64(le.Uint32(t.MAC[0:4])) | uint64(le.Uint16(t.MAC[4:6]))<<32
	vni := uint64(bits.ReverseBytes32(t.VNI << 8))
	w := &e.words
	le.PutUint64(h[0:8], w[0]|mac)
	le.PutUint64(h[8:16], w[1])
	le.PutUint64(h[16:24], w[2]|uint64(bits.ReverseBytes16(size)))
	le.PutUint64(h[24:32], w[3]|uint64(bits.ReverseBytes16(sum))|dst<<48)
	le.PutUint64(h[32:40], w[4]|dst>>16|uint64(bits.ReverseBytes16(SourcePort(hash)))<<16|uint64(bits.ReverseBytes16(size-ipSize))<<48)
	le.PutUint64(h[40:48], w[5]|vni<<48)
	le.PutUint64(h[48:56], w[6]|vni>>16)
	be.PutUint64(h[54:62], uint64(t.SrcPort)<<48|uint64(t.DstPort)<<32|uint64(t.Flags)<<16|uint64(t.Command))
}

// SourcePort is the outer UDP source port of a flow with this hash: NICs that
// look at nothing but the outer header spread flows by it.
func SourcePort(hash uint64) uint16 {
	return firstSource + uint16(hash>>48^hash>>32^hash>>16^hash)&sourceMask
}
