package migrate_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"baton/controlplane/compile"
	"baton/controlplane/migrate"
	"baton/controlplane/model"
	"baton/controlplane/ofe"
	"baton/controlplane/openflow"
	"baton/controlplane/store"
	"baton/dataplane/flow"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const limit = 10 * time.Second

var number = flow.LogicalPort(7, 1)

// world is store, network and hosts: one port, about to move from old to new.
type world struct {
	mu       sync.Mutex
	port     *model.Port
	sourceUp bool
	online   bool  // the source has a session
	fails    int   // writes that fail yet
	tries    int   // writes
	failure  error // of those that fail
	moved    chan string
	looked   chan struct{} // cap 1: after a look
}

func newWorld() *world {
	return &world{
		port:  &model.Port{Name: "vm1", Switch: "blue", Host: "old", MigrateTo: "new"},
		moved: make(chan string, 10), looked: make(chan struct{}, 1), online: true,
	}
}

func (w *world) Moving(host string, n flow.PortNo) *model.Port {
	w.mu.Lock()
	defer w.mu.Unlock()
	if host != w.port.MigrateTo || n != number {
		return nil
	}
	return model.Clone(w.port)
}

func (w *world) Host(name string) (ofe.HostInfo, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case w.looked <- struct{}{}:
	default:
	}
	return ofe.HostInfo{Name: name, Connected: w.online, Ports: []*openflow.PortStatus{
		{Name: "vm2", Up: true}, {Name: "vm1", Up: w.sourceUp},
	}}, true
}

func (w *world) Arrive(_ context.Context, port, host string) (int64, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tries++
	if w.fails > 0 {
		w.fails--
		return 0, w.failure
	}
	if port != w.port.Name || host != w.port.MigrateTo {
		return 0, store.ErrNotMoving
	}
	w.port.Host, w.port.MigrateTo = host, ""
	w.moved <- host
	return 5, nil
}

// start runs Arrivals over w until the test ends.
func start(t *testing.T, w *world) *migrate.Arrivals {
	t.Helper()
	a := migrate.New(migrate.Config{Store: w, Network: w, Hosts: w, Retry: time.Millisecond})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		a.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return a
}

func frame(reason uint32, n flow.PortNo) *openflow.PacketIn {
	return &openflow.PacketIn{InPort: uint64(n), Reason: reason}
}

func (w *world) waitMoved(t *testing.T) {
	t.Helper()
	select {
	case <-w.moved:
	case <-time.After(limit):
		t.Fatal("the port did not move")
	}
}

// A thousand frames are one move.
func TestArrivalMovesOnce(t *testing.T) {
	w := newWorld()
	a := start(t, w)
	for range 1000 {
		a.PacketIn("new", frame(compile.PuntArrived, number))
	}
	w.waitMoved(t)
	a.PacketIn("new", frame(compile.PuntArrived, number))
	if w.mu.Lock(); len(w.moved) != 0 || w.tries != 1 || w.port.Host != "new" {
		t.Errorf("%d more moves, %d writes, port at %s", len(w.moved), w.tries, w.port.Host)
	}
	w.mu.Unlock()
}

// Frames for other reasons, from other hosts and of other ports move nothing.
func TestArrivalOfOthers(t *testing.T) {
	w := newWorld()
	a := start(t, w)
	a.PacketIn("new", frame(compile.PuntArrived+1, number))
	a.PacketIn("old", frame(compile.PuntArrived, number))
	a.PacketIn("new", frame(compile.PuntArrived, number+1))
	a.PacketIn("new", frame(compile.PuntArrived, number)) // the one that counts, last in line
	w.waitMoved(t)
	if w.mu.Lock(); w.tries != 1 {
		t.Errorf("%d writes", w.tries)
	}
	w.mu.Unlock()
}

// While the port is up at the source the move is refused; when it goes down there,
// the move ends without a further frame.
func TestArrivalWaitsForTheSource(t *testing.T) {
	w := newWorld()
	w.sourceUp = true
	a := start(t, w)
	a.PacketIn("new", frame(compile.PuntArrived, number))
	for range 3 {
		select {
		case <-w.looked:
		case <-time.After(limit):
			t.Fatal("not tried again")
		}
	}
	if w.mu.Lock(); w.tries != 0 {
		t.Error("moved while the VM runs on both hosts")
	}
	w.sourceUp = false
	w.mu.Unlock()
	w.waitMoved(t)
}

// A host without a session cannot keep its VM from leaving.
func TestArrivalFromAHostThatIsGone(t *testing.T) {
	w := newWorld()
	w.sourceUp, w.online = true, false
	start(t, w).PacketIn("new", frame(compile.PuntArrived, number))
	w.waitMoved(t)
}

// A store that is away is tried until it is back; one that knows of no move is not.
func TestArrivalAndTheStore(t *testing.T) {
	w := newWorld()
	w.fails, w.failure = 3, errors.New("etcd is away")
	start(t, w).PacketIn("new", frame(compile.PuntArrived, number))
	w.waitMoved(t)
	if w.mu.Lock(); w.tries != 4 {
		t.Errorf("%d writes, want 4", w.tries)
	}
	w.mu.Unlock()

	w = newWorld()
	w.fails, w.failure = 1, store.ErrNotMoving
	a := start(t, w)
	a.PacketIn("new", frame(compile.PuntArrived, number))
	late := time.After(limit)
	for { // the report that was stale is done with: a further frame is a new one
		select {
		case <-w.moved:
			return
		case <-late:
			t.Fatal("the port did not move")
		case <-time.After(time.Millisecond):
			a.PacketIn("new", frame(compile.PuntArrived, number))
		}
	}
}
