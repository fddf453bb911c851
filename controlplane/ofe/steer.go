package ofe

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"baton/controlplane/model"
	"baton/controlplane/openflow"
	"baton/dataplane/flow"
)

// begin reports the session's host as connected, with what is known of its VTEPs: the one in use
// by its hello, of a pair the other one as before.
func (x *session) begin() {
	st := model.HostState{Connected: true, Version: x.hello.Software, Since: time.Now().UTC().Format(time.RFC3339)}
	if o := x.s.object(x.h.name); o != nil && x.hello.OtherIp != 0 {
		st.MAC, st.AlternateMAC = o.Status.MAC, o.Status.AlternateMAC
	}
	learn(&st, flow.MAC(x.hello.VtepMac), x.hello.AtAlternate, true)
	x.state = st
	x.s.status.put(x.h.name, &st)
}

// learn notes the MAC of a host's VTEP, and whether that one is in use now.
func learn(st *model.HostState, mac flow.MAC, alternate, use bool) {
	if alternate {
		st.AlternateMAC = mac
	} else {
		st.MAC = mac
	}
	if use {
		st.AtAlternate = alternate
	}
}

// maxSteers bounds the requests of a session that wait to be answered.
const maxSteers = 8

var errSuperseded = errors.New("the host has asked for something else meanwhile")

// steerRequested does what a request asks for, and answers it when all other hosts have it. The
// answer to the one before, if it is still due, is given up: a host that calls its traffic back
// need not wait for who does not answer. runReceive calls it.
func (x *session) steerRequested(xid uint32, ask *openflow.SteerRequest) {
	if x.steers.Add(1) > maxSteers {
		x.fail(fmt.Errorf("the host has more than %d requests to steer waiting", maxSteers))
		return
	}
	if x.former != nil {
		x.former(errSuperseded)
	}
	ctx, cancel := context.WithCancelCause(x.ctx)
	x.former = cancel
	want, err := x.steer(ask)
	x.s.wg.Go(func() {
		defer x.steers.Add(-1)
		defer cancel(nil)
		if err == nil {
			err = x.steered(ctx, want)
		}
		r := &openflow.SteerReply{}
		if err != nil {
			r.Problem = err.Error()
		}
		_ = x.send(&openflow.Message{Xid: xid, Body: &openflow.Message_SteerReply{SteerReply: r}}) // it fails with the session
	})
}

// steer reports what a request asks for as the host's status.
//
//	error: one line, with what to do; nothing has changed
func (x *session) steer(ask *openflow.SteerRequest) (model.HostState, error) {
	if len(ask.VtepMac) != 6 || flow.MAC(ask.VtepMac).IsMulticast() || flow.MAC(ask.VtepMac) == (flow.MAC{}) {
		return x.state, fmt.Errorf("host %q: its tunnel end point's MAC is %x: want one machine's", x.h.name, ask.VtepMac)
	}
	if err := x.mayUse(ask); err != nil {
		return x.state, err
	}
	learn(&x.state, flow.MAC(ask.VtepMac), ask.Alternate, ask.Use)
	st := x.state
	x.s.status.put(x.h.name, &st)
	return st, nil
}

// steered waits until all other hosts have what follows from the host's status.
//
//	error: one line, with what to do
func (x *session) steered(ctx context.Context, want model.HostState) error {
	ctx, stop := context.WithTimeoutCause(ctx, x.s.cfg.SteerTimeout, errNoAnswer)
	defer stop()
	err := x.s.cfg.Settled(ctx, x.h.name, func(h *model.Host) bool {
		return h.Status.MAC == want.MAC && h.Status.AlternateMAC == want.AlternateMAC && h.Status.AtAlternate == want.AtAlternate
	})
	if err != nil {
		return fmt.Errorf("the network's state cannot be written, or is not worked up: %w", err)
	}
	return x.s.waitOthers(ctx, x.h.name)
}

// mayUse holds a request against the host's object.
func (x *session) mayUse(ask *openflow.SteerRequest) error {
	if x.s.cfg.Settled == nil {
		return errors.New("this controller does not steer")
	}
	o, ip := x.s.object(x.h.name), address(ask.VtepIp)
	switch {
	case o == nil:
		return unknownHost(x.h.name)
	case !o.Alternate.IsValid():
		return fmt.Errorf("host %q has no alternate underlay address in the network: add `alternate:` to its Host object, with the address of underlay.alternate_address in batond's configuration", x.h.name)
	case ask.Alternate && ip != o.Alternate, !ask.Alternate && ip != o.Underlay.Addr:
		return fmt.Errorf("host %q has the underlay addresses %v and %v in the network, and %v is none of them in batond's configuration: make both the same", x.h.name, o.Underlay.Addr, o.Alternate, ip)
	}
	return nil
}

// waitOthers waits until all hosts but one have applied what was wanted when the call began. One
// that nobody has ever heard of is not waited for: no VM is there.
//
//	error: names the hosts that have not until ctx ends, or are not connected then
func (s *Server) waitOthers(ctx context.Context, but string) error {
	s.mu.Lock()
	others := slices.Collect(maps.Values(s.hosts))
	s.mu.Unlock()
	others = slices.DeleteFunc(others, func(h *host) bool { return h.name == but || s.unknown(h.name) })
	slices.SortFunc(others, func(a, b *host) int { return cmp.Compare(a.name, b.name) })
	late := make([]string, len(others))
	var wg sync.WaitGroup
	for i, h := range others {
		wg.Go(func() {
			if err := s.waitOther(ctx, h); err != nil {
				late[i] = err.Error()
			}
		})
	}
	wg.Wait()
	late = slices.DeleteFunc(late, func(s string) bool { return s == "" })
	if len(late) == 0 {
		return nil
	}
	return fmt.Errorf("%s; it would go on sending to the other address: bring it back, or delete it from the network", strings.Join(late, "; "))
}

// waitOther waits until a host has applied what was wanted when the call began.
func (s *Server) waitOther(ctx context.Context, h *host) error {
	if o := s.object(h.name); o != nil && o.Status.Connected && h.current() == nil {
		return fmt.Errorf("host %q has its session with another controller: to steer, all must be with one", h.name)
	}
	return h.waitInStep(ctx)
}

// unknown reports whether a host has never told of itself, to this controller or another.
func (s *Server) unknown(name string) bool {
	o := s.object(name)
	return o != nil && o.VTEPMAC() == (flow.MAC{}) && o.Status.AlternateMAC == (flow.MAC{})
}
