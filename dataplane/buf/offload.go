package buf

// Offload flags of Buf.OlFlags: RTE_MBUF_F_* (DPDK 22.11, rte_mbuf_core.h), so that a
// NIC takes a buffer as it is. Tx flags say what is still to be done before the
// frame may go over a wire; Rx flags what a receiver need not check again.
const (
	RxL4Bad  uint64 = 1 << 3 // the L4 checksum was checked and is wrong
	RxL4Good uint64 = 1 << 8 // the L4 checksum was checked and is right

	TxTunnelGeneve uint64 = 4 << 45 // L2Len counts from the outer L4 header on
	TxTunnelMask   uint64 = 15 << 45
	TxTCPSeg       uint64 = 1 << 50 // a super-segment: to be cut into segments of SegSize payload bytes
	TxTCPCksum     uint64 = 1 << 52 // the TCP checksum field holds the pseudo header's sum: complete it
	TxUDPCksum     uint64 = 3 << 52 // the same for UDP
	TxL4Mask       uint64 = 3 << 52
	TxIPCksum      uint64 = 1 << 54 // the IPv4 header's checksum is to be made
	TxIPv4         uint64 = 1 << 55
	TxIPv6         uint64 = 1 << 56
	TxOuterIPCksum uint64 = 1 << 58
	TxOuterIPv4    uint64 = 1 << 59

	// TxWork are the flags of frames that no plain port can send as they are.
	TxWork = TxTCPSeg | TxL4Mask
)

// WireLen is the length in bytes of the longest frame that b becomes on a wire: its
// own, or of a super-segment that of a segment.
func (b *Buf) WireLen() int {
	if b.OlFlags&TxTCPSeg == 0 {
		return int(b.PktLen)
	}
	return b.segmentLen()
}

// segmentLen is WireLen of a super-segment.
func (b *Buf) segmentLen() int {
	l := b.Lengths()
	n := l.L2 + l.L3 + l.L4 + l.SegSize
	if b.OlFlags&TxTunnelMask != 0 {
		n += l.OuterL2 + l.OuterL3
	}
	return min(n, int(b.PktLen))
}

// Lengths are the header lengths that go with the Tx flags, in bytes. Of a frame in
// a tunnel L2 counts outer UDP, Geneve and the inner Ethernet header, as DPDK has it.
type Lengths struct {
	L2, L3, L4       int // at most 127, 511, 255
	SegSize          int // payload bytes of a segment, with TxTCPSeg
	OuterL2, OuterL3 int // 0 outside a tunnel; at most 127, 511
}

// SetLengths writes l into TxOffload; values above the bounds are cut off.
func (b *Buf) SetLengths(l Lengths) {
	b.TxOffload = uint64(l.L2&127) | uint64(l.L3&511)<<7 | uint64(l.L4&255)<<16 |
		uint64(l.SegSize&65535)<<24 | uint64(l.OuterL3&511)<<40 | uint64(l.OuterL2&127)<<49
}

// Lengths reads TxOffload.
func (b *Buf) Lengths() Lengths {
	t := b.TxOffload
	return Lengths{
		L2: int(t & 127), L3: int(t >> 7 & 511), L4: int(t >> 16 & 255),
		SegSize: int(t >> 24 & 65535), OuterL3: int(t >> 40 & 511), OuterL2: int(t >> 49 & 127),
	}
}
