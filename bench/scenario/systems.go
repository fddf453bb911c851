package scenario

import (
	"fmt"

	"baton/bench/dut"
	"baton/bench/machine"
	"baton/bench/peer"
	"baton/bench/report"
	"baton/bench/suite"
	"baton/bench/topology"
)

// Names of the peers.
const (
	OVS     = "ovs-dpdk"
	Testpmd = "testpmd"
)

// batonNIC is the underlay's name among baton's ports.
const batonNIC = "underlay"

// batonSystem is baton as a suite.System.
type batonSystem struct {
	d       *dut.Process
	through bool // see Plan.Through
}

func (b *Bench) startBaton(p Plan, dir string) (suite.System, error) {
	var names []string
	for _, v := range p.VMs {
		names = append(names, v.Name)
	}
	s, err := topology.Network(names...)
	if err != nil {
		return nil, err
	}
	network, err := dut.Encode(s)
	if err != nil {
		return nil, err
	}
	c := dut.Config{
		CPUs: b.cpus(p), NIC: p.NIC, Queues: p.Workers, VTEP: topology.HostVTEP.IP, MAC: topology.HostVTEP.MAC.String(), MTU: topology.MTU,
		Network: network, Host: topology.Host, Sockets: dir, Buffers: dut.DefaultBuffers + p.Kept, Huge: b.Huge, Profile: b.Profile,
		Rules: p.Rules,
	}
	if p.Cold {
		c.MicroFlows = leastMicro
	}
	if p.Small {
		c.MicroFlows, c.Flows = leastMicro, leastMicro
	}
	if p.Rules.Num > dut.DefaultFlows/2 { // the caches of all systems have room for all rules' flows
		c.Flows = 4 * dut.DefaultFlows
	}
	d, err := dut.Start(c, b.LoadCPU)
	if err != nil {
		return nil, err
	}
	return batonSystem{d, p.Through}, nil
}

func (s batonSystem) Name() string  { return report.Baton }
func (s batonSystem) Up() error     { return s.d.Up() }
func (s batonSystem) Pause() error  { return s.d.Pause() }
func (s batonSystem) Resume() error { return s.d.Resume() }
func (s batonSystem) Close() error  { return s.d.Close() }

func (s batonSystem) Process() suite.Process {
	return suite.Process{Pid: s.d.Pid(), Pollers: s.d.Pollers()}
}

func (s batonSystem) Counts() (c suite.Counts, err error) {
	n, err := s.d.Counts()
	if err != nil {
		return c, err
	}
	c.Drops = map[string]uint64{}
	for _, p := range n.Ports {
		c.Rx, c.Tx = c.Rx+p.Rx, c.Tx+p.Tx
		if s.through && p.Name == batonNIC {
			c.Out = p.Tx
		}
		for reason, d := range p.Drops {
			c.Drops[reason] += d
		}
	}
	c.Workers = len(n.Workers)
	for _, w := range n.Workers {
		c.Busy += w.BusyCycles
		c.Cycles += w.BusyCycles + w.IdleCycles + w.SleepCycles
	}
	return c, nil
}

// leastMicro is the smallest exact-match cache that baton can have, and the smallest
// megaflow cache: flows one after the other, more than that, never find themselves in it.
const leastMicro = 64

// ovsSystem is Open vSwitch as a suite.System.
type ovsSystem struct {
	ovs     *peer.OVS
	ports   []string // that packets leave by
	through bool     // see Plan.Through
}

// ovsMiB is the memory of OVS: enough for its pools and the ports' rings. It takes as many
// buffers as fit, 262144 at the most.
const ovsMiB = 512

func (b *Bench) startOVS(p Plan, dir string) (suite.System, error) {
	if !b.Huge {
		return nil, fmt.Errorf("OVS-DPDK needs huge pages, and %d of 2 MiB are free: scripts/huge-pages %d, or run without --peer %s", machine.FreeHugePages(), b.hugePages(), OVS)
	}
	o := peer.OVSOptions{
		Dir: dir, CPUs: b.cpus(p), Control: b.LoadCPU, MiB: ovsMiB, NIC: p.NIC,
		VTEP: topology.HostVTEP.IP, MAC: topology.HostVTEP.MAC.String(), Pairs: p.Workers, Far: topology.FarVTEP.IP.Addr(), FarMAC: topology.FarVTEP.MAC.String(),
		Sockets: dir, Flows: p.Flows, NoEMC: p.Cold,
	}
	for _, v := range p.VMs {
		o.VMs = append(o.VMs, v.Name)
	}
	s, err := peer.StartOVS(o)
	if err != nil {
		return nil, err
	}
	return ovsSystem{s, append(o.VMs, peer.OVSNIC), p.Through}, nil
}

func (s ovsSystem) Name() string  { return OVS }
func (s ovsSystem) Up() error     { return s.ovs.Up() }
func (s ovsSystem) Pause() error  { return s.ovs.Pause() }
func (s ovsSystem) Resume() error { return s.ovs.Resume() }
func (s ovsSystem) Close() error  { return s.ovs.Close() }

func (s ovsSystem) Process() suite.Process {
	return suite.Process{Pid: s.ovs.Pid(), Pollers: s.ovs.Pollers()}
}

func (s ovsSystem) Counts() (c suite.Counts, err error) {
	n, err := s.ovs.Counts()
	if err != nil {
		return c, err
	}
	c = suite.Counts{Rx: n.Received, Busy: n.Busy, Cycles: n.Busy + n.Idle, Workers: n.PMDs, Drops: map[string]uint64{"upcall_failed": n.Failed}}
	for _, name := range s.ports {
		p := n.Ports[name]
		c.Tx += p.Tx
		if s.through && name == peer.OVSNIC {
			c.Out = p.Tx
		}
		c.Drops[suite.DropFull] += p.TxDropped
	}
	return c, nil
}
