package vmc_test

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"baton/controlplane/compile"
	"baton/controlplane/model"
	"baton/controlplane/openflow"
	"baton/controlplane/store"
	"baton/controlplane/vmc"
	"baton/dataplane/flow"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeStore gives one snapshot and the events of the test.
type fakeStore struct {
	mu     sync.Mutex
	state  *model.State
	rev    int64
	events chan store.Event
}

func (f *fakeStore) Snapshot(context.Context) (*store.Snapshot, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return &store.Snapshot{State: f.state.Clone(), Revision: f.rev}, nil
}

func (f *fakeStore) Watch(ctx context.Context, _ *store.Snapshot) <-chan store.Event {
	out := make(chan store.Event)
	go func() {
		defer close(out)
		for {
			select {
			case <-ctx.Done():
				return
			case e := <-f.events:
				select {
				case out <- e:
				case <-ctx.Done():
				}
			}
		}
	}()
	return out
}

func (f *fakeStore) change(objects ...model.Change) int64 {
	f.mu.Lock()
	f.state.Apply(objects)
	f.rev++
	e := store.Event{Revision: f.rev, Changes: objects}
	f.mu.Unlock()
	f.events <- e
	return e.Revision
}

// fakeSink keeps states; hold stops it in its next call.
type fakeSink struct {
	mu    sync.Mutex
	hosts map[string]*openflow.State
	ready bool
	order []string         // of bindings that came
	told  map[string]int64 // the revision of each one
	gate  chan struct{}
}

func (s *fakeSink) SetHost(h string, c flow.Change, revision int64) {
	s.mu.Lock()
	s.hosts[h] = openflow.NewState()
	s.mu.Unlock()
	s.Update(h, c, revision)
}

func (s *fakeSink) Update(h string, c flow.Change, revision int64) {
	s.mu.Lock()
	gate := s.gate
	s.mu.Unlock()
	if gate != nil {
		<-gate
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hosts[h].Apply(&c)
	for _, b := range c.SetBindings {
		s.order = append(s.order, b.Name)
		s.told[b.Name] = revision
	}
}

func (s *fakeSink) RemoveHost(h string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.hosts, h)
}

func (s *fakeSink) Ready() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ready = true
}

func host(n int) *model.Host {
	a := netip.AddrFrom4([4]byte{192, 168, 0, byte(n)})
	return &model.Host{Name: fmt.Sprintf("h%d", n), Underlay: model.Address{Addr: a, Bits: 24}, MAC: flow.MAC{2, byte(n)}}
}

func port(sw string, n int) *model.Port {
	a := netip.AddrFrom4([4]byte{10, sw[0], byte(n >> 8), byte(n)})
	return &model.Port{Name: fmt.Sprintf("%s%d", sw, n), Switch: sw, IP: model.Address{Addr: a}, Host: "h1", ID: uint16(n)}
}

func set(o model.Object) model.Change { return model.Change{Ref: o.Ref(), Object: o} }

func start(t *testing.T, objects ...model.Object) (*vmc.VMC, *fakeStore, *fakeSink) {
	t.Helper()
	f := &fakeStore{state: model.NewState(objects...), rev: 5, events: make(chan store.Event)}
	s := &fakeSink{hosts: map[string]*openflow.State{}, told: map[string]int64{}}
	v := vmc.New(vmc.Config{Store: f, Sink: s})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = v.Run(ctx)
	}()
	t.Cleanup(func() { cancel(); <-done })
	return v, f, s
}

func wait(t *testing.T, v *vmc.VMC, rev int64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := v.WaitProcessed(ctx, rev); err != nil {
		t.Fatal(err)
	}
}

// check holds the sink against a compilation from scratch.
func (s *fakeSink) check(t *testing.T, f *fakeStore) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.hosts) != len(f.state.Hosts) {
		t.Errorf("%d hosts, want %d", len(s.hosts), len(f.state.Hosts))
	}
	for name, got := range s.hosts {
		want, c := openflow.NewState(), compile.Host(f.state, name).Change()
		if want.Apply(&c); got.Digest() != want.Digest() {
			t.Errorf("host %s has %v, want %v", name, got.Digest(), want.Digest())
		}
	}
}

func TestFollows(t *testing.T) {
	v, f, s := start(t, host(1), host(2), &model.Switch{Name: "a", VNI: 1}, &model.Switch{Name: "b", VNI: 2})
	wait(t, v, 5)
	if s.check(t, f); !s.ready {
		t.Error("the sink was not told that all hosts are set")
	}
	link := port("a", 200)
	link.Host, link.Router, link.IP.Bits, link.Status.RouterID = "", "r", 24, 1
	moved := port("a", 1)
	moved.Switch = "b"
	for _, c := range [][]model.Change{
		{set(port("a", 1)), set(port("b", 2))},
		{set(host(3))},
		{set(&model.Router{Name: "r", VNI: 3}), set(link)},
		{set(moved)}, // to another network
		{{Ref: link.Ref()}},
		{{Ref: model.Ref{Kind: model.KindHost, Name: "h2"}}},
		{{Ref: moved.Ref()}, {Ref: model.Ref{Kind: model.KindRouter, Name: "r"}}},
	} {
		wait(t, v, f.change(c...))
		s.check(t, f)
	}
	f.mu.Lock()
	f.rev += 3 // revisions that change no object have no event
	rev := f.rev
	f.mu.Unlock()
	wait(t, v, rev)
}

// TestChurnOfOneNetwork_DelaysNoOther: while one network has thousands of changes
// waiting, another's single change is next but one.
func TestChurnOfOneNetwork_DelaysNoOther(t *testing.T) {
	v, f, s := start(t, host(1), &model.Switch{Name: "a", VNI: 1}, &model.Switch{Name: "b", VNI: 2})
	wait(t, v, 5)
	gate := make(chan struct{})
	s.mu.Lock()
	s.gate = gate
	s.mu.Unlock()
	var churn []model.Change
	for n := range 3000 {
		churn = append(churn, set(port("a", n+1)))
	}
	f.change(churn...)
	rev := f.change(set(port("b", 1)))
	if n := v.Stats().Networks["switch b"]; n > 1 {
		t.Errorf("%d objects wait for network b", n)
	}
	s.mu.Lock()
	s.gate = nil
	s.mu.Unlock()
	close(gate)
	wait(t, v, rev)
	s.check(t, f)
	at := -1
	for i, name := range s.order {
		if name == "b1" {
			at = i
		}
	}
	if at < 0 || at > 256 {
		t.Errorf("the other network's change came after %d of the churn", at)
	}
	// The host must not be said to have a revision while older changes wait.
	if last := s.order[len(s.order)-1]; s.told["b1"] >= rev-1 || s.told[last] != rev {
		t.Errorf("b1 came as revision %d, the last change %s as %d; older changes waited for b1, and %d is the end", s.told["b1"], last, s.told[last], rev)
	}
	if v.Stats().Processed != rev {
		t.Errorf("stats %+v", v.Stats())
	}
}
