package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"baton/dataplane/worker"
	"baton/hostapi"
	"baton/upgrade/handover"
	"baton/upgrade/lease"
	"baton/upgrade/relay"
	"baton/upgrade/wire"
)

// standing is a process that waits for another one's death.
type standing struct {
	taking
	board   atomic.Pointer[lease.Board] // of the other process' workers
	workers int
	began   chan struct{}           // closed when board is known
	early   map[string]wire.Section // states of ports whose bindings have not come
	pulses  []uint64                // of the workers, as of when they last moved
	beaten  []bool                  // which have since they all had
	went    *succession             // nil until this process has gone on
}

// succession is what going on with the rings of a process that is dead found.
type succession struct {
	stale   map[string]bool
	begun   int64         // relay.Now
	took    time.Duration // until all rings were served
	steered chan error    // gets what became of the wire's traffic
}

// standBy has everything that the process at the other end of the socket has, and when that
// one is dead, goes on.
//
//	error: errCalledOff: the other process has ended as it should, and nothing is this one's
func (h *host) standBy(ctx context.Context, fd int) error {
	conn, parent, err := inherited(standbyFlag, fd)
	if err != nil {
		return err
	}
	t := &standing{began: make(chan struct{}), taking: taking{h: h, ctx: ctx, conn: conn, parent: parent, ports: map[string]*guestPort{}}, early: map[string]wire.Section{}}
	if _, err := conn.Accept(program(), known()); err != nil {
		return err
	}
	err = (&handover.Standby{
		Conn: conn, Begin: t.begin, Told: t.tell, Put: t.put, Drop: t.drop, Rules: t.rules, Dead: t.dead, Watch: t.watch,
		Moved: t.moves, Still: max(h.settings.Watchdog, 2*handover.BeatEvery), Kill: t.kill, Orphaned: t.goOn,
	}).Run()
	switch {
	case errors.Is(err, handover.ErrOrphaned) && t.went != nil:
		return t.succeed()
	case errors.Is(err, handover.ErrOrphaned), errors.Is(err, handover.ErrCalledOff):
		return errCalledOff
	}
	return err
}

// begin brings everything up but the ports.
func (t *standing) begin(all []wire.Section) error {
	h := t.h
	var set setup
	files, err := find(all, tagSetup, &set)
	if err != nil {
		return err
	}
	if len(files) != 3 {
		closeAll(files)
		return fmt.Errorf("%v: %d descriptors", tagSetup, len(files))
	}
	h.lock, t.api = os.NewFile(uintptr(files[1]), "lock"), os.NewFile(uintptr(files[2]), "api")
	f := os.NewFile(uintptr(files[0]), "leases")
	b, err := lease.Open(f)
	if err != nil {
		f.Close()
		return err
	}
	t.workers = set.Workers
	t.board.Store(b)
	close(t.began)
	return t.bringUp(&set, all)
}

func closeAll(files []int) {
	for _, fd := range files {
		unix.Close(fd)
	}
}

// put makes a port's device, or another one in its place.
func (t *standing) put(name string, sec wire.Section) error {
	if was, ok := t.early[name]; ok {
		was.Close()
		delete(t.early, name)
	}
	if _, ok := t.h.pipe.Snapshot().Binding(name); !ok {
		t.early[name] = sec // the other process makes ports before it says what they are for
		return nil
	}
	was := t.ports[name]
	d, err := t.restore(name, sec)
	if err != nil {
		return err
	}
	pool := t.h.pool
	if was == nil {
		return pool.AddPort(d, worker.PortOptions{}) // its flows are cut off when it takes over
	}
	if err := pool.ReplacePort(name, d); err != nil {
		return err
	}
	if was.handed != nil {
		unix.Close(was.handed.FD)
	}
	return was.device.Close()
}

func (t *standing) drop(name string) error {
	if sec, ok := t.early[name]; ok {
		sec.Close()
		delete(t.early, name)
	}
	if t.ports[name] != nil {
		delete(t.ports, name)
		t.h.guests.remove(name)
	}
	return nil
}

// rules puts all rules in the place of those that are there, and makes the ports that waited for
// them.
func (t *standing) rules(sec wire.Section) error {
	if err := t.h.agent.Import(sec.Payload); err != nil {
		return err
	}
	early := t.early
	t.early = map[string]wire.Section{}
	for name, sec := range early {
		if err := t.put(name, sec); err != nil {
			return err
		}
	}
	return nil
}

