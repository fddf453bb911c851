package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"baton/controlplane/agent"
	"baton/dataplane/buf"
	"baton/dataplane/worker"
	"baton/hostapi"
	"baton/upgrade/handover"
	"baton/upgrade/relay"
	"baton/upgrade/wire"
	"baton/vhost/netdev"
)

// upgrader hands this host over to a new process when it is told to. It implements
// hostapi.Upgrader.
//
//	conc: safe
type upgrader struct {
	h       *host
	gone    chan struct{} // closed when a new process has all
	settled chan struct{} // closed when what was shared with the process before this one is cleared away

	mu     sync.Mutex // guards what follows
	last   hostapi.Upgrade
	cancel context.CancelCauseFunc // of the one under way; nil: none is
	begun  time.Time
	done   chan struct{}
	closed bool // none may begin any more
}

// Why an upgrade is called off.
var (
	errAborted = errors.New("aborted by an operator")
	errEnding  = errors.New("batond was told to end")
)

func newUpgrader(h *host) *upgrader {
	u := &upgrader{h: h, gone: make(chan struct{}), settled: make(chan struct{}), last: hostapi.Upgrade{State: hostapi.UpgradeNone, Ports: []hostapi.UpgradePort{}}}
	return u
}

// Upgrade implements hostapi.Upgrader.
func (u *upgrader) Upgrade() (hostapi.Upgrade, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	v := u.last
	v.PID = os.Getpid()
	v.Ports = slices.Clone(v.Ports)
	if u.cancel != nil {
		v.TotalS = time.Since(u.begun).Seconds()
	}
	return v, nil
}

// AbortUpgrade implements hostapi.Upgrader.
func (u *upgrader) AbortUpgrade() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case u.cancel == nil:
		return errors.New("no upgrade is under way")
	case u.last.Phase == handover.PhaseCommit:
		return errors.New("it is too late: the new process has all ports and is just taking over the rest")
	}
	u.cancel(errAborted)
	return nil
}

// StartUpgrade implements hostapi.Upgrader.
func (u *upgrader) StartUpgrade(req hostapi.UpgradeRequest) error {
	g, err := u.plan(req)
	if err != nil {
		return err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.cancel != nil {
		return fmt.Errorf("another upgrade, to %s, is under way since %s: wait for it, or abort it with `batonctl upgrade abort`", u.last.Binary, u.last.Started)
	}
	if u.closed {
		return errors.New("batond is ending, or a new process has just taken over: ask again")
	}
	// Not a child of what ends batond: that says why, see wait.
	ctx, cancel := context.WithCancelCause(context.Background())
	u.cancel, u.begun, u.done = cancel, time.Now(), make(chan struct{})
	u.last = hostapi.Upgrade{
		State: hostapi.UpgradeRunning, Phase: handover.PhaseStart, From: program(), Binary: g.binary, Started: u.begun.UTC().Format(time.RFC3339), Ports: []hostapi.UpgradePort{},
	}
	u.list(g.ports)
	go u.run(ctx, g)
	return nil
}

// list notes which ports go, in their order; u.mu is held.
func (u *upgrader) list(ports []*guestPort) {
	u.last.Ports = []hostapi.UpgradePort{}
	for _, p := range ports {
		u.last.Ports = append(u.last.Ports, hostapi.UpgradePort{Name: p.binding.Name, Phase: hostapi.UpgradePortWaiting})
	}
}

// wait returns when no upgrade is under way, and none will be.
func (u *upgrader) wait() {
	u.mu.Lock()
	u.closed = true
	if u.cancel != nil {
		u.cancel(errEnding)
	}
	done := u.done
	u.mu.Unlock()
	if done != nil {
		<-done
	}
}

// run is an upgrade from its begin to its end.
func (u *upgrader) run(ctx context.Context, g *giving) {
	report, err := g.run(ctx)
	u.mu.Lock()
	defer u.mu.Unlock()
	defer close(u.done)
	u.last.TotalS = time.Since(u.begun).Seconds()
	u.cancel(nil)
	u.cancel = nil
	switch {
	case errors.Is(err, handover.ErrDryRun):
		u.last.State, u.last.Phase = hostapi.UpgradeChecked, handover.PhaseDone
	case err != nil:
		u.last.State, u.last.Error = hostapi.UpgradeRolledBack, err.Error()
		if g.failed != nil {
			u.last.State = hostapi.UpgradeFailed
		}
		u.h.loggers.root.Error("not upgraded", "state", u.last.State, "error", err)
	default:
		u.last.State = hostapi.UpgradeDone
		u.closed = true
		fill(&u.last, report)
		u.h.loggers.root.Info("upgraded: the new process has everything, this one ends", "to", u.last.To, "seconds", u.last.TotalS)
		close(u.gone)
	}
}

// fill puts what became of the ports into v.
func fill(v *hostapi.Upgrade, report map[string]handover.PortReport) {
	for i := range v.Ports {
		p := &v.Ports[i]
		r, ok := report[p.Name]
		if !ok {
			continue
		}
		p.Relayed, p.Waited, p.Lost = r.Sent, r.Waited, r.Lost
		if r.Interruption != nil {
			us := float64(*r.Interruption) / 1e3
			p.InterruptionUs = &us
		}
	}
}

// progress notes what happens.
func (u *upgrader) progress(p handover.Progress) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.last.Phase = p.Phase
	for i := range u.last.Ports {
		if u.last.Ports[i].Name != p.Port {
			continue
		}
		switch p.Phase {
		case handover.PhasePrepare:
			u.last.Ports[i].Phase = hostapi.UpgradePortPrepared
		case handover.PhaseMove:
			u.last.Ports[i].Phase = hostapi.UpgradePortMoved
		}
	}
	if p.Phase == handover.PhaseFailed {
		for i := range u.last.Ports {
			if u.last.Ports[i].Phase != hostapi.UpgradePortWaiting {
				u.last.Ports[i].Phase = hostapi.UpgradePortBack
			}
		}
	}
}

