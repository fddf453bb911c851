package handover

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"sync"
	"time"

	"baton/upgrade/relay"
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
	// Orphaned goes on with the ports; it comes once, when Dead is so or the keeper's socket has
	// ended, after a Begin without error and no abort. No step (Begin, Told, Put, Drop, Rules) is
	// under way then, and none comes later; Dead and Moved may be called meanwhile. Mostly it is
	// called on Watch's thread, which others give way to: while it works nobody serves the guests,
	// and the keeper's other threads are dying on the same CPUs.
	Orphaned func()
	// Moved reports whether all the keeper's threads that touch rings have done something since
	// it last did. Still is how long they may not before Kill ends the keeper: it is stuck. A keeper
	// whose threads move may be silent for patience times as long.
	Moved func() bool
	Still time.Duration
	Kill  func()

	waiting []wire.Section
	moved   time.Time // when Moved last was so

	doing sync.Mutex // held while a step is done, and in Orphaned; guards what follows
	begun bool       // without an error
	over  bool       // no step is done any more, and Orphaned not called
	went  bool       // Orphaned has been called
}

// Run stands by until the keeper is dead or ends as it should.
//
//	error: ErrOrphaned: its workers are dead for certain, and all is this process', for which
//	Orphaned was called if there was anything; ErrCalledOff: nothing is
func (s *Standby) Run() error {
	s.moved = time.Now()
	stop := make(chan struct{})
	seen := make(chan struct{})
	go func() {
		defer close(seen)
		defer relay.Urgent()() // from now on: who has to be woken first to be urgent comes late
		s.Watch(stop)
		if s.Dead() {
			s.orphaned()
		}
		_ = s.Conn.SetDeadline(time.Unix(1, 0)) // wakes Receive; a closed one needs it not
	}()
	err := s.finish(s.run())
	close(stop)
	<-seen
	for i := range s.waiting {
		s.waiting[i].Close()
	}
	return err
}

// orphaned calls Orphaned, unless that was done or there is nothing to go on with.
func (s *Standby) orphaned() {
	s.doing.Lock()
	defer s.doing.Unlock()
	if s.begun && !s.over {
		s.over, s.went = true, true
		s.Orphaned()
	}
}

// finish is what Run returns when run has returned err.
func (s *Standby) finish(err error) error {
	if errors.Is(err, ErrOrphaned) {
		s.orphaned()
		return err
	}
	s.doing.Lock()
	defer s.doing.Unlock()
	s.over = true
	if s.went {
		return ErrOrphaned // who has gone on does not end for what came last
	}
	return err
}

func (s *Standby) run() error {
	for {
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
		answer, ok := s.answer(&q)
		if !ok {
			return ErrOrphaned
		}
		_ = s.Conn.SetDeadline(time.Now().Add(patience * s.Still))
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

// answer does a step; false if Orphaned was called.
func (s *Standby) answer(q *step) (answer step, ok bool) {
	s.doing.Lock()
	defer s.doing.Unlock()
	if s.over {
		return answer, false
	}
	answer = step{Step: q.Step, Port: q.Port}
	err := s.do(q)
	if err == nil && q.Step == stepBegin && s.Told != nil {
		answer.Told, err = s.Told()
	}
	switch {
	case err != nil:
		answer.Error = err.Error()
	case q.Step == stepBegin:
		s.begun = true
	case q.Step == stepAbort:
		s.over = true // the keeper's workers end, and are not dead
	}
	return answer, true
}

// patience is how much longer a keeper may be silent than its threads may stand still: what is
// silent may be short of CPU, or be told to make a thousand ports, while packets pass.
const patience = 10

// receive waits for a section until the keeper is dead or counts as stuck; then the error is that
// of a deadline. What lies in the socket comes first, however late this process looks.
func (s *Standby) receive() (wire.Section, error) {
	for heard := time.Now(); ; {
		now := time.Now()
		if s.Moved() {
			s.moved = now
		}
		_ = s.Conn.SetDeadline(now.Add(min(BeatEvery, s.Still/4)))
		// Looked at now: the deadline may just have hidden Watch's.
		if s.Dead() || now.Sub(s.moved) > s.Still || now.Sub(heard) > patience*s.Still {
			return wire.Section{}, os.ErrDeadlineExceeded
		}
		err := s.Conn.Await()
		if err == nil {
			_ = s.Conn.SetDeadline(time.Now().Add(patience * s.Still))
			return s.Conn.Receive()
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return wire.Section{}, err
		}
	}
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
