package scenario

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"

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

func (pvp) check(o *Options) error { return checkReplay(o.Flows) }

func (s pvp) Run(ctx context.Context, b *Bench) error {
	if err := s.verify(ctx, b); err != nil {
		return err
	}
	vm, far := topology.VM1, topology.Far1
	for _, flows := range b.flowsOr(1, 1000) {
		for _, size := range b.sizes() {
			c := report.Case{Scenario: s.Name(), Flows: flows, Size: size}
			file := filepath.Join(b.Dir, fmt.Sprintf("pvp-%d-%s.pcap", flows, size))
			if flows > maxReplay {
				b.leaveOut(c, replayLimit)
				continue
			}
			num, err := writeReplay(file, far, vm, flows, size)
			if err != nil {
				return err
			}
			if err := b.Compare(ctx, c, s.plan(file, num)); err != nil {
				return err
			}
		}
	}
	return nil
}

// plan has a NIC that replays a file of num packets, and a VM that sends each back.
func (pvp) plan(file string, num int) Plan {
	vm, far := topology.VM1, topology.Far1
	p := decap{}.plan(file, num)
	p.Flows, p.Ports, p.Through = append(p.Flows, ovsEncap(vm, far)), [2]string{}, true
	p.Load.Forwards = []gen.Forward{{From: vm.Name, To: vm.Name, SwapMAC: true}}
	return p
}

// verify holds what comes back against what was replayed: in a tunnel the other way round,
// MAC addresses swapped.
func (s pvp) verify(ctx context.Context, b *Bench) error {
	vm, far := topology.VM1, topology.Far1
	sent, err := numbered(far, vm, 64, 512, 1500)
	if err != nil {
		return err
	}
	file := filepath.Join(b.Dir, "pvp-check.pcap")
	if err := writeTunnelled(file, far, vm, sent); err != nil {
		return err
	}
	open := tunnelFrame(far.VNI, vm.ID, far.ID)
	return b.Verify(ctx, s.Name(), s.plan(file, len(sent)), Pass{From: nic, To: nic, Sent: sent, Replayed: true, Open: func(f []byte) ([]byte, error) {
		inner, err := open(f)
		if err != nil {
			return nil, err
		}
		return slices.Concat(inner[6:12], inner[:6], inner[12:]), nil
	}})
}
