package scenario

import (
	"context"

	"baton/bench/gen"
	"baton/bench/report"
	"baton/bench/topology"
)

// vm2vm is what a VM sends to another on its host.
type vm2vm struct{}

func (vm2vm) Name() string { return "vm2vm" }

func (vm2vm) About() string { return "VM -> lookup -> VM on the same host" }

func (vm2vm) plan() Plan {
	from, to := topology.VM1, topology.VM2
	return Plan{VMs: []topology.VM{from, to}, NIC: sinkNIC, Staged: true, Flows: []string{ovsLocal(from, to)}, Ports: [2]string{from.Name, to.Name}}
}

// verify makes the checked pass, of all scenarios that send from one VM to another.
func (s vm2vm) verify(ctx context.Context, b *Bench) error {
	from, to := topology.VM1, topology.VM2
	sent, err := numbered(from, to, 64, 512, 1500)
	if err != nil {
		return err
	}
	return b.Verify(ctx, s.Name(), s.plan(), Pass{From: from.Name, To: to.Name, Sent: sent, Open: plainFrame})
}

func (s vm2vm) Run(ctx context.Context, b *Bench) error {
	from, to := topology.VM1, topology.VM2
	if err := s.verify(ctx, b); err != nil {
		return err
	}
	for _, flows := range b.flowsOr(1, 10_000) {
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

// ovsLocal is OVS's rule for what a VM sends to another on its host.
func ovsLocal(from, to topology.VM) string {
	return "in_port=" + from.Name + ",dl_dst=" + to.MAC.String() + ",actions=output:" + to.Name
}
