package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"baton/controlplane/agent"
	"baton/dataplane/flow"
	"baton/upgrade/relay"
	"baton/upgrade/wire"
)

// With underlay.alternate_address the host has a pair of VTEPs, one at each device, which its
// processes use by turns. Nothing moves then but what other hosts send to: they take what comes
// from either all the time, and the controller tells them, when an upgrade has come to its step
// steer, to send to the new process' one.
//
//	giver                        controller               other hosts, each by itself
//	  | that one will send      >  | accept it, too      > |
//	  | <                    all do | <                      |
//	  |  ports move                                        |
//	  | that one is in use      >  | send there          > | to the old one until it is told
//	  |  rounds: see settle                                |
//	  | <                    all do | <                      | to the new one from then on

// pair reports whether each device has a VTEP of its own.
func (s *settings) pair() bool { return s.Underlay.AlternateAddress != "" }

// addressOf is the address with prefix of the VTEP at a device.
func (s *settings) addressOf(which int) (netip.Prefix, error) {
	p, err := s.address()
	if err != nil || which == 0 || !s.pair() {
		return p, err
	}
	a, err := netip.ParseAddr(s.Underlay.AlternateAddress)
	if err != nil || !a.Is4() {
		return netip.Prefix{}, fmt.Errorf("underlay.alternate_address: %q is not an IPv4 address alone, such as 192.168.100.2: its prefix is that of underlay.address", s.Underlay.AlternateAddress)
	}
	second := netip.PrefixFrom(a, p.Bits())
	switch {
	case a == p.Addr():
		return p, fmt.Errorf("underlay.alternate_address: %v is underlay.address: give the second device one of its own, or leave it out", a)
	case !p.Contains(a) || isEdge(second):
		return p, fmt.Errorf("underlay.alternate_address: %v is no machine's address in %v, the subnet of underlay.address: give it one there", a, p.Masked())
	}
	return second, nil
}

