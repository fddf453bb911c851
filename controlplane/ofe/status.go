package ofe

import (
	"context"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"baton/controlplane/model"
)

// statusWriter writes hosts' states to a sink, the latest of each host, from one
// goroutine: a slow sink delays no session.
type statusWriter struct {
	sink   StatusSink
	log    hclog.Logger
	wake   chan struct{}
	known  func(host string) bool // the network has the host
	ctx    context.Context        // ends with stop
	cancel context.CancelFunc

	failing bool // the last flush failed, and that was said; run's goroutine only

	mu      sync.Mutex
	pending map[string]*model.HostState // nil value: clear
}

// How long one write may take, how long to wait after one that failed, and how
// long the last writes may take when the controller stops.
const (
	statusTimeout = 5 * time.Second
	statusRetry   = time.Second
	statusLast    = 2 * time.Second
)

func newStatusWriter(sink StatusSink, log hclog.Logger, known func(string) bool) *statusWriter {
	w := &statusWriter{
		sink: sink, log: log, known: known, wake: make(chan struct{}, 1), pending: map[string]*model.HostState{},
	}
	w.ctx, w.cancel = context.WithCancel(context.Background())
	return w
}

// stop makes run write what is pending and return.
func (w *statusWriter) stop() {
	if w != nil {
		w.cancel()
	}
}

// put hands in a host's state; nil clears it. It never blocks.
func (w *statusWriter) put(host string, st *model.HostState) {
	if w == nil {
		return
	}
	w.mu.Lock()
	w.pending[host] = st
	w.mu.Unlock()
	w.signal()
}

func (w *statusWriter) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *statusWriter) run() {
	ctx := w.ctx
	for {
		select {
		case <-ctx.Done():
			last, stop := context.WithTimeout(context.WithoutCancel(ctx), statusLast)
			w.flush(last)
			stop()
			return
		case <-w.wake:
		}
		if w.flush(ctx) {
			continue
		}
		t := time.NewTimer(statusRetry)
		select {
		case <-ctx.Done():
		case <-t.C:
			w.signal()
		}
		t.Stop()
	}
}

// flush writes what is pending; what fails stays, unless there is something
// newer. A sink that is away for long is complained of once.
func (w *statusWriter) flush(ctx context.Context) bool {
	w.mu.Lock()
	batch := w.pending
	w.pending = map[string]*model.HostState{}
	w.mu.Unlock()
	good := true
	for host, st := range batch {
		one, stop := context.WithTimeout(ctx, statusTimeout)
		var err error
		if st == nil {
			err = w.sink.ClearHostStatus(one, host)
		} else {
			err = w.sink.SetHostStatus(one, host, *st)
		}
		stop()
		if err == nil || !w.known(host) {
			continue
		}
		good = false
		if !w.failing {
			w.failing = true
			w.log.Warn("a host's status is not written; trying again until it is", "host", host, "error", err)
		}
		w.mu.Lock()
		if _, newer := w.pending[host]; !newer {
			w.pending[host] = st
		}
		w.mu.Unlock()
	}
	if good && w.failing {
		w.failing = false
		w.log.Info("all hosts' status is written again")
	}
	return good
}
