package migrate

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"baton/controlplane/compile"
	"baton/controlplane/model"
	"baton/controlplane/ofe"
	"baton/controlplane/openflow"
	"baton/controlplane/store"
	"baton/dataplane/flow"
)

// Store writes that a port has moved; *store.Store is one.
type Store interface {
	Arrive(ctx context.Context, port, host string) (int64, error)
}

// Network finds the port with a number that is about to move to a host, nil if
// there is none; *vmc.VMC is one.
type Network interface {
	Moving(host string, number flow.PortNo) *model.Port
}

// Hosts says what hosts report; *ofe.Server is one.
type Hosts interface {
	Host(name string) (ofe.HostInfo, bool)
}

// Config is what Arrivals need to know.
type Config struct {
	Store   Store
	Network Network
	Hosts   Hosts
	Log     hclog.Logger // default: none

	// Retry is how long to wait before an arrival that could not be written, or was
	// refused, is tried again; doubled up to 40 times as much. Default: 50 ms.
	Retry time.Duration
	// Patience is for how long it is tried; a further frame of the VM begins anew.
	// Default: 1 min.
	Patience time.Duration
}

// maxWaiting bounds what hosts can make the controller remember.
const maxWaiting = 4096

// arrival is a VM that was seen on the host that it was to move to.
type arrival struct {
	host   string
	number flow.PortNo
}

// attempt is how far an arrival is.
type attempt struct {
	since time.Time // of the first frame
	next  time.Time
	wait  time.Duration
	told  bool // a refusal was logged
}

// Arrivals turns frames that hosts hand up into moves of ports.
//
//	conc: PacketIn from any goroutine; Run once
type Arrivals struct {
	cfg  Config
	log  hclog.Logger
	wake chan struct{} // cap 1

	mu      sync.Mutex
	waiting map[arrival]*attempt
}

// New makes Arrivals, which do nothing until Run.
func New(cfg Config) *Arrivals {
	if cfg.Log == nil {
		cfg.Log = hclog.NewNullLogger()
	}
	if cfg.Retry == 0 {
		cfg.Retry = 50 * time.Millisecond
	}
	if cfg.Patience == 0 {
		cfg.Patience = time.Minute
	}
	return &Arrivals{cfg: cfg, log: cfg.Log, wake: make(chan struct{}, 1), waiting: map[arrival]*attempt{}}
}

// PacketIn takes a frame that a host handed up; it never blocks. Of an arrival that
// waits already it is no news.
func (a *Arrivals) PacketIn(host string, p *openflow.PacketIn) {
	if p.GetReason() != compile.PuntArrived {
		return
	}
	key := arrival{host, flow.PortNo(p.GetInPort())}
	a.mu.Lock()
	_, known := a.waiting[key]
	if !known && len(a.waiting) < maxWaiting {
		now := time.Now()
		a.waiting[key] = &attempt{since: now, next: now, wait: a.cfg.Retry}
	}
	a.mu.Unlock()
	if known {
		return
	}
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// Run works until ctx ends.
func (a *Arrivals) Run(ctx context.Context) {
	t := time.NewTimer(time.Hour)
	defer t.Stop()
	for {
		next := a.work(ctx)
		t.Reset(next)
		select {
		case <-ctx.Done():
			return
		case <-a.wake:
		case <-t.C:
		}
	}
}

// work tries what is due and returns how long nothing else will be.
func (a *Arrivals) work(ctx context.Context) time.Duration {
	now := time.Now()
	next := time.Hour
	a.mu.Lock()
	defer a.mu.Unlock()
	for key, at := range a.waiting {
		if left := at.next.Sub(now); left > 0 {
			next = min(next, left)
			continue
		}
		told := at.told
		a.mu.Unlock()
		done, told := a.try(ctx, key, told)
		a.mu.Lock()
		at.told = told
		if done || now.Sub(at.since) > a.cfg.Patience {
			delete(a.waiting, key)
			continue
		}
		at.next = now.Add(at.wait)
		next = min(next, at.wait)
		at.wait = min(2*at.wait, 40*a.cfg.Retry)
	}
	return next
}

// try ends one move; done means that there is nothing more to do. told says, before
// and after, whether it was logged why it could not be.
func (a *Arrivals) try(ctx context.Context, key arrival, told bool) (done, _ bool) {
	p := a.cfg.Network.Moving(key.host, key.number)
	if p == nil { // moved already, or cancelled
		return true, told
	}
	if a.runsAt(p.Host, p.Name) {
		if !told {
			a.log.Warn("a VM sends on the host that it is to move to, while its port is still up on the other: the move waits until that one is down",
				"port", p.Name, "host", p.Host, "migrateTo", key.host)
		}
		return false, true
	}
	revision, err := a.cfg.Store.Arrive(ctx, p.Name, key.host)
	switch {
	case err == nil:
		a.log.Info("VM has moved", "port", p.Name, "from", p.Host, "to", key.host, "revision", revision)
		return true, told
	case errors.Is(err, store.ErrNotMoving), errors.Is(err, store.ErrNotFound):
		return true, told
	case ctx.Err() != nil:
		return true, told
	}
	if !told {
		a.log.Error("a VM has moved, but that cannot be stored; trying again", "port", p.Name, "to", key.host, "error", err)
	}
	return false, true
}

// runsAt reports whether a host says that the port is up: rings of a guest run
// there. A host without a session says nothing, and cannot keep its VM from leaving.
func (a *Arrivals) runsAt(host, port string) bool {
	info, ok := a.cfg.Hosts.Host(host)
	if !ok || !info.Connected {
		return false
	}
	for _, p := range info.Ports {
		if p.GetName() == port {
			return p.GetUp()
		}
	}
	return false
}
