package scenario

import (
	"context"
	"fmt"
	"path/filepath"

	"baton/bench/gen"
	"baton/bench/report"
	"baton/bench/topology"
)

// pvp is the way through a VM that forwards: decap and encap of each packet.
type pvp struct{}

func (pvp) Name() string { return "pvp" }

func (pvp) About() string {
	return "NIC -> VM that swaps MAC addresses -> NIC; cycles and rate of what comes out"
}

func (s pvp) Run(ctx context.Context, b *Bench) error {
	vm, far := topology.VM1, topology.Far1
	for _, flows := range b.flowsOr(1, 1000) {
		for _, size := range b.sizes() {
			c := report.Case{Scenario: s.Name(), Flows: flows, Size: size}
			file := filepath.Join(b.Dir, fmt.Sprintf("pvp-%d-%s.pcap", flows, size))
			if flows > maxReplay {
				b.leaveOut(c, fmt.Sprintf("the device keeps a buffer for each packet of the file, and OVS has too few: at most %d flows", maxReplay))
				continue
			}
			num, err := writeReplay(file, far, vm, flows, size)
			if err != nil {
				return err
			}
			p := decap{}.plan(file, num)
			p.Flows, p.Ports, p.Through = append(p.Flows, ovsEncap(vm, far)), [2]string{}, true
			p.Load.Forwards = []gen.Forward{{From: vm.Name, To: vm.Name, SwapMAC: true}}
			if err := b.Compare(ctx, c, p); err != nil {
				return err
			}
		}
	}
	return nil
}