// checkPair holds the keys of a pair against the others.
func (s *settings) checkPair() (errs []error) {
	u := &s.Underlay
	if u.Alternate == "" {
		errs = append(errs, errors.New("underlay.alternate_address: it is that of underlay.alternate, a second device, which is not set"))
	}
	if len(u.BridgePorts) > 0 || u.BridgeNetns != "" {
		errs = append(errs, errors.New("underlay.bridge_ports, bridge_netns: they move one tunnel end point between the devices, and with underlay.alternate_address each has its own: leave one of the two out"))
	}
	if len(s.Controllers) == 0 {
		errs = append(errs, errors.New("underlay.alternate_address: it needs controllers, which tell other hosts which of the two to send to"))
	}
	if _, err := s.address(); err == nil { // else that was said
		if _, err := s.addressOf(1); err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

// otherIP is the address of a pair that is not device which's, in host order; 0: no pair.
func (s *settings) otherIP(which int) uint32 {
	if !s.pair() {
		return 0
	}
	p, err := s.addressOf(1 - which)
	if err != nil {
		return 0 // the configuration was checked
	}
	return flow.IPv4(p.Addr())
}

// tunnel is the VTEP as the agent tells of it.
func (u *underlay) tunnel() agent.VTEP {
	c := u.vtep.Config()
	return agent.VTEP{IP: u.vtep.IP(), MAC: c.MAC, Alternate: u.pair && u.which == 1}
}

// pairState is what a process says of its pair to the one that follows it.
type pairState struct {
	Address   string `json:"address"` // with prefix
	Alternate string `json:"alternate"`
}

func (s *settings) pairState() pairState {
	return pairState{s.Underlay.Address, s.Underlay.AlternateAddress}
}

// addPair adds the section of a pair, if there is one.
func (s *settings) addPair(all []wire.Section) ([]wire.Section, error) {
	if !s.pair() {
		return all, nil
	}
	sec, err := section(tagPair, s.pairState())
	return append(all, sec), err
}

// samePair holds what another process says of its pair against the settings: the other hosts know
// the two addresses, and the devices that they are at.
func (s *settings) samePair(all []wire.Section) error {
	var runs pairState
	if _, err := payload(all, tagPair); err == nil {
		if _, err := find(all, tagPair, &runs); err != nil {
			return err
		}
	}
	switch want := s.pairState(); {
	case runs.Alternate == want.Alternate && (!s.pair() || runs == want):
		return nil
	case runs.Alternate == "":
		return fmt.Errorf("underlay.alternate_address: %s is configured, and none runs: an upgrade does not change that: restart batond once", want.Alternate)
	case !s.pair():
		return fmt.Errorf("underlay.alternate_address: none is configured, and %s runs: an upgrade does not change that", runs.Alternate)
	default:
		return fmt.Errorf("underlay.address, underlay.alternate_address: %s and %s are configured, and %s and %s run: an upgrade does not change that", want.Address, want.Alternate, runs.Address, runs.Alternate)
	}
}

// tell is what the giver's ready gets: the MAC of this process' VTEP.
func (t *taking) tell() (json.RawMessage, error) {
	if !t.h.under.pair {
		return nil, nil
	}
	return json.Marshal(t.h.under.tunnel())
}

// steerLimit is how long the controller and the other hosts may take to learn of a VTEP: a little
// more than the controller itself gives the hosts, so that it can say which it waits for.
const steerLimit = 10 * time.Second

// recallLimit is how long the new process goes on for hosts that do not send here again: those
// that answer do at once, and one that does not was most likely never told to send there.
const recallLimit = 3 * time.Second

// steerTo has other hosts take what comes from v, with use send to it.
func (h *host) steerTo(ctx context.Context, limit time.Duration, v agent.VTEP, use bool) error {
	ctx, stop := context.WithTimeoutCause(ctx, limit, fmt.Errorf("it took more than %v", limit))
	defer stop()
	if err := h.agent.Steer(ctx, v, use); err != nil {
		return fmt.Errorf("underlay.alternate_address: %w", err)
	}
	return nil
}

// checkSteer says why other hosts could not be told where to send.
func (h *host) checkSteer() error {
	if !h.settings.pair() {
		return nil
	}
	if err := h.agent.Reachable(); err != nil {
		return fmt.Errorf("underlay.alternate_address: %w", err)
	}
	return nil
}

// announce has other hosts take what the standby would send, so that they do at once when it goes
// on. It tries until that is so, or stop is called, which waits for its end.
func (k *keeper) announce(ctx context.Context, told json.RawMessage) (stop func()) {
	if !k.h.settings.pair() {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		var v agent.VTEP
		err := json.Unmarshal(told, &v)
		for said := false; err == nil; said = true {
			bad := k.h.steerTo(ctx, steerLimit, v, false)
			if bad == nil || ctx.Err() != nil {
				return
			}
			if !said {
				k.log.Warn("not all other hosts take what the standby would send: it is tried until they do", "error", bad)
			}
			select {
			case <-ctx.Done():
			case <-time.After(maxRestart):
			}
		}
		k.log.Error("the standby's tunnel end point", "error", err)
	}()
	return func() { cancel(); <-done }
}

// ready has other hosts take what the new process is going to send.
func (g *giving) ready(ctx context.Context, told json.RawMessage) error {
	if err := json.Unmarshal(told, &g.other); err != nil {
		return fmt.Errorf("the new process' tunnel end point: %w", err)
	}
	return g.h.steerTo(ctx, steerLimit, g.other, false)
}

// settle returns when all that had come to this process' NIC before has crossed to the new one.
func (g *giving) settle(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(drainQuiet): // what is on the wire
	}
	if err := errors.Join(g.h.pool.Round(ctx), g.h.pool.Barrier(ctx, 0)); err != nil {
		return err
	}
	for begun := time.Now(); ; {
		err := g.area.Drained(relay.First, drainLook)
		if err == nil || time.Since(begun) > drainSettle {
			return err
		}
		select {
		case <-g.child.exited:
			return errors.New("the new process has died: the log has its last lines")
		default:
		}
	}
}

// drainSettle is how long the new process may take for what crosses to it; drainLook how often it
// is looked whether it is there at all.
const (
	drainSettle = 2 * time.Second
	drainLook   = 20 * time.Millisecond
)

// sendAway has other hosts send to the new process' VTEP, and returns when all do. Each turns by
// itself: what it has sent to the new VTEP waits there until what it had sent before, to this one,
// has crossed; so it comes in order however long the others take, or the controller's answer.
func (g *giving) sendAway(ctx context.Context, pass func() error) error {
	ctx, cancel := context.WithCancel(ctx)
	told := make(chan error, 1)
	go func() { told <- g.h.steerTo(ctx, steerLimit, g.other, true) }()
	for {
		select {
		case err := <-told:
			cancel()
			return err
		default:
		}
		err := g.round(ctx, pass)
		if err != nil {
			cancel()
			<-told // which says no more than that
			return err
		}
	}
}

// round lets go on at the new process what had come there by the last one.
func (g *giving) round(ctx context.Context, pass func() error) error {
	err := g.settle(ctx)
	if err == nil {
		err = pass()
	}
	g.unfit = err != nil && ctx.Err() == nil
	return err
}

// recallPair has other hosts send here again, while the new process gives on what still comes to it.
func (g *giving) recallPair(pass, open, _ func() error) {
	ctx := context.Background()
	for range 2 { // what waits there goes on behind what had come here
		if g.unfit || g.round(ctx, pass) != nil {
			return // it is ended first, and they are told then
		}
	}
	if open() != nil {
		return
	}
	g.back = true
	if err := g.h.steerTo(ctx, recallLimit, g.h.under.tunnel(), true); err != nil { // no reason not to go on with who does
		g.h.loggers.root.Error("not all other hosts are known to send here again", "error", err)
	}
	for range 2 {
		if g.round(ctx, pass) != nil {
			return
		}
	}
}

// callBack has other hosts send here again when the new process is gone. It does not wait: the
// VMs' sessions do.
func (g *giving) callBack() {
	if g.back {
		return
	}
	go func() {
		if err := g.h.steerTo(context.Background(), steerLimit, g.h.under.tunnel(), true); err != nil {
			g.h.loggers.root.Error("other hosts go on sending to the new process, which is gone, until the controller tells them", "error", err)
		}
	}()
}
