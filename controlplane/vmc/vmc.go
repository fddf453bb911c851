package vmc

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"baton/controlplane/compile"
	"baton/controlplane/model"
	"baton/controlplane/store"
	"baton/dataplane/flow"
)

// Store is where the network comes from; *store.Store is one.
type Store interface {
	Snapshot(ctx context.Context) (*store.Snapshot, error)
	Watch(ctx context.Context, from *store.Snapshot) <-chan store.Event
}

// Sink is told what hosts must have; *ofe.Server is one. Calls come from one goroutine.
type Sink interface {
	SetHost(host string, full flow.Change, revision int64)
	Update(host string, c flow.Change, revision int64)
	RemoveHost(host string)
	Ready() // all hosts of the first snapshot have been set
}

// Config is what a VMC needs to know.
type Config struct {
	Store Store
	Sink  Sink
	Log   hclog.Logger // default: none
}

// sliceObjects is how many objects of one network are compiled before the next
// network's turn: some milliseconds.
const sliceObjects = 64

// VMC turns changes of the network into rules.
type VMC struct {
	cfg Config
	log hclog.Logger

	wake chan struct{} // cap 1: a queue has work

	mu       sync.Mutex
	state    *model.State // up to revision seen
	nets     networks
	queues   queues
	seen     int64 // last revision that came from the store
	busy     int64 // oldest revision of the slice that is being compiled, 0 = none
	advanced chan struct{}
	stats    Stats

	compiler *compile.Compiler // runWork's goroutine only
}

// Stats are counters and gauges.
type Stats struct {
	Revision  int64          // seen of the store
	Processed int64          // told to the sink
	Networks  map[string]int // objects that wait, by network; the hosts' is ""
	Events    uint64
	Objects   uint64 // taken from queues
	Slices    uint64
	Units     uint64 // objects compiled
	Rules     uint64 // that came of it
}

// New makes a VMC; it does nothing until Run.
func New(cfg Config) *VMC {
	if cfg.Log == nil {
		cfg.Log = hclog.NewNullLogger()
	}
	return &VMC{cfg: cfg, log: cfg.Log, wake: make(chan struct{}, 1), queues: newQueues(), advanced: make(chan struct{})}
}

// Run reads the network and follows it until ctx ends or the store closes. Call it once.
//
//	error: ctx's; or why the network could not be read
func (v *VMC) Run(ctx context.Context) error {
	snap, err := v.snapshot(ctx)
	if err != nil {
		return err
	}
	v.begin(snap)
	ctx, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { v.runWork(ctx) })
	for e := range v.cfg.Store.Watch(ctx, snap) {
		v.note(e)
	}
	err = ctx.Err()
	stop()
	wg.Wait()
	if err == nil {
		err = store.ErrClosed
	}
	return err
}

// snapshotRetry is how long to wait when etcd does not give the network.
const snapshotRetry = time.Second

func (v *VMC) snapshot(ctx context.Context) (*store.Snapshot, error) {
	for said := false; ; said = true { // etcd may be away for hours
		snap, err := v.cfg.Store.Snapshot(ctx)
		if err == nil || errors.Is(err, store.ErrClosed) || ctx.Err() != nil {
			return snap, err
		}
		if !said {
			v.log.Warn("cannot read the network; trying again until it works", "error", err)
		}
		t := time.NewTimer(snapshotRetry)
		select {
		case <-ctx.Done():
		case <-t.C:
		}
		t.Stop()
	}
}

// begin tells the sink all of the first snapshot.
func (v *VMC) begin(snap *store.Snapshot) {
	for _, err := range snap.Skipped {
		v.log.Error("an object in etcd cannot be read and is left out", "error", err)
	}
	v.compiler = compile.NewCompiler(snap.State.Clone())
	for _, name := range v.compiler.Hosts() {
		if full, ok := v.compiler.Config(name); ok {
			v.cfg.Sink.SetHost(name, full.Change(), snap.Revision)
		}
	}
	v.cfg.Sink.Ready()
	v.mu.Lock()
	v.state, v.seen = snap.State.Clone(), snap.Revision
	v.countWork()
	v.broadcast()
	v.mu.Unlock()
	v.log.Info("network read", "revision", snap.Revision, "objects", snap.State.Len())
}

// note takes an event in and queues what it touches.
func (v *VMC) note(e store.Event) {
	for _, err := range e.Skipped {
		v.log.Error("an object in etcd cannot be read and is taken as not there", "error", err)
	}
	if e.Resync {
		v.log.Warn("revisions were lost: compared the whole network", "revision", e.Revision, "changes", len(e.Changes))
	}
	v.mu.Lock()
	olds := make([]model.Object, len(e.Changes))
	for i, c := range e.Changes {
		olds[i] = v.state.Get(c.Ref)
		v.nets.change(olds[i], c.Object)
		v.state.Apply(e.Changes[i : i+1])
	}
	v.nets.rebuild(v.state)
	for i, c := range e.Changes {
		o := c.Object
		if o == nil {
			o = olds[i]
		}
		if o != nil {
			v.queues.add(v.nets.queueOf(o), c.Ref, e.Revision)
		}
	}
	v.seen = max(v.seen, e.Revision)
	v.stats.Events++
	v.broadcast()
	v.mu.Unlock()
	select {
	case v.wake <- struct{}{}:
	default:
	}
}

