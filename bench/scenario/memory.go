package scenario

import (
	"context"
	"fmt"

	"baton/bench/machine"
	"baton/bench/report"
)

// memory is how much of it flows take.
type memory struct{}

func (memory) Name() string { return "memory" }

func (memory) About() string {
	return "from VM to VM, memory of the switch's process after so many flows, and bytes a flow"
}

func (memory) Run(ctx context.Context, b *Bench) error {
	if err := (vm2vm{}).verify(ctx, b); err != nil {
		return err
	}
	for _, size := range b.sizes() {
		all := b.flowsOr(1000, 10_000, 100_000, 1_000_000)
		c := report.Case{Scenario: "memory", Flows: all[len(all)-1], Size: size}
		if err := b.eachSystem(ctx, c, local(1, size), func(s shots) error { return s.memory(ctx, size, all) }); err != nil {
			return err
		}
	}
	return nil
}

// memory has more and more flows pass, each of them several times, and looks at what the
// process has.
func (s shots) memory(ctx context.Context, size report.Size, all []int) error {
	pid := s.rig.System.Process().Pid
	look := func(flows int) (int, error) {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		if _, _, err := s.shoot(local(flows, size).Load.Streams[0], s.b.Length); err != nil {
			return 0, err
		}
		return machine.Resident(pid)
	}
	base, err := look(1)
	if err != nil {
		return err
	}
	for _, flows := range all {
		now, err := look(flows)
		if err != nil {
			return err
		}
		c := report.Case{Scenario: "memory", Flows: flows, Size: size}
		total, each := newMeasure(c, s, "resident", "MB"), newMeasure(c, s, "more than with 1 flow, a flow", "bytes")
		total.add(float64(now) / 1e6)
		each.add(max(0, float64(now-base)/float64(flows)))
		for _, m := range []*measure{total, each} {
			if err := m.done(s); err != nil {
				return fmt.Errorf("%d flows: %w", flows, err)
			}
		}
	}
	return nil
}
