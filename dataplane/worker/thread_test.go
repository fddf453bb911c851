package worker

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"baton/dataplane/buf"
	"baton/dataplane/pipeline"
	"baton/dataplane/port"
)

// Each worker calls Config.Thread on its own thread, and what that returned on the same one.
func TestThread(t *testing.T) {
	var mu sync.Mutex
	begun, ended := map[int]int{}, map[int]int{}
	l := newLab(t, func(c *Config) {
		c.Workers = 3
		c.Thread = func(worker int) (func(), error) {
			mu.Lock()
			defer mu.Unlock()
			begun[worker] = unix.Gettid()
			return func() {
				mu.Lock()
				defer mu.Unlock()
				ended[worker] = unix.Gettid()
			}, nil
		}
	})
	if err := l.Pool.Close(); err != nil {
		t.Fatal(err)
	}
	var tids []int
	for worker, tid := range begun {
		tids = append(tids, tid)
		if ended[worker] != tid {
			t.Errorf("worker %d began on thread %d and ended on %d", worker, tid, ended[worker])
		}
	}
	slices.Sort(tids)
	if len(slices.Compact(tids)) != 3 {
		t.Errorf("threads %v", tids)
	}
}

// A worker that may not have its thread does not run, and Start says so.
func TestThread_refused(t *testing.T) {
	src, err := buf.NewPool(1024, buf.DefaultDataRoom)
	if err != nil {
		t.Fatal(err)
	}
	refused := errors.New("no lease")
	p, err := New(Config{Workers: 2, Source: src, Pipeline: pipeline.New(), Thread: func(worker int) (func(), error) {
		if worker == 1 {
			return nil, refused
		}
		return func() {}, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); !errors.Is(err, refused) || !strings.Contains(err.Error(), "worker 1") {
		t.Errorf("started: %v", err)
	}
	if err := errors.Join(p.Close(), src.Close()); err != nil {
		t.Error(err)
	}
}

// stuckQueue's worker does not come back from its first Rx until it is let go.
type stuckQueue struct {
	port.Queue
	once    sync.Once
	in, out chan bool
}

func (q *stuckQueue) Rx(*buf.Cache, *buf.Vec) int {
	q.once.Do(func() {
		q.in <- true
		<-q.out
	})
	return 0
}

type stuckPort struct {
	*double
	q *stuckQueue
}

func (p *stuckPort) Queue(int) port.Queue { return p.q }

// Beats tell a worker that is stuck from one that works and from one that sleeps.
func TestBeats(t *testing.T) {
	l := newLab(t, nil)
	d := newDouble(t, "stuck", port.KindMem, 1)
	p := &stuckPort{d, &stuckQueue{Queue: d.Queue(0), in: make(chan bool), out: make(chan bool)}}
	if err := l.AddPort(p, PortOptions{}); err != nil {
		t.Fatal(err)
	}
	<-p.q.in
	before := l.Beats()
	for range 1000 {
		if now := l.Beats(); now[0] != before[0] || now[0].Idle {
			t.Fatalf("stuck: %+v, and %+v before", now, before)
		}
	}
	p.q.out <- true
	eventually(t, "a beat", func() bool { now := l.Beats(); return now[0].Idle || now[0].Epoch > before[0].Epoch })
	if err := l.RemovePort("stuck"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "sleep", func() bool { return l.Beats()[0].Idle })
}