// giving is one upgrade.
type giving struct {
	u      *upgrader
	h      *host
	req    hostapi.UpgradeRequest
	binary string
	ports  []*guestPort // in the order in which they go
	area   *relay.Area
	link   *relay.Link
	gates  []*relay.Gate
	child  *child
	api    *os.File   // the API's listener
	left   bool       // nobody answers there
	other  agent.VTEP // the new process', of a pair
	unfit  bool       // it does not take what crosses to it, or gives no answer
	back   bool       // other hosts send here again
	failed error      // of taking everything back
}

// plan checks what can be checked at once.
//
//	error: what is in the way, with the fix
func (u *upgrader) plan(req hostapi.UpgradeRequest) (*giving, error) {
	g := &giving{u: u, h: u.h, req: req, binary: req.Binary}
	if u.h.settings.Underlay.Alternate == "" {
		return nil, errors.New("underlay.alternate: not set: an upgrade needs a second device for the new process, such as another VF of the NIC")
	}
	if err := g.h.checkSteer(); err != nil {
		return nil, err
	}
	if g.binary == "" {
		path, err := ownBinary()
		if err != nil {
			return nil, fmt.Errorf("%w: name one with --binary", err)
		}
		g.binary = path
	}
	if err := checkBinary(g.binary); err != nil {
		return nil, err
	}
	return g, g.order()
}

// order lists the ports that are there, the canaries first.
//
//	error: too many; a canary that is none of them
func (g *giving) order() error {
	g.ports = g.h.guests.list()
	if len(g.ports) > relay.MaxPorts {
		return fmt.Errorf("%d ports: an upgrade moves at most %d", len(g.ports), relay.MaxPorts)
	}
	for _, name := range slices.Backward(g.req.Canary) {
		i := slices.IndexFunc(g.ports, func(p *guestPort) bool { return p.binding.Name == name })
		if i < 0 {
			return fmt.Errorf("canary %q: this host has no such port", name)
		}
		p := g.ports[i]
		g.ports = slices.Insert(slices.Delete(g.ports, i, i+1), 0, p)
	}
	return nil
}

// checkBinary wants a batond.
func checkBinary(path string) error {
	if !filepath.IsAbs(path) {
		return fmt.Errorf("binary %s: give an absolute path", path)
	}
	if err := keepFDs(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "--version")
	cmd.WaitDelay = time.Second // what it has started may keep its output open
	out, err := cmd.Output()
	if err == nil && !strings.HasPrefix(string(out), "batond version ") {
		err = fmt.Errorf("--version says %.60q", strings.TrimSpace(string(out)))
	}
	if err != nil {
		return fmt.Errorf("binary %s: is no batond: %w", path, err)
	}
	return nil
}

