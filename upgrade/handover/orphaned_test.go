package handover_test

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"baton/upgrade/handover"
	"baton/upgrade/wire"
)

// orphan is a ward that notes what its standby does, without locks: who races is seen by the
// race detector.
type orphan struct {
	*ward
	steps    []string      // done
	orphaned int           // how often
	died     chan struct{} // Watch returns when it is closed
	entered  chan struct{} // closed by the first Orphaned
	during   func()        // in the first Orphaned
	step     func(string) error
}

func newOrphan(t *testing.T) *orphan {
	t.Helper()
	o := &orphan{ward: makeWard(t), died: make(chan struct{}), entered: make(chan struct{}), during: func() {}, step: func(string) error { return nil }}
	do := func(name string) error {
		o.steps = append(o.steps, name)
		return o.step(name)
	}
	o.s.Begin = func([]wire.Section) error { return do("begin") }
	o.s.Put = func(name string, _ wire.Section) error { return do("put " + name) }
	o.s.Drop = func(name string) error { return do("drop " + name) }
	o.s.Rules = func(wire.Section) error { return do("rules") }
	o.s.Watch = func(stop <-chan struct{}) {
		select {
		case <-stop:
		case <-o.died:
		}
	}
	o.s.Orphaned = func() {
		if o.orphaned++; o.orphaned == 1 {
			close(o.entered)
			o.during()
		}
	}
	return o
}

// begins runs the standby and has it begin.
func (o *orphan) begins(t *testing.T) {
	t.Helper()
	o.run(t)
	if _, err := o.k.Begin(); err != nil {
		t.Fatal(err)
	}
}

// leavesLate has the keeper look dead only when all is over.
func (o *orphan) leavesLate() {
	o.s.Watch = func(stop <-chan struct{}) {
		<-stop
		o.dead.Store(true)
	}
}

// die is the keeper's death.
func (o *orphan) die() {
	o.dead.Store(true)
	close(o.died)
}

// ends checks what Run returns, and how often Orphaned came by then.
func (o *orphan) ends(t *testing.T, want error, orphaned int) {
	t.Helper()
	if err := <-o.ended; !errors.Is(err, want) {
		t.Errorf("it ends with %v, want %v", err, want)
	}
	if o.orphaned != orphaned {
		t.Errorf("Orphaned came %d times, want %d", o.orphaned, orphaned)
	}
}

// says sends sections and a step whose answer nobody waits for.
func (o *orphan) says(t *testing.T, step map[string]string, all ...wire.Section) {
	t.Helper()
	b, err := json.Marshal(step)
	if err != nil {
		t.Error(err)
	}
	for _, sec := range append(all, wire.Section{Tag: handover.StepTag, Payload: b}) {
		if err := o.a.Send(sec); err != nil {
			t.Error(err)
		}
	}
}

// A death is seen by the thread that watches, by the end of the socket, or by both: Orphaned comes
// once.
func TestStandby_orphaned(t *testing.T) {
	for name, death := range map[string]func(*orphan){
		"watched": (*orphan).die,
		"socket":  func(o *orphan) { o.a.Close() },
		"both": func(o *orphan) {
			o.during = func() { o.a.Close() }
			o.die()
		},
		"stuck": func(o *orphan) { o.moves.Store(false) },
	} {
		t.Run(name, func(t *testing.T) {
			o := newOrphan(t)
			o.begins(t)
			death(o)
			o.ends(t, handover.ErrOrphaned, 1)
		})
	}
}

