package worker

import (
	"context"
	"runtime"
	"testing"
	"time"

	"baton/dataplane/buf"
	"baton/dataplane/flow"
	"baton/dataplane/port"
)

// stager is a device that sends once a poll what Tx took, as a NIC does.
type stager struct {
	endless
	staged int
}

func (p *stager) Queue(int) port.Queue { return p }

func (p *stager) Rx(*buf.Cache, *buf.Vec) int {
	p.staged = 0
	return 0
}

func (p *stager) Tx(c *buf.Cache, v *buf.Vec, n int) int {
	p.staged += n
	return p.endless.Tx(c, v, n)
}

// TestBarrierWaitsForDevices: a packet by an old rule, handed to another worker,
// has left that worker's device when the barrier is answered.
func TestBarrierWaitsForDevices(t *testing.T) {
	vm := newDouble(t, "vm", port.KindVhost, 1)
	out := &stager{endless: endless{name: "out", kind: port.KindVhost}}
	p, rules := stillPool(t, Config{Workers: 2, Unlocked: true}, []port.Port{vm, out}, flow.Change{
		SetBindings: []flow.Binding{{Name: "vm", Number: number(1)}, {Name: "out", Number: number(2)}},
		SetRules:    []flow.Rule{toPort(2, number(2))},
	})
	here, there := p.workers[0], p.workers[1]
	here.begin()
	there.turn()
	vm.queues[0].inject(frame(1, 2, 0))
	here.state.Store(stateRunning)
	there.state.Store(stateRunning)
	gen, err := rules.Apply(flow.Change{DelRules: []flow.RuleID{toPort(2, number(2)).RuleID}})
	if err != nil {
		t.Fatal(err)
	}
	there.turn()   // goes by the new rules, and is at the end of its iteration
	here.iterate() // by the old ones still, and hands over
	here.turn()
	if p.Parcels() != 1 {
		t.Fatalf("%d parcels, want 1", p.Parcels())
	}

	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- p.Barrier(ctx, gen) }()
	lookAround()
	there.begin()
	for range 100 {
		lookAround() // so that the barrier sees every iteration
		select {
		case err := <-done:
			if err != nil || out.staged != 0 || out.got != 1 {
				t.Errorf("the barrier is answered (%v), %d packets sent, %d of them still staged", err, out.got, out.staged)
			}
			return
		default:
		}
		here.turn()
		here.turn()
		there.iterate()
		there.begin()
	}
	t.Error("no answer within 100 iterations")
}

// lookAround lets others run for longer than backOff ever waits.
func lookAround() {
	for begin := cycles(); cycles()-begin < toCycles(2*time.Millisecond); {
		runtime.Gosched()
	}
}
