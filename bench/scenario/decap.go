package scenario

import (
	"context"
	"fmt"
	"path/filepath"

	"baton/bench/pcap"
	"baton/bench/report"
	"baton/bench/topology"
)

// decap is what comes from another host's VM to one on this.
type decap struct{}

func (decap) Name() string { return "decap" }

func (decap) About() string {
	return "NIC that always has Geneve (net_pcap, infinite_rx) -> lookup -> VM"
}

func (decap) check(o *Options) error { return checkReplay(o.Flows) }

func (s decap) Run(ctx context.Context, b *Bench) error {
	if err := s.verify(ctx, b); err != nil {
		return err
	}
	for _, flows := range b.flowsOr(1, 1000, 100_000) {
		for _, size := range b.sizes() {
			if err := s.compare(ctx, b, flows, size); err != nil {
				return err
			}
		}
	}
	return nil
}

// plan has a NIC that replays a file of num packets.
func (decap) plan(file string, num int) Plan {
	return Plan{
		VMs: []topology.VM{topology.VM1}, NIC: "net_pcap0,rx_pcap=" + file + ",infinite_rx=1", Kept: num, Staged: true,
		Flows: []string{ovsDecap(topology.Far1, topology.VM1)}, Ports: [2]string{nic, "vm1"},
	}
}

func (s decap) verify(ctx context.Context, b *Bench) error {
	from, to := topology.Far1, topology.VM1
	sent, err := numbered(from, to, 64, 512, 1500)
	if err != nil {
		return err
	}
	file := filepath.Join(b.Dir, "decap-check.pcap")
	if err := writeTunnelled(file, from, to, sent); err != nil {
		return err
	}
	return b.Verify(ctx, s.Name(), s.plan(file, len(sent)), Pass{From: nic, To: to.Name, Sent: sent, Open: plainFrame, Replayed: true})
}

// writeTunnelled writes a file of frames, each in a tunnel from a VM of the far host to one
// of this.
func writeTunnelled(file string, from, to topology.VM, frames [][]byte) error {
	var outer [][]byte
	for i, f := range frames {
		o, err := tunnelled(from, to, i, f)
		if err != nil {
			return err
		}
		outer = append(outer, o)
	}
	return pcap.Write(file, outer)
}

func (s decap) compare(ctx context.Context, b *Bench, flows int, size report.Size) error {
	c := report.Case{Scenario: s.Name(), Flows: flows, Size: size}
	if flows > maxReplay {
		b.leaveOut(c, replayLimit)
		return nil
	}
	file := filepath.Join(b.Dir, fmt.Sprintf("decap-%d-%s.pcap", flows, size))
	num, err := writeReplay(file, topology.Far1, topology.VM1, flows, size)
	if err != nil {
		return err
	}
	return b.Compare(ctx, c, s.plan(file, num))
}

// ovsDecap is OVS's rule for what comes from a VM on the far host.
func ovsDecap(from, to topology.VM) string {
	return fmt.Sprintf("in_port=geneve,tun_id=%d,tun_metadata0=%#04x%04x00000000,actions=output:%s", to.VNI, from.ID, to.ID, to.Name)
}
