package offload

import (
	"baton/dataplane/buf"
	"baton/dataplane/hdr"
	"baton/dataplane/port"
)

// hardwareSegment is the smallest segment that network cards cut (I40E_MIN_TSO_MSS);
// drivers refuse super-segments of smaller ones.
const hardwareSegment = 256

// unmet is what no port offers.
const unmet = ^port.Offloads(0)

// Needs is what a port must offer to take b as it is: 0 if nothing is left to be done.
//
//	alloc: 0
func Needs(b *buf.Buf) port.Offloads {
	flags := b.OlFlags
	tunnel := flags&buf.TxTunnelMask != 0
	switch {
	case flags&buf.TxWork == 0:
		return 0
	case flags&buf.TxTCPSeg == 0:
		return checksum(flags)
	}
	need := port.OffloadTSO4
	if tunnel {
		need = port.OffloadTunnelTSO
	} else if flags&buf.TxIPv6 != 0 {
		need = port.OffloadTSO6
	}
	if tunnel && b.Lengths().SegSize < hardwareSegment {
		return unmet
	}
	if at := l4At(flags, b.Lengths()) + hdr.TCPFlagsAt; at >= int(b.DataLen) || b.Data()[at]&hdr.TCPCWR != 0 {
		need |= port.OffloadECN
	}
	return need
}

// checksum is what a port must offer to complete the checksum of a frame with flags.
func checksum(flags uint64) port.Offloads {
	if flags&buf.TxTunnelMask != 0 {
		return port.OffloadTunnelCsum
	}
	return port.OffloadCsum
}

// Leaves reports whether the segments of b may be given to a port that offers can
// with their checksums left to it.
func Leaves(b *buf.Buf, can port.Offloads) bool { return can&checksum(b.OlFlags) != 0 }
