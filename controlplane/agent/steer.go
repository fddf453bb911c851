package agent

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"baton/controlplane/openflow"
	"baton/dataplane/flow"
)

// VTEP is a tunnel end point of the host.
type VTEP struct {
	IP        uint32 // IPv4, host order
	MAC       flow.MAC
	Alternate bool // the second one of a pair: the Host object's alternate
}

// steering is a session's request that is not answered yet.
type steering struct {
	mu     sync.Mutex
	xid    uint32 // of the last one
	answer chan *openflow.SteerReply
}

// ask is a new request's number, and where its answer comes. Nobody waits for the one before.
func (s *steering) ask() (xid uint32, answer <-chan *openflow.SteerReply) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.xid++
	s.answer = make(chan *openflow.SteerReply, 1)
	return s.xid, s.answer
}

func (s *steering) answered(xid uint32, r *openflow.SteerReply) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.answer != nil && xid == s.xid {
		s.answer <- r
		s.answer = nil
	}
}

// steerRetry is how long to wait for a session, or for the next one.
const steerRetry = 20 * time.Millisecond

// Steer tells the controller of a VTEP of the host, of a pair: other hosts are to take what comes
// from it and, with use, send to it. It returns when they all do. With use, it is what each later
// session begins with, whether that has come so far or not. Calls wait for one another.
//
//	error: the controller cannot be reached until ctx ends, or why not all hosts have answered
func (a *Agent) Steer(ctx context.Context, v VTEP, use bool) error {
	select {
	case a.turn <- struct{}{}:
		defer func() { <-a.turn }()
	case <-ctx.Done():
		return fmt.Errorf("the controller has not answered what was asked before: %w", context.Cause(ctx))
	}
	if use {
		a.mu.Lock()
		if v.IP != a.vtep.IP {
			a.otherIP = a.vtep.IP
		}
		a.vtep = v
		a.mu.Unlock()
	}
	for {
		s, why := a.now()
		if s != nil {
			again, err := s.steerTo(ctx, v, use)
			if !again {
				return err
			}
			why = err
		}
		if !sleep(ctx, steerRetry) {
			return fmt.Errorf("no session with a controller, which would tell the other hosts where to send: %w", why)
		}
	}
}

// now is the session there is; nil, and why there is none.
func (a *Agent) now() (*session, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.session != nil:
		return a.session, nil
	case len(a.endpoints) == 0:
		return nil, errors.New("no controllers are configured")
	case a.status.LastError == "":
		return nil, errors.New("none has answered yet")
	}
	return nil, errors.New(a.status.LastError)
}

// Reachable says why Steer would fail at once; nil: there is a session.
func (a *Agent) Reachable() error {
	s, err := a.now()
	switch {
	case s == nil:
		return fmt.Errorf("no session with a controller, which would tell the other hosts where to send: %w", err)
	case !s.steers:
		return errTooOld
	}
	return nil
}

var errTooOld = errors.New("the controller is of a version that does not steer: upgrade it first")

// steerTo asks the session's controller; again says that there may be another session.
func (s *session) steerTo(ctx context.Context, v VTEP, use bool) (again bool, err error) {
	if !s.steers {
		return false, errTooOld
	}
	xid, answer := s.steer.ask()
	s.send(&openflow.Message{Xid: xid, Body: &openflow.Message_SteerRequest{SteerRequest: &openflow.SteerRequest{
		VtepMac: append([]byte(nil), v.MAC[:]...), VtepIp: v.IP, Alternate: v.Alternate, Use: use}}})
	select {
	case r := <-answer:
		if r.GetProblem() != "" {
			return false, errors.New(r.Problem)
		}
		return false, nil
	case <-s.ctx.Done():
		return true, context.Cause(s.ctx)
	case <-ctx.Done():
		return false, fmt.Errorf("the controller does not say that all other hosts know where to send: %w", context.Cause(ctx))
	}
}
