package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"baton/dataplane/worker"
	"baton/hostapi"
	"baton/upgrade/handover"
	"baton/upgrade/relay"
	"baton/upgrade/wire"
	"baton/vhost/netdev"
	"baton/vhost/proto"
)

// taking is a process that takes over from another one.
type taking struct {
	h     *host
	conn  *wire.Conn
	ctx   context.Context
	area  *relay.Area
	link  *relay.Link
	valve *relay.Valve
	gates map[string]*relay.Gate
	ports map[string]*guestPort // restored
	api   *os.File              // the listener
	told  counters

	from   string // the program that gives
	parent int    // process descriptor of the process that was here

	beats []worker.Beat // of the last look at the workers
	alive time.Time     // when they had all moved
}

// errCalledOff ends a process that got nothing.
var errCalledOff = errors.New("nothing was taken over")

// takeOver does what start does, with what another process gives by the socket.
//
//	error: errCalledOff: nothing is this process'. Any other: the other process may take back
//	what it gave at any moment, so that this one must end at once
func (h *host) takeOver(ctx context.Context, fd int) error {
	conn, parent, err := inherited(takeoverFlag, fd)
	if err != nil {
		return err
	}
	t := &taking{h: h, ctx: ctx, conn: conn, parent: parent, ports: map[string]*guestPort{}}
	from, err := t.conn.Accept(program(), known())
	if err != nil {
		return err
	}
	t.from = from.Program
	log := h.loggers.root
	log.Info("taking over", "from", from.Program)
	err = (&handover.Taker{
		Conn: t.conn, Begin: t.begin, Told: t.tell, Counted: t.counted, Restore: t.restore, Running: t.running, Steer: t.steer, Pass: t.pass, Open: t.open, Leave: t.leave, End: t.end,
		Alive: t.stuck, Kill: t.killGiver, Silence: handover.GiverSilence,
	}).Run()
	switch {
	case errors.Is(err, handover.ErrOrphaned):
		log.Warn("the process that was here is gone: going on with what it gave", "ports", len(t.ports), "error", err)
		return t.orphaned()
	case errors.Is(err, handover.ErrCalledOff):
		return errCalledOff
	case err != nil:
		return err
	}
	go t.farewell()
	return nil
}

// begin brings everything up but the ports.
func (t *taking) begin(all []wire.Section) (map[string]*relay.Gate, error) {
	h, s := t.h, t.h.settings
	var set setup
	files, err := find(all, tagSetup, &set)
	if err != nil {
		return nil, err
	}
	if len(files) < 3 {
		return nil, fmt.Errorf("%v: %d descriptors", tagSetup, len(files))
	}
	n := len(files) - 2
	h.lock, t.api = os.NewFile(uintptr(files[n]), "lock"), os.NewFile(uintptr(files[n+1]), "api")
	if t.area, err = relay.Open(set.Shape, files[:n]); err != nil {
		return nil, err
	}
	if want := set.Shape.Workers[relay.Second]; want != len(s.Workers.CPUs) {
		return nil, fmt.Errorf("workers.cpus: %d workers are configured, and %d run: an upgrade does not change that", len(s.Workers.CPUs), want)
	}
	if err := t.bringUp(&set, all); err != nil {
		return nil, err
	}
	err = t.gate(&set)
	return t.gates, err
}

// bringUp starts what a process needs besides ports, on the device that is not in use, which
// the wire's traffic does not come to.
func (t *taking) bringUp(set *setup, all []wire.Section) (err error) {
	h, s := t.h, t.h.settings
	if set.Host != s.Host {
		return fmt.Errorf("host: %s is configured, and %s runs", s.Host, set.Host)
	}
	which := 0
	if set.Device == s.Underlay.Device {
		which = 1
	}
	if s.device(which) == "" {
		return fmt.Errorf("underlay.alternate: not set, and %s is in use", set.Device)
	}
	if err := s.samePair(all); err != nil {
		return err
	}
	if h.under, err = openUnderlay(s, which, h.cpus.lcore, h.loggers.part("dpdk")); err != nil {
		return err
	}
	t.valve = relay.NewValve(h.under.nic)
	if err := h.startWorkers(t.ctx, t.valve, set); err != nil {
		return err
	}
	h.guests.freeze(true)
	tls, err := s.loadTLS()
	if err == nil {
		err = h.newAgent(tls)
	}
	if err != nil {
		return err
	}
	rules, err := payload(all, tagRules)
	if err != nil {
		return err
	}
	return h.agent.Import(rules.Payload)
}

