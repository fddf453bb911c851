package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"

	"baton/upgrade/handover"
	"baton/upgrade/wire"
	"baton/vhost/proto"
)

// keeper keeps a standby of this process, and starts another one when it is gone.
//
//	conc: safe
type keeper struct {
	h   *host
	log hclog.Logger

	wake chan struct{} // cap 1: something is dirty

	mu     sync.Mutex         // guards what follows
	ports  map[string]bool    // whose state has changed
	rules  bool               // have changed
	state  string             // for people
	cancel context.CancelFunc // nil: it does not run
	done   chan struct{}
}

// How long the keeper waits before it starts the next standby: doubled from one to the other
// while they die at once.
const (
	minRestart = time.Second
	maxRestart = 30 * time.Second
)

// States of a standby, as hostapi.Stats tells them.
const (
	standbyNone     = "none"
	standbyStarting = "starting"
	standbyReady    = "ready"
)

func newKeeper(h *host) *keeper {
	return &keeper{h: h, log: h.loggers.part("standby"), wake: make(chan struct{}, 1), ports: map[string]bool{}, state: standbyNone}
}

// portChanged notes that a port came, went, or has another state; rulesChanged that rules have.
func (k *keeper) portChanged(name string) {
	k.mu.Lock()
	k.ports[name] = true
	k.mu.Unlock()
	k.signal()
}

func (k *keeper) rulesChanged() {
	k.mu.Lock()
	k.rules = true
	k.mu.Unlock()
	k.signal()
}

func (k *keeper) signal() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// take is what has changed since the last call; all is everything that is there.
func (k *keeper) take(all bool) (ports []string, rules bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for name := range k.ports {
		ports = append(ports, name)
	}
	rules = k.rules
	clear(k.ports)
	k.rules = false
	if all {
		ports = nil
		for _, p := range k.h.guests.list() {
			ports = append(ports, p.binding.Name)
		}
	}
	return ports, rules
}

// start keeps a standby from now on, if the configuration asks for one.
func (k *keeper) start() {
	if !k.h.settings.Standby {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.cancel != nil {
		return
	}
	var ctx context.Context
	ctx, k.cancel = context.WithCancel(context.Background())
	k.done = make(chan struct{})
	go k.run(ctx, k.done)
}

// stop ends the standby, and returns when it is gone.
func (k *keeper) stop() {
	k.mu.Lock()
	cancel, done := k.cancel, k.done
	k.cancel = nil
	k.mu.Unlock()
	if cancel != nil {
		cancel()
		<-done
	}
}

// now is the standby's state.
func (k *keeper) now() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.state
}

func (k *keeper) set(state string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.state = state
}

// run is the keeper's goroutine.
func (k *keeper) run(ctx context.Context, done chan<- struct{}) {
	defer close(done)
	defer k.set(standbyNone)
	for wait := minRestart; ctx.Err() == nil; wait = min(2*wait, maxRestart) {
		k.set(standbyStarting)
		begun := time.Now()
		err := k.keep(ctx)
		if ctx.Err() != nil {
			return
		}
		if time.Since(begun) > maxRestart {
			wait = minRestart
		}
		k.log.Error("no standby: a crash now interrupts all VMs until batond is started again", "error", err, "next_try", wait)
		k.set(standbyNone)
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// keep starts a standby and tells it what changes, until it is gone or ctx ends.
func (k *keeper) keep(ctx context.Context) error {
	binary, err := ownBinary()
	if err != nil {
		return err
	}
	c, err := k.h.startChild(binary, standbyFlag)
	if err != nil {
		return err
	}
	defer c.conn.Close()
	if _, err := c.offer(ctx, k.h.settings); err != nil {
		return err
	}
	// One that is just starting is not waited for.
	stop := context.AfterFunc(ctx, func() { c.kill(false) })
	s := handover.NewKeeper(c.conn)
	told, err := k.begin(s)
	stop()
	if err == nil {
		defer k.announce(ctx, told)()
	}
	if err == nil {
		err = k.tell(ctx, s)
	}
	polite := err == nil
	if polite {
		polite = s.End() == nil
	}
	c.kill(polite)
	return err
}

// tell is the conversation with a standby that has begun.
//
//	error: nil if ctx ended it
func (k *keeper) tell(ctx context.Context, s *handover.Keeper) error {
	ports, rules := k.take(true)
	beat := time.NewTicker(handover.BeatEvery)
	defer beat.Stop()
	for ready := false; ; {
		if rules {
			if err := k.putRules(s); err != nil {
				return err
			}
		}
		if err := k.putAll(ctx, s, ports); err != nil {
			return err
		}
		if !ready {
			ready = true
			k.set(standbyReady)
			k.log.Info("the standby has everything", "ports", len(ports))
		}
		ports, rules = nil, false
		select {
		case <-ctx.Done():
			return nil
		case <-k.wake:
			ports, rules = k.take(false)
		case <-beat.C:
			if err := s.Beat(); err != nil {
				return err
			}
		}
	}
}

// begin gives a standby what it needs before any port.
//
//	out: what it tells of itself
func (k *keeper) begin(s *handover.Keeper) (json.RawMessage, error) {
	listener, err := k.h.api.Listener()
	if err != nil {
		return nil, err
	}
	defer listener.Close()
	rules, err := k.h.agent.Export()
	if err != nil {
		return nil, err
	}
	set := k.h.setup()
	set.Workers = len(k.h.settings.Workers.CPUs)
	first, err := section(tagSetup, set, rawFD(k.h.board.File()), rawFD(k.h.lock), rawFD(listener))
	if err != nil {
		return nil, err
	}
	all := []wire.Section{first, {Tag: tagRules, Payload: rules}}
	if all, err = k.h.settings.addPair(all); err != nil {
		return nil, err
	}
	return s.Begin(all...)
}

// putRules tells the standby of all rules.
func (k *keeper) putRules(s *handover.Keeper) error {
	all, err := k.h.agent.Export()
	if err == nil {
		err = s.Rules(wire.Section{Tag: tagRules, Payload: all})
	}
	return err
}

// putAll tells the standby of ports, of those that are gone too.
func (k *keeper) putAll(ctx context.Context, s *handover.Keeper, ports []string) error {
	for _, name := range ports {
		if ctx.Err() != nil {
			return nil
		}
		p := k.h.guests.port(name)
		if p == nil {
			if err := s.Drop(name); err != nil {
				return err
			}
			continue
		}
		if err := k.put(s, p); err != nil {
			return fmt.Errorf("port %s: %w", name, err)
		}
	}
	return nil
}

// put tells the standby of a port.
func (k *keeper) put(s *handover.Keeper, p *guestPort) error {
	connector := k.h.guests.connectorOf(p)
	if connector == nil {
		return errors.New("it is being handed over")
	}
	of := k.h.guests.marks.copyOf(p.binding.Name)
	shared, err := connector.Share()
	if err != nil {
		return err
	}
	d := p.device.State()
	if shared != nil {
		defer unix.Close(shared.FD)
		shared.State = proto.State{ProtocolFeatures: d.Protocol}
	}
	sec, err := deviceSection(p.binding.Name, shared, d, of)
	if err != nil {
		return err
	}
	return s.Put(p.binding.Name, sec)
}
