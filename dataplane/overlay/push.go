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
	if b.Len() > e.maxFrame && b.WireLen() > e.maxFrame {
		return stats.DropTooBig
	}
	size := uint16(b.PktLen + HeaderSize - ethSize) // of the outer IPv4 packet
	room := b.Prepend(HeaderSize)
	if room == nil {
		return stats.DropNoHeadroom
	}
	h := (*[HeaderSize]byte)(room)
	*h = e.template
	copy(h[0:6], t.MAC[:])

	const ip, udp, geneve, option = ethSize, ethSize + ipSize, ethSize + ipSize + udpSize, HeaderSize - optionSize
	be.PutUint16(h[ip+2:], size)
	be.PutUint32(h[ip+16:], t.Dst)
	be.PutUint16(h[ip+10:], hdr.Finish(e.partial+uint32(size)+t.Dst>>16+t.Dst&0xffff))

	be.PutUint16(h[udp:], SourcePort(hash))
	be.PutUint16(h[udp+4:], size-ipSize)

	be.PutUint32(h[geneve+4:], t.VNI<<8)
	be.PutUint16(h[option+4:], t.SrcPort)
	be.PutUint16(h[option+6:], t.DstPort)
	be.PutUint16(h[option+8:], t.Flags)
	be.PutUint16(h[option+10:], t.Command)
	if b.OlFlags&buf.TxWork != 0 {
		l := b.Lengths()
		l.OuterL2, l.OuterL3, l.L2 = ethSize, ipSize, l.L2+HeaderSize-ethSize-ipSize
		b.SetLengths(l)
		b.OlFlags |= buf.TxTunnelGeneve | buf.TxOuterIPv4
	}
	return stats.DropNone
}

// PushBurst is Push for the packets of v in set: bit i is packet i. Packets in a row that
// have tunnel and size in common, as in a train, have all but one field of their headers in
// common; each word of them is stored once.
//
//	in:    tunnels[i] and hashes[i] for each of them
//	out:   reasons[i] for each of them
//	alloc: 0
func (e *Endpoint) PushBurst(v *buf.Vec, set uint32, tunnels *[buf.Burst]*action.Tunnel, hashes *[buf.Burst]uint64,
	reasons *[buf.Burst]stats.DropReason) {
	var h header
	var last *action.Tunnel
	for ; set != 0; set &= set - 1 {
		i := bits.TrailingZeros32(set) & (buf.Burst - 1)
		b, t, hash := v[i], tunnels[i], hashes[i]
		if b.OlFlags&buf.TxWork != 0 || int(b.PktLen) > e.maxFrame || b.DataOff < HeaderSize {
			reasons[i] = e.Push(b, t, hash)
			continue
		}
		size := uint16(b.PktLen + HeaderSize - ethSize) // of the outer IPv4 packet
		if t != last || size != h.size {
			e.outer(&h, t, size)
			last = t
		}
		b.DataOff -= HeaderSize
		b.DataLen += HeaderSize
		b.PktLen += HeaderSize
		reasons[i] = stats.DropNone
		// SAFETY: the bytes were headroom.
		p := (*[HeaderSize]byte)(b.Ptr())
		le.PutUint64(p[0:8], h.words[0])
		le.PutUint64(p[8:16], h.words[1])
		le.PutUint64(p[16:24], h.words[2])
		le.PutUint64(p[24:32], h.words[3])
		le.PutUint64(p[32:40], h.words[4]|uint64(bits.ReverseBytes16(SourcePort(hash)))<<16)
		le.PutUint64(p[40:48], h.words[5])
		le.PutUint64(p[48:56], h.words[6])
		le.PutUint64(p[54:62], h.last)
	}
}

// header is the outer headers of a tunnel's packets of one size, but for the UDP source
// port, as words in memory: the last one begins with the last two bytes of words[6].
type header struct {
	size  uint16 // of the outer IPv4 packet
	words [7]uint64
	last  uint64
}

// outer makes h the header for tunnel t and outer IPv4 packets of size bytes.
func (e *Endpoint) outer(h *header, t *action.Tunnel, size uint16) {
	sum := hdr.Finish(e.partial + uint32(size) + t.Dst>>16 + t.Dst&0xffff)
	dst := uint64(bits.ReverseBytes32(t.Dst))
	vni := uint64(bits.ReverseBytes32(t.VNI << 8))
	h.size, h.words = size, e.words
	w := &h.words
	w[0] |= uint64(le.Uint32(t.MAC[0:4])) | uint64(le.Uint16(t.MAC[4:6]))<<32
	w[2] |= uint64(bits.ReverseBytes16(size))
	w[3] |= uint64(bits.ReverseBytes16(sum)) | dst<<48
	w[4] |= dst>>16 | uint64(bits.ReverseBytes16(size-ipSize))<<48
	w[5] |= vni << 48
	w[6] |= vni >> 16
	h.last = bits.ReverseBytes64(uint64(t.SrcPort)<<48 | uint64(t.DstPort)<<32 | uint64(t.Flags)<<16 | uint64(t.Command))
}

// SourcePort is the outer UDP source port of a flow with this hash: NICs that
// look at nothing but the outer header spread flows by it.
func SourcePort(hash uint64) uint16 {
	return firstSource + uint16(hash>>48^hash>>32^hash>>16^hash)&sourceMask
}
