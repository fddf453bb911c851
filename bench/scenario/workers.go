package scenario

import (
	"context"
	"fmt"
	"runtime"

	"baton/bench/report"
	"baton/bench/topology"
)

// workers is encap of two VMs by one thread and by two.
type workers struct{}

func (workers) Name() string { return "workers" }

func (workers) About() string { return "encap of two VMs, with one worker and with two" }

func (s workers) Run(ctx context.Context, b *Bench) error {
	if err := (encap{}).verify(ctx, b); err != nil {
		return err
	}
	for _, num := range []int{1, 2} {
		for _, flows := range b.flowsOr(1000) {
			for _, size := range b.sizes() {
				c := report.Case{Scenario: s.Name(), Variant: []string{"1 worker", "2 workers"}[num-1], Flows: flows, Size: size}
				if num > 1+len(b.MoreCPUs) {
					b.leaveOut(c, fmt.Sprintf("%d workers and the load need %d CPUs, of which this machine has %d; with enough of them, name those besides --dut-cpu by --more-cpus",
						num, num+1, runtime.NumCPU()))
					continue
				}
				from, to := []topology.VM{topology.VM1, topology.VM2}, topology.Far1
				p := Plan{VMs: from, NIC: sinkNIC, Workers: num}
				for _, vm := range from {
					p.Load.Streams = append(p.Load.Streams, stream(vm, to, flows, size))
					p.Flows = append(p.Flows, ovsEncap(vm, to))
				}
				if err := b.Compare(ctx, c, p); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
