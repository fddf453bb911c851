package handover

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"time"

	"baton/upgrade/wire"
)

// Standby waits for the death of the process that keeps it.
type Standby struct {
	Conn *wire.Conn
	// Begin gets what the keeper began with; Put a port, or its new state; Rules all of them. The
	// sections' descriptors are their own. A port that cannot be taken is reported to the keeper.
	Begin func([]wire.Section) error
	// Told is what the keeper's Begin returns; nil: nothing.
	Told  func() (json.RawMessage, error)
	Put   func(name string, state wire.Section) error
	Drop  func(name string) error
	Rules func(wire.Section) error
	// Dead reports whether no thread of the keeper that touches a ring is alive any more; Watch
	// returns when that may be so, and at the latest when stop is closed.
	Dead  func() bool
	Watch func(stop <-chan struct{})
	// Silence is how long the keeper may be silent before Kill ends it: it is stuck.
	Silence time.Duration
	Kill    func()

	waiting []wire.Section
}

// Run stands by until the keeper is dead or ends as it should.
//
//	error: ErrOrphaned: its workers are dead for certain, and all is this process';
//	ErrCalledOff: nothing is
func (s *Standby) Run() error {
	stop := make(chan struct{})
	seen := make(chan struct{})
	go func() {
		defer close(seen)
		s.Watch(stop)
		_ = s.Conn.SetDeadline(time.Unix(1, 0)) // wakes Receive; a closed one needs it not
	}()
	err := s.run(seen)
	close(stop)
	<-seen
	for i := range s.waiting {
		s.waiting[i].Close()
	}
	return err
}

func (s *Standby) run(seen <-chan struct{}) error {
	for {
		select {
		case <-seen: // a deadline that was set later hides that
		default:
			_ = s.Conn.SetDeadline(time.Now().Add(s.Silence))
		}
		if s.Dead() {
			return ErrOrphaned
		}
		sec, err := s.receive()
		if err != nil {
			return s.end(err)
		}
		q, ok, err := parse(&sec)
		if !ok {
			s.waiting = append(s.waiting, sec)
			continue
		}
		sec.Close()
		if err != nil {
			return err
		}
		answer := step{Step: q.Step, Port: q.Port}
		err = s.do(&q)
		if err == nil && q.Step == stepBegin && s.Told != nil {
			answer.Told, err = s.Told()
		}
		if err != nil {
			answer.Error = err.Error()
		}
		_ = s.Conn.SetDeadline(time.Now().Add(s.Silence))
		if err := send(s.Conn, answer); err != nil {
			return s.end(err)
		}
		switch {
		case q.Step == stepAbort:
			return ErrCalledOff
		case q.Step == stepBegin && answer.Error != "":
			return errors.New(answer.Error)
		}
	}
}

// lastLook is how long a keeper that seems silent is listened to once more: it may be this
// process that had no CPU, and what it has not heard lies in the socket.
const lastLook = BeatEvery

// receive waits for a section until the keeper counts as stuck.
func (s *Standby) receive() (wire.Section, error) {
	sec, err := s.Conn.Receive()
	if err == nil || !errors.Is(err, os.ErrDeadlineExceeded) || s.Dead() {
		return sec, err
	}
	_ = s.Conn.SetDeadline(time.Now().Add(lastLook))
	return s.Conn.Receive()
}

// end makes sure that the keeper is dead.
func (s *Standby) end(why error) error {
	if closed(why) {
		return ErrOrphaned
	}
	if !s.Dead() && errors.Is(why, os.ErrDeadlineExceeded) {
		s.Kill()
	}
	for !s.Dead() {
		// The end of its socket is proof as well.
		_ = s.Conn.SetDeadline(time.Now().Add(time.Millisecond))
		if sec, err := s.Conn.Receive(); err == nil {
			sec.Close()
		} else if closed(err) {
			break
		}
	}
	return ErrOrphaned
}

// closed reports whether err says that the other process has no descriptor of its end any more.
func closed(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || gone(err)
}

func (s *Standby) do(q *step) error {
	all := s.waiting
	s.waiting = nil
	switch q.Step {
	case stepBegin:
		return s.Begin(all)
	case stepPut, stepRules:
		if len(all) == 1 {
			if q.Step == stepPut {
				return s.Put(q.Port, all[0])
			}
			return s.Rules(all[0])
		}
	}
	for i := range all {
		all[i].Close()
	}
	switch q.Step {
	case stepDrop:
		return s.Drop(q.Port)
	case stepBeat, stepAbort:
		return nil
	}
	return errors.New("handover: a step that is not known, or not one section with it: " + q.Step)
}
