package dpdk

import (
	"testing"

	"baton/dataplane/buf"
	"baton/dataplane/port"
	"baton/nic/dpdk/ethdev"
)

// TestOffloadsOf: each kind of work is offered only if the device does all that it
// takes, and nothing is configured that nobody asks for.
func TestOffloadsOf(t *testing.T) {
	const (
		csum    = ethdev.TxTCPCksum | ethdev.TxUDPCksum
		tap     = csum | ethdev.TxIPv4Cksum | ethdev.TxTCPTSO | ethdev.TxMultiSegs
		i40e    = tap | ethdev.TxOuterIPv4Cksum | ethdev.TxGeneveTSO
		other   = 1<<16 | 1<<0 // MBUF_FAST_FREE, VLAN_INSERT
		rxCsum  = ethdev.RxTCPCksum | ethdev.RxUDPCksum | ethdev.RxIPv4Cksum
		rxOther = 1<<13 | 1<<4 // SCATTER, TCP_LRO
	)
	tso := port.OffloadTSO4 | port.OffloadTSO6
	for name, tt := range map[string]struct {
		tx, rx         uint64
		wantTx, wantRx uint64
		offers         port.Offloads
	}{
		"none (af_packet, null)":      {tx: 0},
		"unrelated":                   {tx: other, rx: rxOther},
		"IPv4 checksum only":          {tx: ethdev.TxIPv4Cksum},
		"TCP checksum only":           {tx: ethdev.TxTCPCksum},
		"checksums":                   {tx: csum | other, wantTx: csum, offers: port.OffloadCsum},
		"tap":                         {tx: tap, rx: rxCsum, wantTx: tap, offers: port.OffloadCsum | tso},
		"TSO without chains":          {tx: tap &^ ethdev.TxMultiSegs, wantTx: csum, offers: port.OffloadCsum},
		"tunnels, no TSO":             {tx: csum | ethdev.TxOuterIPv4Cksum, wantTx: csum | ethdev.TxOuterIPv4Cksum, offers: port.OffloadCsum | port.OffloadTunnelCsum},
		"TSO in Geneve, no outer sum": {tx: tap | ethdev.TxGeneveTSO, wantTx: tap, offers: port.OffloadCsum | tso},
		"i40e, ice, iavf": {tx: i40e | other, rx: rxCsum | rxOther | ethdev.RxOuterIPv4Cksum, wantTx: i40e,
			wantRx: rxCsum | ethdev.RxOuterIPv4Cksum, offers: port.OffloadCsum | tso | port.OffloadTunnelCsum | port.OffloadTunnelTSO},
		"receives outer sums only": {rx: ethdev.RxOuterIPv4Cksum | rxOther},
	} {
		got := offloadsOf(ethdev.Info{TxOffloads: tt.tx, RxOffloads: tt.rx})
		if want := (offloads{rx: tt.wantRx, tx: tt.wantTx, offers: tt.offers}); got != want {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
	}
}

// TestAsk: drivers get the flags that segments and tunnels need, and frames without
// work none.
func TestAsk(t *testing.T) {
	seg4, seg6 := buf.TxTCPSeg|buf.TxTCPCksum|buf.TxIPv4, buf.TxTCPSeg|buf.TxTCPCksum|buf.TxIPv6
	tunnel := buf.TxTunnelGeneve | buf.TxOuterIPv4
	for _, tt := range []struct{ flags, want uint64 }{
		{0, 0},
		{buf.RxL4Good, buf.RxL4Good},
		{buf.TxUDPCksum | buf.TxIPv4, buf.TxUDPCksum | buf.TxIPv4},
		{seg4, seg4 | buf.TxIPCksum},
		{seg6, seg6},
		{seg4 | tunnel, seg4 | tunnel | buf.TxIPCksum | buf.TxOuterIPCksum},
		{seg6 | tunnel, seg6 | tunnel | buf.TxOuterIPCksum},
		{buf.TxTCPCksum | buf.TxIPv4 | tunnel, buf.TxTCPCksum | buf.TxIPv4 | tunnel | buf.TxOuterIPCksum},
	} {
		b := buf.Buf{OlFlags: tt.flags}
		if work := ask(&b); b.OlFlags != tt.want || work != (tt.flags&buf.TxWork != 0) {
			t.Errorf("%x: %x, %v; want %x", tt.flags, b.OlFlags, work, tt.want)
		}
	}
}
