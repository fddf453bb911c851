package handover

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"baton/upgrade/relay"
	"baton/upgrade/wire"
)

// Taker takes ports from another process.
type Taker struct {
	Conn *wire.Conn
	// Begin gets what the giver began with and makes the taker's gates, by name; the sections'
	// descriptors are its own.
	Begin func([]wire.Section) (map[string]*relay.Gate, error)
	// Restore makes a port's suspended device of its state, whose descriptors are its own.
	Restore func(name string, state wire.Section) (relay.Device, error)
	// Running is the number of rings of a port that run.
	Running func(name string) int
	// Alive says what is wrong with this process while it has ports; nil: nothing ever is.
	Alive func() error
	// Told is what the giver's Ready gets; nil: nothing.
	Told func() (json.RawMessage, error)
	// Counted is what this process has counted, when it has nothing any more; nil: nothing.
	Counted func() (json.RawMessage, error)
	// Steer brings the wire's traffic to this process, where it waits until Open. Pass lets go on
	// what waited there at the last Pass.
	Steer, Pass, Open func() error
	// Leave gives the wire's traffic up, and returns when all that came here has been given on.
	Leave func() error
	// End gets what the giver ended with, and makes all that was taken the process' own.
	End func([]wire.Section) error
	// Silence is for how long a giver may say nothing from its first port's hold on, before Kill ends it:
	// it hangs, and what it has is in nobody's care. 0: for ever.
	Silence time.Duration
	Kill    func()

	gates    map[string]*relay.Gate
	prepared map[string]int // rings that run, by port
	waiting  []wire.Section // came, and no step has asked for them
	has      bool           // a port has come, or is about to
}

// GiverSilence is a Silence that no giver comes near which lives: between two steps it beats each
// watchEvery, and none of its steps waits for longer than 3 s without asking for something.
const GiverSilence = 10 * time.Second

// Errors of Run.
var (
	// ErrCalledOff: the giver has taken all back.
	ErrCalledOff = errors.New("the upgrade was called off")
	// ErrOrphaned: the giver is gone, and the taker has all that it had been given.
	ErrOrphaned = errors.New("the process that was here first is gone")
)

// Run takes over until the giver has committed. The offer was accepted.
//
//	error: nil: all is this process'; ErrOrphaned: all that was given is; else nothing is
func (t *Taker) Run() error {
	t.prepared = map[string]int{}
	defer func() {
		for i := range t.waiting {
			t.waiting[i].Close()
		}
	}()
	for {
		sec, err := t.receive()
		if err != nil {
			return t.orphaned(err)
		}
		s, ok, err := parse(&sec)
		if !ok {
			t.waiting = append(t.waiting, sec)
			continue
		}
		sec.Close()
		if err != nil {
			return t.orphaned(err)
		}
		answer := step{Step: s.Step, Port: s.Port}
		err = t.do(&s, &answer)
		if err != nil {
			answer.Error = err.Error()
		}
		if bad := send(t.Conn, answer); bad != nil {
			return t.orphaned(bad)
		}
		switch {
		case s.Step == stepAbort:
			return ErrCalledOff
		case s.Step == stepCommit && err == nil:
			return nil
		case s.Step == stepBegin && err != nil:
			return err
		}
	}
}

// receive waits for what the giver says next. Of one that says nothing for too long it is the end.
func (t *Taker) receive() (wire.Section, error) {
	if t.has && t.Silence > 0 {
		_ = t.Conn.SetDeadline(time.Now().Add(t.Silence)) // an open socket takes it
		err := t.Conn.Await()
		_ = t.Conn.SetDeadline(time.Time{})
		if errors.Is(err, os.ErrDeadlineExceeded) {
			t.Kill() // what lies in its socket comes first, then its end
		}
	}
	return t.Conn.Receive()
}

// do does what s asks for.
func (t *Taker) do(s, answer *step) error {
	switch s.Step {
	case stepBegin:
		return t.begin(s, answer)
	case stepPrepare:
		return t.prepare(s)
	case stepHold:
		return t.hold(s, answer)
	case stepGive:
		g, err := t.gate(s.Port)
		if err == nil {
			err = g.Give()
		}
		return err
	case stepBeat:
		if t.Alive == nil {
			return nil
		}
		return t.Alive()
	case stepSteer:
		return t.Steer()
	case stepPass:
		return t.Pass()
	case stepOpen:
		if err := t.Open(); err != nil {
			return err
		}
		answer.Ports = t.report(reportLimit)
		return nil
	case stepLeave:
		return t.Leave()
	case stepCommit:
		return t.End(t.take())
	case stepAbort:
		var err error
		if t.Counted != nil {
			answer.Told, err = t.Counted()
		}
		answer.Ports = t.report(0) // of ports that are not here any more
		return err
	}
	return fmt.Errorf("handover: step %q is not known", s.Step)
}

// take is what came since the last call.
func (t *Taker) take() []wire.Section {
	all := t.waiting
	t.waiting = nil
	return all
}

func (t *Taker) gate(name string) (*relay.Gate, error) {
	g := t.gates[name]
	if g == nil {
		return nil, fmt.Errorf("port %q: not one that began", name)
	}
	return g, nil
}

func (t *Taker) begin(s, answer *step) (err error) {
	if t.gates, err = t.Begin(t.take()); err != nil {
		return err
	}
	answer.Lanes = map[string][]int{}
	for name, g := range t.gates {
		if err := g.SetLanes(s.Lanes[name]); err != nil {
			return err
		}
		if answer.Lanes[name], err = g.Lanes(); err != nil {
			return err
		}
	}
	if t.Told != nil {
		answer.Told, err = t.Told()
	}
	return err
}

func (t *Taker) prepare(s *step) error {
	g, err := t.gate(s.Port)
	if err != nil {
		return err
	}
	state := t.take()
	if len(state) != 1 {
		for i := range state {
			state[i].Close()
		}
		return fmt.Errorf("port %s: %d sections of state", s.Port, len(state))
	}
	d, err := t.Restore(s.Port, state[0])
	if err != nil {
		return err
	}
	g.Enable(s.Enabled)
	g.Prepare(d)
	t.prepared[s.Port] = s.Running
	return nil
}

// hold takes a port; answer becomes the second one.
func (t *Taker) hold(s, answer *step) error {
	g, err := t.gate(s.Port)
	if err != nil {
		return err
	}
	want, ok := t.prepared[s.Port]
	if !ok {
		return fmt.Errorf("port %s: not prepared", s.Port)
	}
	if err := g.Hold(s.Limit); err != nil {
		return err
	}
	t.has = true // or soon: the giver passes it when it hears this
	if err := send(t.Conn, *answer); err != nil {
		return err // the connection says why, next time
	}
	answer.Step = stepTake
	if err := g.Take(s.Limit); err != nil {
		return err // it may be passed yet: what waits goes on waiting until the giver says what is to be
	}
	if now := t.Running(s.Port); now < want {
		return fmt.Errorf("port %s: %d rings ran, and %d do", s.Port, want, now)
	}
	return nil
}

// orphaned takes what is left of a giver that is gone.
func (t *Taker) orphaned(why error) error {
	if !closed(why) {
		return why // it may be alive: it takes back what it gave
	}
	errs := []error{ErrOrphaned}
	for name := range t.prepared {
		if _, err := t.gates[name].Seize(); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
