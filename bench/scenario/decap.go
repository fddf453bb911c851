package scenario

import (
	"context"
	"fmt"
	"path/filepath"

	"baton/bench/report"
	"baton/bench/topology"
)

// decap is what comes from another host's VM to one on this.
type decap struct{}

func (decap) Name() string { return "decap" }

func (decap) About() string {
	return "NIC that always has Geneve (net_pcap, infinite_rx) -> lookup -> VM"
}

func (decap) Run(ctx context.Context, b *Bench) error {
	for _, flows := range b.flowsOr(1, 1000, 100_000) {
		for _, size := range b.sizes() {
			if err := b.decap(ctx, flows, size); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *Bench) decap(ctx context.Context, flows int, size report.Size) error {
	c := report.Case{Scenario: "decap", Flows: flows, Size: size}
	if flows > maxReplay {
		fmt.Fprintf(b.Log, "%s: left out: the device keeps a buffer for each packet of the file, and OVS has too few: at most %d flows\n", c, maxReplay)
		return nil
	}
	file := filepath.Join(b.Dir, fmt.Sprintf("decap-%d-%s.pcap", flows, size))
	kept, err := writeReplay(file, topology.Far1, topology.VM1, flows, size)
	if err != nil {
		return err
	}
	return b.Compare(ctx, c, Plan{
		VMs: []topology.VM{topology.VM1}, NIC: "net_pcap0,rx_pcap=" + file + ",infinite_rx=1", Kept: kept,
		Flows: []string{ovsDecap(topology.Far1, topology.VM1)}, Ports: [2]string{"nic", "vm1"},
	})
}

// ovsDecap is OVS's rule for what comes from a VM on the far host.
func ovsDecap(from, to topology.VM) string {
	return fmt.Sprintf("in_port=geneve,tun_id=%d,tun_metadata0=%#04x%04x00000000,actions=output:%s", to.VNI, from.ID, to.ID, to.Name)
}