// run starts the new process and gives it everything, or takes everything back.
func (g *giving) run(ctx context.Context) (_ map[string]handover.PortReport, failed error) {
	select { // the process before this one is just ending
	case <-g.u.settled:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	// A standby has the device that the new process needs.
	g.h.keeper.stop()
	defer func() {
		if failed != nil {
			g.h.keeper.start()
		}
	}()
	var err error
	if g.child, err = g.h.startChild(g.binary, takeoverFlag); err != nil {
		return nil, err
	}
	to, err := g.child.offer(ctx, g.h.settings)
	if err != nil {
		return nil, err
	}
	g.u.mu.Lock()
	g.u.last.To = to
	g.u.mu.Unlock()

	// From here on nothing changes but by packets: neither rules nor ports.
	g.h.guests.freeze(true)
	g.h.agent.Pause()
	err = g.order() // some may have come and gone since the plan
	g.u.mu.Lock()
	g.u.list(g.ports)
	g.u.mu.Unlock()
	var report map[string]handover.PortReport
	if err == nil {
		report, err = g.give(ctx)
	} else {
		g.child.kill(false)
	}
	g.h.target.ended.Store(err == nil)
	if err != nil {
		g.h.agent.Leave(false)
		g.h.guests.freeze(false)
	}
	g.h.agent.Continue()
	if err != nil {
		g.child.conn.Close() // after success it ends with the process
		g.h.guests.reconcile(g.h.target.ctx, g.h.pipe.Snapshot().Bindings())
	}
	return report, err
}

// give is the conversation with the new process.
func (g *giving) give(ctx context.Context) (report map[string]handover.PortReport, err error) {
	gv := &handover.Giver{
		Conn: g.child.conn, Kill: g.child.kill, Drained: g.drained, Unsteer: g.unsteer, End: g.end, Check: func() error { return g.link.Inbox().Err() }, Progress: g.u.progress, Counted: g.counted,
		Canary: len(g.req.Canary), CanaryTime: time.Second, DryRun: g.req.DryRun,
	}
	if g.h.settings.pair() {
		gv.Ready, gv.Recall = g.ready, g.recall
	}
	if g.req.CanaryS > 0 {
		gv.CanaryTime = time.Duration(g.req.CanaryS * float64(time.Second))
	}
	if g.req.Rate > 0 {
		gv.Pause = time.Second / time.Duration(g.req.Rate)
	}
	g.h.pool.Share(true)
	defer func() { g.h.pool.Share(err == nil) }() // to the end, after success
	if err := g.gate(gv); err != nil {
		g.child.kill(false)
		return nil, errors.Join(err, g.ungate())
	}
	report, err = gv.Run(ctx)
	if err != nil {
		if bad := g.ungate(); bad != nil {
			g.failed = bad
			err = errors.Join(err, bad)
		}
	}
	return report, err
}

// gate puts gates in the ports' places.
func (g *giving) gate(gv *handover.Giver) (err error) {
	workers := len(g.h.settings.Workers.CPUs)
	shape := relay.Shape{Workers: [2]int{workers, workers}, Ports: len(g.ports)}
	if g.area, err = relay.New(shape); err != nil {
		return err
	}
	gv.Area = g.area
	g.link = relay.NewLink(g.area, relay.First, g.h.pool)
	if err := g.h.pool.AddPort(g.link.Inbox(), worker.PortOptions{}); err != nil {
		return err
	}
	set := g.h.setup()
	set.Shape = g.area.Shape()
	for i, p := range g.ports {
		name := p.binding.Name
		set.Ports = append(set.Ports, setupPort{name, p.device.NumQueues()})
		gate, err := g.link.Gate(name, i, p.device.NumQueues(), p.device)
		if err == nil {
			err = g.h.pool.ReplacePort(name, gate)
		}
		if err != nil {
			return err
		}
		g.gates = append(g.gates, gate)
		gv.Ports = append(gv.Ports, handover.Port{
			Name: name, Gate: gate, Running: p.device.Running,
			Detach:   func(ctx context.Context) (wire.Section, error) { return g.detach(ctx, p) },
			Reattach: func() error { return g.h.guests.connect(g.h.target.ctx, p) },
		})
	}
	rules, err := g.h.agent.Export()
	if err != nil {
		return err
	}
	if g.api, err = g.h.api.Listener(); err != nil {
		return err
	}
	files := append(g.area.Files(), rawFD(g.h.lock), rawFD(g.api))
	first, err := section(tagSetup, set, files...)
	if err != nil {
		return err
	}
	gv.Begin, err = g.h.settings.addPair([]wire.Section{first, {Tag: tagRules, Payload: rules}})
	return err
}

// ungate puts a device in the place of its gate.
func (h *host) ungate(gate *relay.Gate, d *netdev.Device) error {
	gate.Settle()
	if err := h.pool.ReplacePort(gate.Name(), d); err != nil {
		return err
	}
	h.drop(gate)
	return nil
}

// drop frees what waits where no worker looks any more.
func (h *host) drop(waiting interface{ Drop(*buf.Cache) }) {
	c := buf.NewCache(h.under.pool)
	waiting.Drop(c)
	c.Flush()
}

// ungate puts the devices back in their places. The new process is gone.
func (g *giving) ungate() (err error) {
	for i, gate := range g.gates {
		err = errors.Join(err, g.h.ungate(gate, g.ports[i].device))
	}
	if g.link != nil {
		_ = g.h.pool.RemovePort(relay.InboxName) // it may not have been added
	}
	if g.area != nil {
		err = errors.Join(err, g.area.Close())
	}
	if g.left {
		err = errors.Join(err, g.h.serveFile(g.api))
	}
	if g.api != nil {
		g.api.Close()
	}
	return err
}

// detach stops a port's session and tells its state.
func (g *giving) detach(ctx context.Context, p *guestPort) (wire.Section, error) {
	handed, err := p.connector.Detach(ctx)
	if err != nil {
		return wire.Section{}, fmt.Errorf("its VM is just being connected or changed: try again: %w", err)
	}
	g.h.guests.detached(p, handed)
	return deviceSection(p.binding.Name, handed, p.device.State())
}

// How long the wire's traffic must have been away from a NIC, and how long that is waited for:
// what is flooded to all ports comes all the time.
const (
	drainQuiet = 2 * time.Millisecond
	drainLimit = 50 * time.Millisecond
)

// drained waits until this process' NIC has given what it had when the traffic went away. Of a
// pair of VTEPs it sends it away before.
func (g *giving) drained(ctx context.Context, pass func() error) error {
	if err := g.h.under.take(1 - g.h.under.which); err != nil { // a VF's filter is its owner's to change
		return err
	}
	if g.h.settings.pair() {
		if err := g.sendAway(ctx, pass); err != nil {
			return err
		}
	}
	last, since := g.h.received(), time.Now()
	for begun := since; time.Since(begun) < drainLimit && time.Since(since) < drainQuiet; time.Sleep(200 * time.Microsecond) {
		if now := g.h.received(); now != last {
			last, since = now, time.Now()
		}
	}
	return g.h.pool.Barrier(ctx, 0)
}

func (g *giving) unsteer() error {
	if g.h.settings.pair() {
		g.callBack()
	}
	return g.h.under.take(g.h.under.which)
}

// end is what the new process gets last.
func (g *giving) end(report map[string]handover.PortReport) ([]wire.Section, error) {
	g.h.agent.Leave(true)
	// Who asks from now on waits in the socket's queue for the new process, or for this one again.
	if err := g.h.api.Leave(); err != nil {
		return nil, fmt.Errorf("socket %s: %w", g.h.settings.Socket, err)
	}
	g.left = true
	v, err := g.u.Upgrade()
	if err != nil {
		return nil, err
	}
	fill(&v, report)
	v.Strays = g.link.Inbox().Strays()
	s, err := section(tagCounters, counters{Pool: g.h.pool.Carried(), Uptime: time.Since(g.h.started).Seconds(), Upgrade: v})
	return []wire.Section{s, {Tag: tagCredits, Payload: g.h.pipe.ExportCounters()}}, err
}
