package main

import (
	"context"
	"errors"
	"fmt"
	"os"
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
	gv.Recall = g.recall
	if g.h.settings.pair() {
		gv.Ready, gv.Recall = g.ready, g.recallPair
	}
	if g.req.CanaryS > 0 {
		gv.CanaryTime = time.Duration(g.req.CanaryS * float64(time.Second))
	}
	if g.req.Rate > 0 {
		gv.Pause = time.Duration(float64(time.Second) / g.req.Rate)
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
	return deviceSection(p.binding.Name, handed, p.device.State(), copyOf{})
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
	return g.h.drain(ctx)
}

// drain waits until the NIC, which the traffic has left, has been quiet for a while, and what it
// had is sent on.
func (h *host) drain(ctx context.Context) error {
	last, since := h.received(), time.Now()
	for begun := since; time.Since(begun) < drainLimit && time.Since(since) < drainQuiet; {
		// Quiet is a NIC that was looked at: a worker may be kept from its CPU for longer than that.
		if err := h.pool.Round(ctx); err != nil {
			return err
		}
		if now := h.received(); now != last {
			last, since = now, time.Now()
		}
	}
	if err := h.pool.Round(ctx); err != nil {
		return err
	}
	return h.pool.Barrier(ctx, 0)
}

// recall has the wire's traffic come here again, while the new process gives on what it has of it.
// What waits there goes on behind what had come here.
func (g *giving) recall(_, open, leave func() error) {
	err := g.settle(context.Background())
	if err == nil {
		err = open()
	}
	if err == nil {
		err = g.h.under.take(g.h.under.which)
	}
	if err == nil {
		err = leave()
	}
	if err != nil { // it is ended, and what it had is lost
		g.h.loggers.root.Warn("the new process does not give back what came to it from the wire", "error", err)
	}
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
