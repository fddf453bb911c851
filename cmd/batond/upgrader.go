package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"baton/hostapi"
	"baton/upgrade/handover"
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
func (u *upgrader) AbortUpgrade(reason string) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case u.cancel == nil:
		return errors.New("no upgrade is under way")
	case u.last.Phase == handover.PhaseCommit:
		return errors.New("it is too late: the new process has all ports and is just taking over the rest")
	}
	why := errAborted
	if reason != "" {
		why = fmt.Errorf("%w: %s", errAborted, reason)
	}
	u.cancel(why)
	return nil
}

// StartUpgrade implements hostapi.Upgrader.
func (u *upgrader) StartUpgrade(req hostapi.UpgradeRequest) error {
	u.mu.Lock()
	err := u.free()
	u.mu.Unlock()
	if err != nil {
		return err
	}
	g, err := u.plan(req)
	if err != nil {
		return err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if err := u.free(); err != nil { // another one may have begun meanwhile
		return err
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

// free says what is in the way of beginning one; u.mu is held.
func (u *upgrader) free() error {
	switch {
	case u.cancel != nil:
		return fmt.Errorf("another upgrade, to %s, is under way since %s: wait for it, or abort it with `batonctl upgrade abort`", u.last.Binary, u.last.Started)
	case u.closed:
		return errors.New("batond is ending, or a new process has just taken over: ask again")
	}
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
	fill(&u.last, report)
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
		u.h.loggers.root.Info("upgraded: the new process has everything, this one ends", "to", u.last.To, "seconds", u.last.TotalS)
		close(u.gone)
	}
}

// fill puts what became of the ports into v. Of one that no report has nothing crossed.
func fill(v *hostapi.Upgrade, report map[string]handover.PortReport) {
	for i := range v.Ports {
		p := &v.Ports[i]
		r := report[p.Name]
		p.Relayed = &r.Sent
		if !r.Partly {
			p.Waited, p.Lost = &r.Waited, &r.Lost
		}
		if r.Interruption != nil {
			us := float64(*r.Interruption) / 1e3
			p.InterruptionUs = &us
		}
	}
}

// inheritance is an upgrade, or a standby's takeover, of which the process that was here has died, so
// that nobody knows how many packets crossed, waited or were lost.
func inheritance(phase, from string, begun time.Time, ports []hostapi.UpgradePort) hostapi.Upgrade {
	binary, _ := ownBinary() // empty: not known
	return hostapi.Upgrade{
		State: hostapi.UpgradeDone, Phase: phase, From: from, To: program(), Binary: binary, Started: begun.UTC().Format(time.RFC3339),
		TotalS: time.Since(begun).Seconds(), Ports: ports, Error: "the old process has died: what was in it is lost, and what it had counted",
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