// gate makes a gate for each port.
func (t *taking) gate(set *setup) error {
	t.link = relay.NewLink(t.area, relay.Second, t.h.pool)
	if err := t.h.pool.AddPort(t.link.Inbox(), worker.PortOptions{}); err != nil {
		return err
	}
	t.gates = map[string]*relay.Gate{}
	for i, p := range set.Ports {
		if p.Pairs != t.h.settings.Vhost.QueuePairs {
			return fmt.Errorf("port %s: %w: it has %d, and vhost.queue_pairs is %d", p.Name, netdev.ErrQueuePairs, p.Pairs, t.h.settings.Vhost.QueuePairs)
		}
		g, err := t.link.Gate(p.Name, i, p.Pairs, nil)
		if err == nil {
			err = t.h.pool.AddPort(g, worker.PortOptions{Owners: set.Owners[p.Name]})
		}
		if err != nil {
			return err
		}
		t.gates[p.Name] = g
	}
	return nil
}

// restore makes a port's device.
func (t *taking) restore(name string, sec wire.Section) (relay.Device, error) {
	s, handed, err := parseDevice(&sec)
	if err != nil {
		return nil, err
	}
	b, ok := t.h.pipe.Snapshot().Binding(name)
	if !ok || s.Name != name {
		return nil, fmt.Errorf("port %s: its state came as %s, and its binding did not", name, s.Name)
	}
	cfg, err := t.h.guests.deviceConfig(b)
	if err != nil {
		return nil, err
	}
	p := &guestPort{binding: b, path: cfg.Socket, handed: handed, copied: s.copyOf}
	if p.device, err = netdev.Restore(cfg, s.Device); err != nil {
		return nil, err
	}
	t.ports[name] = p
	t.h.guests.put(p)
	return p.device, nil
}

// stuckFor is how long a worker may do nothing before a new process is found unfit: one that
// others keep from its CPU is not stuck yet.
const stuckFor = time.Second

// stuck says which worker does not move.
func (t *taking) stuck() error {
	now := t.h.pool.Beats()
	if t.beats == nil || moved(t.beats, now) {
		t.alive = time.Now()
	}
	t.beats = now
	if idle := time.Since(t.alive); idle > stuckFor {
		return fmt.Errorf("the new process' workers have stood still for %v", idle.Round(time.Millisecond))
	}
	return nil
}

// moved reports whether each worker has done something between two looks, or sleeps.
func moved(last, now []worker.Beat) bool {
	for i := range last {
		if !now[i].Idle && now[i].Epoch == last[i].Epoch {
			return false
		}
	}
	return true
}

func (t *taking) running(name string) int { return t.ports[name].device.Running() }

func (t *taking) steer() error {
	t.valve.Hold()
	t.h.pool.Quiesce() // no worker is about to drop what is the traffic already
	return t.h.under.take(t.h.under.which)
}

// pass returns when all workers have seen it.
func (t *taking) pass() error {
	t.valve.Pass()
	return t.h.pool.Round(t.ctx) // whole iterations: its queues have been polled
}

func (t *taking) open() error {
	t.valve.Open()
	if n := t.valve.Lost(); n > 0 {
		t.h.loggers.root.Warn("packets from the wire were lost, as more came during steer than there was room for", "packets", n)
	}
	return t.link.Inbox().Err()
}

// leave gives up what steer brought, and returns when this process' NIC has no more of it.
func (t *taking) leave() error {
	if err := t.h.under.take(1 - t.h.under.which); err != nil { // a VF's filter is its owner's to change
		return err
	}
	return t.h.drain(t.ctx)
}

// end makes all that was taken the process' own.
func (t *taking) end(all []wire.Section) error {
	if _, err := find(all, tagCounters, &t.told); err == nil {
		t.told.lose()
		t.h.pool.Restore(t.told.Pool)
		t.h.started = time.Now().Add(-time.Duration(t.told.Uptime * float64(time.Second)))
	}
	if credits, err := payload(all, tagCredits); err == nil {
		if _, err := t.h.pipe.RestoreCounters(credits.Payload); err != nil {
			t.h.loggers.root.Warn("the rules' counters begin anew", "error", err)
		}
	}
	v := t.told.Upgrade
	v.State, v.Phase, v.To = hostapi.UpgradeDone, handover.PhaseDone, program()
	v.Strays += t.link.Inbox().Strays()
	t.h.upgrader.last = v
	return t.own()
}

