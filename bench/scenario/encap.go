package scenario

import (
	"context"
	"fmt"

	"baton/bench/gen"
	"baton/bench/report"
	"baton/bench/topology"
)

// encap is what a VM sends to one on another host.
type encap struct{}

func (encap) Name() string { return "encap" }

func (encap) About() string { return "VM -> lookup -> Geneve -> NIC that takes all (net_null)" }

func (encap) plan() Plan {
	return Plan{VMs: []topology.VM{topology.VM1}, NIC: sinkNIC, Staged: true, Flows: []string{ovsEncap(topology.VM1, topology.Far1)}, Ports: [2]string{"vm1", nic}}
}

// verify makes the checked pass, of all scenarios that send what encap does.
func (s encap) verify(ctx context.Context, b *Bench) error {
	from, to := topology.VM1, topology.Far1
	sent, err := numbered(from, to, 64, 512, 1500)
	if err != nil {
		return err
	}
	return b.Verify(ctx, s.Name(), s.plan(), Pass{From: from.Name, To: nic, Sent: sent, Open: tunnelFrame(to.VNI, from.ID, to.ID)})
}

func (s encap) Run(ctx context.Context, b *Bench) error {
	from, to := topology.VM1, topology.Far1
	if err := s.verify(ctx, b); err != nil {
		return err
	}
	for _, flows := range b.flowsOr(1, 1000, 100_000, 1_000_000) {
		for _, size := range b.sizes() {
			p := s.plan()
			p.Load.Streams = []gen.Stream{stream(from, to, flows, size)}
			if err := b.Compare(ctx, report.Case{Scenario: s.Name(), Flows: flows, Size: size}, p); err != nil {
				return err
			}
		}
	}
	return nil
}

// stream is what a VM sends to another.
func stream(from, to topology.VM, flows int, size report.Size) gen.Stream {
	s := gen.Stream{
		From:  from.Name,
		Frame: gen.Frame{SrcMAC: gen.MAC(from.MAC), DstMAC: gen.MAC(to.MAC), SrcIP: from.IP, DstIP: to.IP, SrcPort: 1024, DstPort: 2048},
		Flows: gen.Flows{Num: flows},
		Size:  int(size),
	}
	if size == report.IMIX {
		s.Size, s.IMIX = 0, true
	}
	return s
}

// ovsEncap is OVS's rule for what a VM sends to one on the far host: what baton's rules
// do with it.
func ovsEncap(from, to topology.VM) string {
	return fmt.Sprintf("in_port=%s,dl_dst=%s,actions=%s", from.Name, to.MAC, ovsTunnel(to.VNI, from.ID, to.ID))
}

// ovsTunnel is OVS's actions that send to the far host.
func ovsTunnel(vni uint32, src, dst uint16) string {
	return fmt.Sprintf("set_field:%s->tun_dst,set_field:%d->tun_id,set_field:%#04x%04x00000000->tun_metadata0,output:geneve",
		topology.FarVTEP.IP.Addr(), vni, src, dst)
}