// Without a Begin that succeeded there is nothing to go on with: the keeper dies before it, or
// while it is refused.
func TestStandby_orphanedTooEarly(t *testing.T) {
	o := newOrphan(t)
	o.run(t)
	o.die()
	o.ends(t, handover.ErrOrphaned, 0)

	refused := errors.New("refused")
	o = newOrphan(t)
	o.step = func(string) error {
		o.a.Close() // no answer gets there
		o.die()
		return refused
	}
	o.run(t)
	o.says(t, map[string]string{"step": "begin"})
	o.ends(t, handover.ErrOrphaned, 0)

	o = newOrphan(t)
	o.s.Told = func() (json.RawMessage, error) {
		o.a.Close()
		o.die()
		return nil, refused
	}
	o.run(t)
	o.says(t, map[string]string{"step": "begin"})
	o.ends(t, handover.ErrOrphaned, 0)
}

// A keeper that ends as it should frees its leases, which looks like death: it may be seen before
// the answer is sent, or after all is over.
func TestStandby_calledOff(t *testing.T) {
	o := newOrphan(t)
	o.leavesLate()
	o.begins(t)
	if err := o.k.End(); err != nil {
		t.Fatal(err)
	}
	o.ends(t, handover.ErrCalledOff, 0)

	o = newOrphan(t)
	o.begins(t)
	o.says(t, map[string]string{"step": "abort"})
	o.a.Close()
	if err := <-o.ended; o.orphaned != 0 {
		t.Errorf("it was told to end, and Orphaned came %d times; it ended with %v", o.orphaned, err)
	}
}

// What ended for another reason goes on with nothing, whatever becomes of the keeper.
func TestStandby_error(t *testing.T) {
	o := newOrphan(t)
	o.leavesLate()
	o.begins(t)
	if err := o.a.Send(wire.Section{Tag: handover.StepTag, Payload: []byte("no step")}); err != nil {
		t.Fatal(err)
	}
	o.ends(t, wire.ErrFormat, 0)
}

// A death during a step: Orphaned comes after it.
func TestStandby_orphanedDuringStep(t *testing.T) {
	state := wire.Section{Tag: wire.Tag{Kind: kindState, Version: 1}}
	for name, says := range map[string]func(*orphan, *testing.T){
		"put vm1":  func(o *orphan, t *testing.T) { o.says(t, map[string]string{"step": "put", "port": "vm1"}, state) },
		"drop vm1": func(o *orphan, t *testing.T) { o.says(t, map[string]string{"step": "drop", "port": "vm1"}) },
		"rules":    func(o *orphan, t *testing.T) { o.says(t, map[string]string{"step": "rules"}, state) },
	} {
		t.Run(name, func(t *testing.T) {
			o := newOrphan(t)
			o.step = func(step string) error {
				if step != name {
					return nil
				}
				o.die()
				select {
				case <-o.entered:
					t.Error("Orphaned came during the step")
				case <-time.After(still / 4): // long enough for the thread that watches
				}
				return nil
			}
			o.begins(t)
			says(o, t)
			o.ends(t, handover.ErrOrphaned, 1)
			if len(o.steps) != 2 {
				t.Errorf("done: %q", o.steps)
			}
		})
	}
}

// What the dead keeper has sent is not done once its ports are gone on with.
func TestStandby_stepAfterOrphaned(t *testing.T) {
	o := newOrphan(t)
	o.during = func() {
		o.says(t, map[string]string{"step": "drop", "port": "vm1"})
		select {
		case <-o.over:
			t.Error("it ended while Orphaned was at work")
		case <-time.After(still / 4):
		}
	}
	o.begins(t)
	o.die()
	o.ends(t, handover.ErrOrphaned, 1)
	if len(o.steps) != 1 {
		t.Errorf("done: %q", o.steps)
	}
}

// Watch may return while the keeper lives: then nothing is gone on with, and the steps go on.
func TestStandby_watchedTooEarly(t *testing.T) {
	o := newOrphan(t)
	o.begins(t)
	close(o.died)
	select {
	case <-o.entered:
		t.Fatal("Orphaned came, and the keeper lives")
	case <-time.After(still / 4):
	}
	if err := o.k.Drop("vm1"); err != nil {
		t.Fatal(err)
	}
	o.dead.Store(true)
	o.ends(t, handover.ErrOrphaned, 1)
}