// killGiver ends the process that was here, which hangs.
func (t *taking) killGiver() {
	t.h.loggers.root.Error("the process that was here hangs in the middle of the upgrade: it is killed", "silent", handover.GiverSilence)
	t.killParent()
}

// killParent kills the process that was here, which may be gone.
func (t *taking) killParent() { _ = unix.PidfdSendSignal(t.parent, unix.SIGKILL, nil, 0) }

// bury waits until the process that was here, which is dying, has let go of all that it had: in
// server mode its sockets' paths among them, which are to be listened on here.
func (t *taking) bury() {
	if t.h.guests.mode != proto.ModeServer {
		return
	}
	t.killParent()
	for fds := []unix.PollFd{{Fd: int32(t.parent), Events: unix.POLLIN}}; ; {
		if _, err := unix.Poll(fds, int(endLimit.Milliseconds())); err != unix.EINTR {
			return
		}
	}
}

// own has the sessions served and questions answered. It may come once.
func (t *taking) own() error {
	for _, p := range t.ports {
		if err := t.h.guests.connect(t.ctx, p); err != nil {
			return err
		}
	}
	err := t.h.serveFile(t.api)
	t.api.Close()
	return err
}

// endLimit is how long the process that was here may take to end; the first thing that it does is
// to give its device back, which the next standby waits for.
const endLimit = 30 * time.Second

// farewell waits for the end of the process that was here, which has nothing any more, and then
// clears away what the two shared.
func (t *taking) farewell() {
	_ = t.conn.SetDeadline(time.Now().Add(endLimit))
	for {
		s, err := t.conn.Receive()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			t.h.loggers.root.Error("the process that was here does not end: it is killed", "after", endLimit)
			t.killParent()
			_ = t.conn.SetDeadline(time.Time{})
			continue
		}
		if err != nil {
			break
		}
		s.Close()
	}
	t.conn.Close()
	unix.Close(t.parent)
	if err := t.clear(); err != nil {
		t.h.loggers.root.Error("what was shared with the process that was here is not cleared away", "error", err)
	}
	t.h.guests.freeze(false)
	t.h.guests.reconcile(t.ctx, t.h.pipe.Snapshot().Bindings())
	close(t.h.upgrader.settled)
	t.h.keeper.start()
	t.h.loggers.root.Info("the process that was here has ended")
}

// clear takes inbox and gates away. The other process is gone.
func (t *taking) clear() (err error) {
	pool := t.h.pool
	if t.link != nil {
		err = errors.Join(err, pool.RemovePort(relay.InboxName))
	}
	for name, g := range t.gates {
		if p := t.ports[name]; p != nil {
			err = errors.Join(err, t.h.ungate(g, p.device))
		} else {
			err = errors.Join(err, pool.RemovePort(g.Name()))
			t.h.drop(g)
		}
	}
	t.valve.Settle(time.Second)
	err = errors.Join(err, pool.ReplacePort(underlayPort, t.h.under.nic), pool.Place())
	t.h.drop(t.valve)
	if t.area != nil {
		err = errors.Join(err, t.area.Close())
	}
	return err
}

// moved tells of the ports that came here from a process that is dead.
func (t *taking) moved() []hostapi.UpgradePort {
	all := []hostapi.UpgradePort{}
	for name := range t.ports {
		all = append(all, hostapi.UpgradePort{Name: name, Phase: hostapi.UpgradePortMoved})
	}
	slices.SortFunc(all, func(a, b hostapi.UpgradePort) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// orphaned goes on without the process that was here: with what it gave, and for the rest from
// the start.
func (t *taking) orphaned() error {
	if t.gates == nil {
		return errCalledOff // it died before there was anything: who starts this host's batond starts it anew
	}
	if err := t.h.under.take(t.h.under.which); err != nil {
		return err
	}
	t.valve.Open()
	t.h.upgrader.last = inheritance(handover.PhaseDone, t.from, t.h.started, t.moved())
	t.bury()
	if err := t.own(); err != nil {
		return err
	}
	go t.farewell()
	return nil
}