func (v *VMC) runWork(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-v.wake:
		}
		for ctx.Err() == nil && v.step() {
		}
	}
}

// step compiles one slice and tells the sink; false if nothing waits.
func (v *VMC) step() bool {
	v.mu.Lock()
	oldest, ok := v.queues.oldest()
	if !ok {
		v.mu.Unlock()
		return false
	}
	v.busy = oldest
	refs := v.queues.take(sliceObjects)
	changes := make([]model.Change, len(refs))
	for i, r := range refs {
		changes[i] = model.Change{Ref: r, Object: v.state.Get(r)}
	}
	revision := v.seen // what the sink may call done: nothing older waits
	if next, waits := v.queues.oldest(); waits {
		revision = min(revision, next-1)
	}
	v.mu.Unlock()

	had := map[string]bool{}
	for _, c := range changes {
		if c.Ref.Kind == model.KindHost {
			had[c.Ref.Name] = c.Object != nil
		}
	}
	for name, c := range v.compiler.Apply(changes) {
		exists, isHost := had[name]
		switch {
		case isHost && !exists:
			v.cfg.Sink.RemoveHost(name)
		case c.Replace:
			v.cfg.Sink.SetHost(name, c, revision)
		default:
			v.cfg.Sink.Update(name, c, revision)
		}
	}
	v.mu.Lock()
	v.busy = 0
	v.stats.Slices++
	v.stats.Objects += uint64(len(refs))
	v.countWork()
	v.broadcast()
	v.mu.Unlock()
	return true
}

// countWork copies the compiler's counters; v.mu is held.
func (v *VMC) countWork() {
	w := v.compiler.Work()
	v.stats.Units, v.stats.Rules = w.Units, w.Rules
}

// broadcast wakes those who wait; v.mu is held.
func (v *VMC) broadcast() {
	close(v.advanced)
	v.advanced = make(chan struct{})
}

// processed is the revision up to which the sink was told; v.mu is held.
func (v *VMC) processed() int64 {
	p := v.seen
	if oldest, ok := v.queues.oldest(); ok {
		p = min(p, oldest-1)
	}
	if v.busy != 0 {
		p = min(p, v.busy-1)
	}
	return p
}

// catchUpAfter is how long WaitProcessed waits for an event before it compares
// the network with the store's: revisions that change no object have no event.
const catchUpAfter = 250 * time.Millisecond

// WaitProcessed waits until the sink was told all changes up to a revision.
func (v *VMC) WaitProcessed(ctx context.Context, revision int64) error {
	for {
		v.mu.Lock()
		p, seen, advanced := v.processed(), v.seen, v.advanced
		v.mu.Unlock()
		if p >= revision {
			return nil
		}
		t := time.NewTimer(catchUpAfter)
		select {
		case <-ctx.Done():
			t.Stop()
			return fmt.Errorf("the controller has worked up to revision %d of %d: %w", p, revision, context.Cause(ctx))
		case <-advanced:
		case <-t.C:
			if seen < revision {
				v.catchUp(ctx, revision)
			}
		}
		t.Stop()
	}
}

// Settled waits until there is a Host object of which ok is true, and the sink was told what
// follows from it. ok is called with a lock held.
func (v *VMC) Settled(ctx context.Context, host string, ok func(*model.Host) bool) error {
	for {
		v.mu.Lock()
		good := v.state != nil && v.state.Hosts[host] != nil && ok(v.state.Hosts[host])
		seen, advanced := v.seen, v.advanced
		v.mu.Unlock()
		if good {
			return v.WaitProcessed(ctx, seen)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("host %s: the controller has not seen the change: %w", host, context.Cause(ctx))
		case <-advanced:
		}
	}
}

// catchUp takes a revision as seen if the network is the same as the store's there.
func (v *VMC) catchUp(ctx context.Context, revision int64) {
	snap, err := v.cfg.Store.Snapshot(ctx)
	if err != nil || snap.Revision < revision {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.state != nil && len(v.state.Diff(snap.State)) == 0 {
		v.seen = max(v.seen, snap.Revision)
		v.broadcast()
	}
}

// Host is a host's object as it was seen last, nil if there is none. It is not to
// be changed.
func (v *VMC) Host(name string) *model.Host {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.state == nil {
		return nil
	}
	return v.state.Hosts[name]
}

// Moving is the port with this number that is about to move to a host, as it was
// seen last; nil if there is none. It is not to be changed.
//
//	cost: by the number of ports
func (v *VMC) Moving(host string, number flow.PortNo) *model.Port {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.state == nil || host == "" {
		return nil
	}
	for _, p := range v.state.Ports {
		if p.MigrateTo != host || p.IsLink() {
			continue
		}
		if s := v.state.Switches[p.Switch]; s != nil && flow.LogicalPort(s.ID(), p.SwitchID()) == number {
			return p
		}
	}
	return nil
}

// Stats is a copy of the counters.
func (v *VMC) Stats() Stats {
	v.mu.Lock()
	defer v.mu.Unlock()
	s := v.stats
	s.Revision, s.Processed, s.Networks = v.seen, v.processed(), v.queues.waiting()
	return s
}
