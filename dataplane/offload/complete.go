package offload

import (
	"baton/dataplane/buf"
	"baton/dataplane/hdr"
)

// txAll are the flags that say what is to be done with a frame, and where.
const txAll = buf.TxWork | buf.TxTunnelMask | buf.TxIPCksum | buf.TxIPv4 | buf.TxIPv6 | buf.TxOuterIPCksum | buf.TxOuterIPv4

// l4At is where the L4 header begins, in a tunnel the inner one.
func l4At(flags uint64, l buf.Lengths) int {
	at := l.L2 + l.L3
	if flags&buf.TxTunnelMask != 0 {
		at += l.OuterL2 + l.OuterL3
	}
	return at
}

// Complete writes the TCP or UDP checksum whose pseudo header's sum the field holds,
// over all bytes from the L4 header to the frame's end (virtio 1.2, 5.1.6.2: what
// NEEDS_CSUM leaves to the device), and clears the Tx flags. Without such flags it
// does nothing.
//
//	in:    b of one segment, not a super-segment
//	out:   false, and the frame as it was, if its lengths do not fit it
//	alloc: 0
func Complete(b *buf.Buf) bool {
	flags := b.OlFlags
	if flags&buf.TxL4Mask == 0 {
		return true
	}
	sumAt := hdr.TCPChecksumAt
	if flags&buf.TxL4Mask == buf.TxUDPCksum {
		sumAt = hdr.UDPChecksumAt
	}
	if b.Next != nil || flags&buf.TxTCPSeg != 0 || !hdr.Complete(b.Data(), l4At(flags, b.Lengths()), sumAt) {
		return false
	}
	b.OlFlags = flags &^ txAll
	return true
}
