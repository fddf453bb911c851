package worker

import (
	"context"
	"testing"

	"baton/dataplane/port"
)

// A round polls what nobody has woken the worker for, whether it sleeps or not.
func TestRound(t *testing.T) {
	for name, busy := range map[string]bool{"asleep": false, "busy": true} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, func(c *Config) { c.Workers, c.BusyPoll = 2, busy })
			a := newDouble(t, "a", port.KindVhost, 2)
			l.addPort(1, a)
			if !busy {
				for _, w := range l.workers {
					eventually(t, "sleep", func() bool { return w.state.Load() == stateAsleep })
				}
			}
			for range 100 {
				before := [2]uint64{a.queues[0].polled.Load(), a.queues[1].polled.Load()}
				if err := l.Round(t.Context()); err != nil {
					t.Fatal(err)
				}
				for i, q := range a.queues {
					if q.polled.Load() == before[i] {
						t.Fatalf("queue %d was not polled", i)
					}
				}
			}
		})
	}
}

// Round ends with its context, and does not wait for workers that have ended.
func TestRound_ends(t *testing.T) {
	l := newLab(t, nil)
	stuck, free := make(chan struct{}), make(chan struct{})
	a := newDouble(t, "a", port.KindVhost, 1)
	a.queues[0].onRx = func() {
		select {
		case stuck <- struct{}{}:
			<-free
		case <-free:
		}
	}
	l.addPort(1, a)
	<-stuck
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Round(ctx); err == nil {
		t.Error("a round, while the worker stood still")
	}
	close(free)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := l.Round(t.Context()); err != nil {
		t.Error(err)
	}
}
