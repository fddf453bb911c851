package dpdk

import (
	"baton/dataplane/buf"
	"baton/dataplane/port"
	"baton/nic/dpdk/ethdev"
)

// offloads is what of a device's offloads is used.
type offloads struct {
	rx, tx uint64        // to be configured
	offers port.Offloads // what the queues take unfinished
}

// Sets of transmit offloads that something needs all of.
const (
	txCsum       = ethdev.TxTCPCksum | ethdev.TxUDPCksum
	txTSO        = txCsum | ethdev.TxTCPTSO | ethdev.TxIPv4Cksum | ethdev.TxMultiSegs
	txTunnelCsum = txCsum | ethdev.TxOuterIPv4Cksum
	txTunnelTSO  = txTSO | ethdev.TxOuterIPv4Cksum | ethdev.TxGeneveTSO

	rxCsum = ethdev.RxTCPCksum | ethdev.RxUDPCksum
)

// offloadsOf chooses from what a device can do: each kind of work only if the device
// does all of it. DPDK has no capability for "checksums inside a tunnel"; a device
// that makes outer checksums is one that knows tunnels. No device is given super-segments
// with CWR (port.OffloadECN): whether it repeats that flag is not said anywhere.
//
// Receive checksums are asked for on devices that know tunnels only. From others they
// would be about the outer packet, which is checked anyway; and virtio's would make
// checksums of outer packets go missing.
func offloadsOf(info ethdev.Info) (o offloads) {
	for _, k := range []struct {
		need   uint64
		offers port.Offloads
	}{
		{txCsum, port.OffloadCsum},
		{txTSO, port.OffloadTSO4 | port.OffloadTSO6},
		{txTunnelCsum, port.OffloadTunnelCsum},
		{txTunnelTSO, port.OffloadTunnelTSO},
	} {
		if info.TxOffloads&k.need == k.need {
			o.tx |= k.need
			o.offers |= k.offers
		}
	}
	if info.RxOffloads&ethdev.RxOuterIPv4Cksum != 0 && info.RxOffloads&rxCsum == rxCsum {
		o.rx = info.RxOffloads & (rxCsum | ethdev.RxIPv4Cksum | ethdev.RxOuterIPv4Cksum)
	}
	return o
}

// ask adds the flags with which drivers want a frame's work asked for, and reports
// whether there is any: IPv4 headers of segments, inner and outer, differ in length and
// identification, so the device makes their checksums; and one that makes checksums
// inside a tunnel only if it makes the outer one (ixgbe) has that to do too.
func ask(b *buf.Buf) bool {
	flags := b.OlFlags
	if flags&buf.TxWork == 0 {
		return false
	}
	if flags&(buf.TxTCPSeg|buf.TxIPv4) == buf.TxTCPSeg|buf.TxIPv4 {
		flags |= buf.TxIPCksum
	}
	if flags&buf.TxOuterIPv4 != 0 {
		flags |= buf.TxOuterIPCksum
	}
	b.OlFlags = flags
	return true
}
