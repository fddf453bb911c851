package store

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Waits between attempts, doubled up to the maximum, each shortened by up to a
// half at random so that controllers do not come all at once.
const (
	backoffMin = 50 * time.Millisecond
	backoffMax = 5 * time.Second
	// gapCheck is how often a watch asks whether etcd still has its revision.
	gapCheck = 5 * time.Second
)

// Watch delivers every change after the snapshot, one Event a revision, in
// order, until ctx or the Store ends; then the channel is closed. It lives
// through lost connections and members; where it lost revisions (compaction, an
// etcd that was set up anew) it reads everything and delivers the difference. A
// slow receiver delays only itself.
func (s *Store) Watch(ctx context.Context, from *Snapshot) <-chan Event {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(s.ctx, cancel)
	w := &watch{
		s: s, ctx: ctx, out: make(chan Event),
		view: from.view.clone(), rev: from.Revision, cluster: from.cluster,
	}
	s.wg.Go(func() {
		defer cancel()
		defer stop()
		defer close(w.out)
		w.runWatch()
	})
	return w.out
}

// watch is one Watch.
type watch struct {
	s       *Store
	ctx     context.Context
	out     chan Event
	view    *view // the network as delivered
	rev     int64 // up to which it is delivered
	cluster uint64
}

// errGap says that etcd no longer has what the watch needs.
var errGap = errors.New("revisions are gone")

func (w *watch) runWatch() {
	var pause backoff
	said := false // that it broke: etcd may be without a leader for hours
	for w.ctx.Err() == nil {
		began, start := w.rev, time.Now()
		err := w.follow()
		if errors.Is(err, errGap) {
			err = w.resync()
		}
		if w.ctx.Err() != nil {
			return
		}
		if w.rev > began || time.Since(start) > 2*gapCheck {
			pause, said = backoff{}, false
		}
		if err != nil {
			if !said {
				w.s.log.Warn("etcd watch broke; trying again until it holds", "revision", w.rev, "error", err)
			}
			said = true
			pause.wait(w.ctx)
		}
	}
}

// follow delivers events until the watch breaks.
func (w *watch) follow() error {
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(w.ctx))
	defer cancel()
	events := w.s.client.Watch(ctx, w.s.cfg.Prefix+"/", clientv3.WithPrefix(), clientv3.WithRev(w.rev+1), clientv3.WithProgressNotify(), clientv3.WithFragment())
	check := time.NewTicker(gapCheck)
	defer check.Stop()
	for {
		select {
		case <-w.ctx.Done():
			return nil
		case <-check.C:
			if w.gap() {
				return errGap
			}
		case resp, ok := <-events:
			if !ok {
				return errors.New("the stream ended")
			}
			if err := resp.Err(); err != nil {
				if errors.Is(err, rpctypes.ErrCompacted) || errors.Is(err, rpctypes.ErrFutureRev) {
					return errGap
				}
				return err
			}
			if !w.deliver(&resp) {
				return nil
			}
		}
	}
}

// deliver turns a response into one event a revision; false if the watch is over.
func (w *watch) deliver(resp *clientv3.WatchResponse) bool {
	for i := 0; i < len(resp.Events); {
		rev := resp.Events[i].Kv.ModRevision
		var edits []edit
		for ; i < len(resp.Events) && resp.Events[i].Kv.ModRevision == rev; i++ {
			kv := resp.Events[i].Kv
			e := edit{key: string(kv.Key)}
			if resp.Events[i].Type == clientv3.EventTypePut {
				e.value = present(kv.Value)
			}
			edits = append(edits, e)
		}
		changes, skipped := w.view.apply(edits)
		w.rev = rev
		if len(changes)+len(skipped) > 0 && !w.send(Event{Revision: rev, Changes: changes, Skipped: skipped}) {
			return false
		}
	}
	if resp.IsProgressNotify() {
		w.rev = max(w.rev, resp.Header.Revision)
	}
	return true
}

func (w *watch) send(e Event) bool {
	select {
	case w.out <- e:
		return true
	case <-w.ctx.Done():
		return false
	}
}

// gap reports whether etcd is behind what the watch delivered, or another
// cluster: its data was lost, and events would come under numbers already used.
func (w *watch) gap() bool {
	ctx, cancel := context.WithTimeout(w.ctx, w.s.cfg.Timeout)
	defer cancel()
	resp, err := w.s.client.Get(ctx, w.s.generationKey(), clientv3.WithKeysOnly())
	if err != nil {
		return false // runProbe reports it
	}
	return resp.Header.Revision < w.rev || resp.Header.ClusterId != w.cluster
}

// resync reads everything and delivers the difference.
func (w *watch) resync() error {
	snap, err := w.s.Snapshot(w.ctx)
	if err != nil {
		return err
	}
	changes := w.view.state.Diff(snap.State)
	w.s.log.Info("etcd watch had lost revisions; read everything again", "from", w.rev, "to", snap.Revision, "changes", len(changes))
	w.view, w.rev, w.cluster = snap.view.clone(), snap.Revision, snap.cluster
	w.send(Event{Revision: snap.Revision, Changes: changes, Skipped: snap.Skipped, Resync: true})
	return nil
}

// backoff is a growing wait.
type backoff struct{ next time.Duration }

// wait waits, or less if ctx ends.
func (b *backoff) wait(ctx context.Context) {
	b.next = min(max(2*b.next, backoffMin), backoffMax)
	t := time.NewTimer(b.next - rand.N(b.next/2))
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