// dead reports whether all workers of the other process are.
func (t *standing) dead() bool {
	b := t.board.Load()
	if b == nil {
		return false
	}
	for i := range t.workers {
		if b.State(i).Holder != 0 {
			return false
		}
	}
	return true
}

// moves reports whether all workers of the other process have done something since it last did.
func (t *standing) moves() bool {
	b := t.board.Load()
	if b == nil {
		return true // there are none yet
	}
	if t.pulses == nil {
		t.pulses, t.beaten = make([]uint64, t.workers), make([]bool, t.workers)
	}
	for i := range t.pulses {
		now := b.Pulse(i).Load()
		t.beaten[i] = t.beaten[i] || now != t.pulses[i]
		t.pulses[i] = now
	}
	if slices.Contains(t.beaten, false) {
		return false
	}
	clear(t.beaten)
	return true
}

// watch waits for that. Of a process that dies before it has told of its workers the end of its
// socket tells.
func (t *standing) watch(stop <-chan struct{}) {
	select {
	case <-stop:
		return
	case <-t.began:
	}
	const look = 100 * time.Millisecond
	b := t.board.Load()
	for i := 0; i < t.workers; {
		select {
		case <-stop:
			return
		default:
			if b.Wait(i, look).Holder == 0 {
				i++
			}
		}
	}
}

// kill ends the other process, which is stuck.
func (t *standing) kill() {
	t.h.loggers.root.Error("the process that forwards is stuck: it is killed", "watchdog", t.h.settings.Watchdog)
	t.killParent()
}

// stale are the ports that had changed, or whose front end had said something that was not yet
// answered, when the other process died, and this one was not told.
func (t *standing) stale() map[string]bool {
	all := map[string]bool{}
	for name, p := range t.ports {
		if !p.copied.last(t.board.Load()) {
			all[name] = true
		}
	}
	return all
}

// forget removes ports that this process does not go on with: they are made anew, and their front
// ends connect again.
func (t *standing) forget(stale map[string]bool) error {
	for name := range stale {
		t.h.loggers.root.Warn("its VM was just being connected or changed when the process died: its session begins anew", "port", name)
		if err := t.drop(name); err != nil {
			return err
		}
	}
	return nil
}

// goOn serves the rings of the process that is dead.
func (t *standing) goOn() {
	s := &succession{begun: relay.Now(), steered: make(chan error, 1)}
	t.went = s
	t.valve.Hold()
	// What moves the wire's traffic may wait for others, as a bridge's kernel lock is everybody's; the
	// VMs do not wait for it.
	go func() {
		defer relay.Urgent()()
		s.steered <- t.h.under.take(t.h.under.which)
	}()
	// The workers' CPUs are idle until a ring goes on: the others are taken by what is dying.
	var idle unix.CPUSet
	for _, cpu := range t.h.settings.Workers.CPUs {
		idle.Set(cpu)
	}
	if end, err := among(&idle); err == nil { // elsewhere it takes longer
		defer func() { _ = end() }() // where it was it may be
	}
	// First all can receive, then they send.
	s.stale = t.stale()
	for name, p := range t.ports {
		if !s.stale[name] {
			p.device.ResumeLostReceive()
		}
	}
	t.valve.Open()
	for name, p := range t.ports {
		if !s.stale[name] {
			p.device.ResumeLost()
		}
	}
	t.h.pool.Wake()
	s.took = time.Duration(relay.Now() - s.begun)
}

// succeed does the rest, once this process has gone on in the place of the one that is dead.
func (t *standing) succeed() error {
	s := t.went
	if err := <-s.steered; err != nil {
		t.h.loggers.root.Error("the wire's traffic does not come here", "error", err)
	}
	t.h.loggers.root.Warn("the process that forwarded is dead: this one goes on", "ports", len(t.ports), "took", s.took,
		"wire_took", time.Duration(relay.Now()-s.begun))
	if err := t.forget(s.stale); err != nil {
		return err
	}
	for _, sec := range t.early { // their bindings went with that process: the controller tells of them
		sec.Close()
	}
	t.h.upgrader.last = inheritance(hostapi.UpgradeTakeover, program(), time.Now().Add(-s.took), t.moved())
	t.h.upgrader.last.TotalS = s.took.Seconds()
	if err := t.board.Load().Close(); err != nil {
		t.h.loggers.root.Warn("the leases of the process that is dead", "error", err)
	}
	t.bury()
	if err := t.own(); err != nil {
		return err
	}
	go t.farewell()
	return nil
}
