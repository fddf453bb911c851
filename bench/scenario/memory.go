package scenario

import (
	"context"
	"errors"
	"fmt"

	"baton/bench/gen"
	"baton/bench/machine"
	"baton/bench/report"
)

// memory is how much of it flows take.
type memory struct{}

func (memory) Name() string { return "memory" }

func (memory) About() string {
	return "from VM to VM, memory of the switch's process after so many flows, which share an entry or need one each (own entries), and how much a flow of it is there for them"
}

// memoryKind is one of the two kinds of flows.
type memoryKind struct {
	churnKind
	nums []int // if not told otherwise; of own entries as many as all systems keep by default
}

var memoryKinds = []memoryKind{
	{churnKinds[0], []int{1000, 10_000, 100_000, 1_000_000}},
	{churnKinds[1], []int{1000, 10_000, 50_000}},
}

func (memory) Run(ctx context.Context, b *Bench) error {
	if err := (vm2vm{}).verify(ctx, b); err != nil {
		return err
	}
	for _, k := range memoryKinds {
		if err := k.verify(ctx, b); err != nil {
			return err
		}
		for _, size := range b.sizes() {
			least, err := b.leastMemory(ctx, k.plan(1, size))
			if err != nil {
				return err
			}
			all := b.flowsOr(k.nums...)
			c := report.Case{Scenario: "memory", Variant: k.variant, Flows: all[len(all)-1], Size: size}
			err = b.shooters(ctx, c, k.plan(1, size), func(systems []shots) error {
				for _, s := range systems {
					if err := s.memory(ctx, c, k, all, least); err != nil {
						return fmt.Errorf("%s: %w", s.rig.System.Name(), err)
					}
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// leastMemory is what baton has with the smallest caches that it can have. They are of a
// fixed size and all there from the start, so that what they take does not show in a process
// that gets more flows.
func (b *Bench) leastMemory(ctx context.Context, p Plan) (size int, err error) {
	p.Small = true
	r, err := b.Rig(report.Baton, p)
	if err != nil {
		return 0, fmt.Errorf("%s with the smallest caches: %w", report.Baton, err)
	}
	size, err = shots{b, r}.resident(ctx, p.Load.Streams[0])
	return size, errors.Join(err, r.Close())
}

// resident is what the system has after a stream.
func (s shots) resident(ctx context.Context, st gen.Stream) (size int, err error) {
	if _, err := s.shoot(ctx, st, s.b.Length); err != nil {
		return 0, err
	}
	return machine.Resident(s.rig.System.Process().Pid)
}

// memory has more and more flows pass, each of them several times, and looks at what the
// process has: of baton beside least, of others beside what they have with one flow.
func (s shots) memory(ctx context.Context, c report.Case, k memoryKind, all []int, least int) error {
	base, err := s.resident(ctx, k.plan(1, c.Size).Load.Streams[0])
	if err != nil {
		return err
	}
	if s.rig.System.Name() == report.Baton {
		base = least
	}
	for _, flows := range all {
		if err := ctx.Err(); err != nil {
			return err
		}
		now, err := s.resident(ctx, k.plan(flows, c.Size).Load.Streams[0])
		if err != nil {
			return err
		}
		state, err := s.state()
		if err != nil {
			return err
		}
		c.Flows = flows
		total, each := newMeasure(c, s, "resident", "MB"), newMeasure(c, s, "there for flows, a flow", "bytes")
		total.add(float64(now)/1e6, state)
		each.add(max(0, float64(now-base)/float64(flows)), state)
		total.done(s.b)
		each.done(s.b)
	}
	return nil
}
