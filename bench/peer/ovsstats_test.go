package peer_test

import (
	"testing"

	"baton/bench/peer"
)

const pmdStats = `pmd thread numa_id 0 core_id 0:
  packets received: 1215008
  packet recirculations: 17
  avg. datapath passes per packet: 1.00
  phwol hits: 0
  mfex opt hits: 0
  simple match hits: 431086
  emc hits: 783200
  smc hits: 5
  megaflow hits: 24
  avg. subtable lookups per megaflow hit: 1.00
  miss with success upcall: 2
  miss with failed upcall: 696
  avg. packets per output batch: 32.00
  idle cycles: 1000 (0.00%)
  processing cycles: 2879371296 (100.00%)
  avg cycles per packet: 2369.84 (2879371296/1215008)
  avg processing cycles per packet: 2369.84 (2879371296/1215008)
pmd thread numa_id 0 core_id 2:
  packets received: 2
  packet recirculations: 0
  emc hits: 0
  smc hits: 0
  megaflow hits: 2
  miss with success upcall: 0
  miss with failed upcall: 0
  idle cycles: 7 (70.00%)
  processing cycles: 3 (30.00%)
main thread:
  packets received: 3
  packet recirculations: 0
  emc hits: 0
  smc hits: 0
  megaflow hits: 0
  miss with success upcall: 1
  miss with failed upcall: 0
`

func TestParsePMDStats(t *testing.T) {
	c, err := peer.ParsePMDStats(pmdStats)
	if err != nil {
		t.Fatal(err)
	}
	want := peer.OVSCounts{Received: 1215010, Recirculate: 17, EMCHits: 783200, SMCHits: 5, Megaflow: 26, Misses: 2, Failed: 696,
		Busy: 2879371299, Idle: 1007, PMDs: 2}
	if c.Ports != nil {
		t.Errorf("ports %v", c.Ports)
	}
	if got := c; got.Received != want.Received || got.Recirculate != want.Recirculate || got.EMCHits != want.EMCHits || got.SMCHits != want.SMCHits ||
		got.Megaflow != want.Megaflow || got.Misses != want.Misses || got.Failed != want.Failed || got.Busy != want.Busy || got.Idle != want.Idle || got.PMDs != want.PMDs {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	for _, bad := range []string{"", "main thread:\n  packets received: 3\n", "pmd thread numa_id 0 core_id 0:\n  packets received: 1\n"} {
		if c, err := peer.ParsePMDStats(bad); err == nil {
			t.Errorf("%q: %+v", bad, c)
		}
	}
}

const dpctlShow = `netdev@ovs-netdev:
  lookups: hit:1221128 missed:3 lost:696
  flows: 2
  port 1: genev_sys_6081 (geneve: packet_type=ptap)
    RX packets:0 errors:? dropped:? overruns:? frame:?
    TX packets:0 errors:? dropped:? aborted:? carrier:?
    collisions:?
    RX bytes:0  TX bytes:0
  port 3: br-phy (tap)
    RX packets:3 errors:0 dropped:0 overruns:0 frame:0
    TX packets:790126 errors:0 dropped:0 aborted:0 carrier:0
    collisions:0
    RX bytes:266  TX bytes:50568064 (48.2 MiB)
  port 4: nic (dpdk: configured_rx_queues=1, mtu=1600)
    RX packets:1221984 errors:0 dropped:0 overruns:? frame:?
    TX packets:2 errors:0 dropped:5 aborted:? carrier:?
    collisions:?
    RX bytes:0  TX bytes:0
  port 5: vm1 (dpdkvhostuserclient: configured_rx_queues=1, mtu=0)
, could not retrieve stats (Protocol error)
`

func TestParsePorts(t *testing.T) {
	ports, err := peer.ParsePorts(dpctlShow)
	if err != nil {
		t.Fatal(err)
	}
	if ports["nic"] != (peer.OVSPort{Rx: 1221984, Tx: 2, TxDropped: 5}) || ports["br-phy"].Tx != 790126 {
		t.Errorf("%+v", ports)
	}
	if _, ok := ports["vm1"]; ok {
		t.Error("vm1 has no counters, and has some")
	}
	if _, err := peer.ParsePorts("ovs-appctl: no such thing"); err == nil {
		t.Error("no ports: no error")
	}
}
