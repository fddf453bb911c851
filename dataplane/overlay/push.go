package overlay

import (
	"encoding/binary"

	"baton/dataplane/action"
	"baton/dataplane/buf"
	"baton/dataplane/hdr"
	"baton/dataplane/stats"
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
	h := (*[HeaderSize]byte)(room)
	*h = e.template
	copy(h[0:6], t.MAC[:])

	const ip, udp, geneve, option = ethSize, ethSize + ipSize, ethSize + ipSize + udpSize, HeaderSize - optionSize
	binary.BigEndian.PutUint16(h[ip+2:], size)
	binary.BigEndian.PutUint32(h[ip+16:], t.Dst)
	binary.BigEndian.PutUint16(h[ip+10:], hdr.Finish(e.partial+uint32(size)+t.Dst>>16+t.Dst&0xffff))

	binary.BigEndian.PutUint16(h[udp:], SourcePort(hash))
	binary.BigEndian.PutUint16(h[udp+4:], size-ipSize)

	binary.BigEndian.PutUint32(h[geneve+4:], t.VNI<<8)
	binary.BigEndian.PutUint16(h[option+4:], t.SrcPort)
	binary.BigEndian.PutUint16(h[option+6:], t.DstPort)
	binary.BigEndian.PutUint16(h[option+8:], t.Flags)
	binary.BigEndian.PutUint16(h[option+10:], t.Command)
	if b.OlFlags&buf.TxWork != 0 {
		l := b.Lengths()
		l.OuterL2, l.OuterL3, l.L2 = ethSize, ipSize, l.L2+HeaderSize-ethSize-ipSize
		b.SetLengths(l)
		b.OlFlags |= buf.TxTunnelGeneve | buf.TxOuterIPv4
	}
	return stats.DropNone
}

// SourcePort is the outer UDP source port of a flow with this hash: NICs that
// look at nothing but the outer header spread flows by it.
func SourcePort(hash uint64) uint16 {
	return firstSource + uint16(hash>>48^hash>>32^hash>>16^hash)&sourceMask
}
