package store_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"baton/controlplane/model"
	"baton/controlplane/store"
)

// follow applies events to a copy of the snapshot until it equals want.
func follow(t *testing.T, events <-chan store.Event, have *model.State, want func() *model.State) (seen []store.Event) {
	t.Helper()
	deadline := time.After(patience)
	for len(have.Diff(want())) > 0 {
		select {
		case e, ok := <-events:
			if !ok {
				t.Fatal("the watch ended")
			}
			if len(seen) > 0 && e.Revision <= seen[len(seen)-1].Revision && !e.Resync {
				t.Errorf("revision %d came after %d", e.Revision, seen[len(seen)-1].Revision)
			}
			have.Apply(e.Changes)
			seen = append(seen, e)
		case <-deadline:
			t.Fatalf("the watch did not come to %d objects, it has %d after %d events", want().Len(), have.Len(), len(seen))
		}
	}
	return seen
}

func port(name, ip string) string {
	return fmt.Sprintf("kind: Port\nname: %s\nswitch: blue\nip: %s\n", name, ip)
}

func compact(t *testing.T, s *store.Store) {
	t.Helper()
	if _, err := s.Client().Compact(testContext(t), snapshot(t, s).Revision); err != nil {
		t.Fatal(err)
	}
}

func TestWatchDeliversEachRevision(t *testing.T) {
	t.Parallel()
	s := embedded(t)
	apply(t, s, network)
	from := snapshot(t, s)
	ctx, cancel := context.WithCancel(testContext(t))
	events := s.Watch(ctx, from)
	var revisions []int64
	for i := range 5 {
		revisions = append(revisions, apply(t, s, port("p", fmt.Sprintf("10.0.1.%d", 100+i))).Revision)
	}
	rev, err := s.Delete(testContext(t), []model.Ref{{Kind: model.KindPort, Name: "p"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range append(revisions, rev) {
		e := <-events
		if e.Revision != want || len(e.Changes) != 1 || e.Resync || len(e.Skipped) != 0 {
			t.Errorf("event %+v, want one change at %d", e, want)
		}
		if deleted := e.Changes[0].Object == nil; deleted != (want == rev) {
			t.Errorf("event %+v: object %v", e, e.Changes[0].Object)
		}
	}
	cancel()
	if e, open := <-events; open {
		t.Errorf("after the end came %+v", e)
	}
}

// TestWatchFromCompactedRevision is a watcher whose revisions are gone before it starts.
func TestWatchFromCompactedRevision(t *testing.T) {
	t.Parallel()
	s := embedded(t)
	apply(t, s, network)
	old := snapshot(t, s)
	apply(t, s, port("p", "10.0.1.77"))
	if _, err := s.Delete(testContext(t), []model.Ref{{Kind: model.KindPort, Name: "vm1"}}); err != nil {
		t.Fatal(err)
	}
	compact(t, s)
	events := s.Watch(testContext(t), old)
	e := <-events
	if !e.Resync || len(e.Changes) != 2 || e.Changes[0].Ref.Name != "vm1" || e.Changes[0].Object != nil || e.Changes[1].Ref.Name != "p" {
		t.Fatalf("the gap came as %+v", e)
	}
	have := old.State
	have.Apply(e.Changes)
	apply(t, s, port("q", "10.0.1.78"))
	if seen := follow(t, events, have, func() *model.State { return snapshot(t, s).State }); seen[0].Resync {
		t.Errorf("after the gap: %+v", seen)
	}
}

// TestMemberRestart stops the etcd under a store and its watch, and starts it
// again with changes in between that are compacted at once.
func TestMemberRestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cfg := store.Config{DataDir: dir, Logger: testLogger(t)}
	first, err := store.Open(testContext(t), cfg)
	if err != nil {
		t.Fatal(err)
	}
	remote := open(t, store.Config{Endpoints: []string{first.Endpoint()}, Timeout: 3 * time.Second})
	apply(t, remote, network)
	from := snapshot(t, remote)
	events := remote.Watch(testContext(t), from)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := remote.Snapshot(testContext(t)); err == nil {
		t.Error("read from an etcd that is not there")
	}
	second := open(t, cfg)
	apply(t, second, port("p", "10.0.1.77"))
	compact(t, second)
	follow(t, events, from.State, func() *model.State { return snapshot(t, second).State })
	apply(t, remote, port("q", "10.0.1.78"))
	follow(t, events, from.State, func() *model.State { return snapshot(t, second).State })
}

// TestDataLost replaces etcd by an empty one behind the same address.
func TestDataLost(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cfg := store.Config{DataDir: dir, Logger: testLogger(t)}
	first, err := store.Open(testContext(t), cfg)
	if err != nil {
		t.Fatal(err)
	}
	remote := open(t, store.Config{Endpoints: []string{first.Endpoint()}, Timeout: 3 * time.Second})
	for i := range 20 {
		apply(t, remote, network+"---\n"+port("p", fmt.Sprintf("10.0.1.%d", 100+i)))
	}
	from := snapshot(t, remote)
	events := remote.Watch(testContext(t), from)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(dir, "etcd")); err != nil {
		t.Fatal(err)
	}
	second := open(t, cfg)
	apply(t, second, "kind: Switch\nname: green\n")
	seen := follow(t, events, from.State, func() *model.State { return snapshot(t, second).State })
	if last := seen[len(seen)-1]; !last.Resync {
		t.Errorf("lost data came as %+v", last)
	}
}

// TestHostileValues puts into etcd what no store would.
func TestHostileValues(t *testing.T) {
	t.Parallel()
	s := embedded(t)
	apply(t, s, network)
	from := snapshot(t, s)
	events := s.Watch(testContext(t), from)
	put := func(key, value string) {
		t.Helper()
		if _, err := s.Client().Put(testContext(t), s.Prefix()+key, value); err != nil {
			t.Fatal(err)
		}
	}
	bad := map[string]string{
		"/objects/Switch/a":        "",
		"/objects/Switch/b":        "{",
		"/objects/Switch/c":        `{"kind":"Switch","name":"other"}`,
		"/objects/Switch/d":        `{"kind":"Switch","name":"d","vni":4294967295}`,
		"/objects/Switch/e":        `{"kind":"Router","name":"e"}`,
		"/objects/Volcano/f":       `{"kind":"Volcano","name":"f"}`,
		"/objects/Port/g":          `{"kind":"Port","name":"g","switch":"blue","ip":"::1"}`,
		"/objects/Port/h":          `{"kind":"Port","name":"h","switch":"../../etc","ip":"10.0.1.99"}`,
		"/objects/Port/../x":       `{"kind":"Port","name":"../x","switch":"blue","ip":"10.0.1.99"}`,
		"/objects/Host/i":          `{"kind":"Host","name":"i","underlay":"192.168.1.1"}`,
		"/objects/Route/j":         `[[[[`,
		"/objects/Port/k":          `{"kind":"Port","name":"k","switch":"blue","ip":null}`,
		"/objects":                 "x",
		"/objects/":                "x",
		"/learned/host/host1":      `{"mac":"ff:ff:ff:ff:ff:ff"}`,
		"/live/host/host1":         `"yes"`,
		"/live/host/nobody":        `{}`,
		"/something/else":          "\xff\x00",
		"/objects/Switch/\xff\xfe": "\xff",
	}
	for key, value := range bad {
		put(key, value)
	}
	put("/objects/Switch/good", `{"kind":"Switch","name":"good","vni":99,"future":"key"}`)
	now := snapshot(t, s)
	if got := now.State.Len(); got != from.State.Len()+1 {
		t.Errorf("%d objects, want %d", got, from.State.Len()+1)
	}
	if want := len(bad) - 3; len(now.Skipped) != want { // /objects, nobody and something are none of ours, or harmless
		t.Errorf("%d keys skipped, want %d: %v", len(now.Skipped), want, now.Skipped)
	}
	var skipped int
	for _, e := range follow(t, events, from.State, func() *model.State { return now.State }) {
		skipped += len(e.Skipped)
	}
	if skipped != len(now.Skipped) {
		t.Errorf("the watch skipped %d keys, want %d", skipped, len(now.Skipped))
	}
	put("/objects/Port/vm1", "overwritten")
	if e := <-events; len(e.Changes) != 1 || e.Changes[0].Object != nil || len(e.Skipped) != 1 {
		t.Errorf("an object that became unreadable came as %+v", e)
	}
	apply(t, s, network) // puts it right
	if e := <-events; len(e.Changes) != 1 || e.Changes[0].Object == nil {
		t.Errorf("an object that became readable came as %+v", e)
	}
}

func TestHostStatus(t *testing.T) {
	t.Parallel()
	s := embedded(t)
	apply(t, s, network)
	other := open(t, store.Config{Endpoints: []string{s.Endpoint()}, StatusTTL: time.Second})
	mac := [6]byte{2, 0, 0, 0, 0, 7}
	host := func() *model.Host { return snapshot(t, s).State.Hosts["host1"] }
	if err := s.SetHostStatus(testContext(t), "nobody", model.HostState{}); err == nil {
		t.Error("status of a host that is not there")
	}
	if err := s.SetHostStatus(testContext(t), "host1", model.HostState{MAC: mac, Version: "1.2"}); err != nil {
		t.Fatal(err)
	}
	if st := host().Status; !st.Connected || st.MAC != mac || st.Version != "1.2" {
		t.Errorf("status %+v", st)
	}
	// The session moves to another controller; the first one's end must not end it.
	if err := other.SetHostStatus(testContext(t), "host1", model.HostState{Version: "1.3"}); err != nil {
		t.Fatal(err)
	}
	if err := s.ClearHostStatus(testContext(t), "host1"); err != nil {
		t.Fatal(err)
	}
	if st := host().Status; !st.Connected || st.Version != "1.3" || st.MAC != mac {
		t.Errorf("status after the move %+v", st)
	}
	// What is known of a pair of VTEPs outlives the session as well.
	pair := model.HostState{MAC: mac, AlternateMAC: [6]byte{2, 0, 0, 0, 0, 8}, AtAlternate: true, Version: "1.3"}
	if err := other.SetHostStatus(testContext(t), "host1", pair); err != nil {
		t.Fatal(err)
	}
	if st := host().Status; st.MAC != mac || st.AlternateMAC != pair.AlternateMAC || !st.AtAlternate {
		t.Errorf("status of a pair %+v", st)
	}
	if r := apply(t, s, network); len(r.Updated) != 0 {
		t.Errorf("status made apply change %v", r.Updated)
	}
	if err := other.ClearHostStatus(testContext(t), "host1"); err != nil {
		t.Fatal(err)
	}
	if st := host().Status; st.Connected || st.MAC != mac || st.AlternateMAC != pair.AlternateMAC || !st.AtAlternate {
		t.Errorf("status after the session %+v", st)
	}
	if err := other.SetHostStatus(testContext(t), "host1", model.HostState{}); err != nil {
		t.Fatal(err)
	}
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	if st := host().Status; st.Connected || st.MAC != mac {
		t.Errorf("status after the controller %+v", st)
	}
}

// TestLeaseLost takes the lease away under a live session.
func TestLeaseLost(t *testing.T) {
	t.Parallel()
	s := embedded(t)
	apply(t, s, network)
	if err := s.SetHostStatus(testContext(t), "host1", model.HostState{Version: "1"}); err != nil {
		t.Fatal(err)
	}
	from := snapshot(t, s)
	events := s.Watch(testContext(t), from)
	leases, err := s.Client().Leases(testContext(t))
	if err != nil || len(leases.Leases) != 1 {
		t.Fatalf("%+v, %v", leases, err)
	}
	if _, err := s.Client().Revoke(testContext(t), leases.Leases[0].ID); err != nil {
		t.Fatal(err)
	}
	for _, want := range []bool{false, true} {
		e := <-events
		if h, ok := e.Changes[0].Object.(*model.Host); !ok || h.Status.Connected != want {
			t.Fatalf("event %+v, want connected %v", e, want)
		}
	}
}

// TestExternalServer runs Debian's etcd, an older version, as the cluster.
func TestExternalServer(t *testing.T) {
	t.Parallel()
	path, err := exec.LookPath("etcd")
	if err != nil {
		t.Skip("no etcd program: install etcd-server")
	}
	dir := t.TempDir()
	url := "http://127.0.0.1:" + freePort(t)
	peer := "http://127.0.0.1:" + freePort(t)
	cmd := exec.Command(path, "--name", "old", "--data-dir", filepath.Join(dir, "data"), "--listen-client-urls", url,
		"--advertise-client-urls", url, "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
		"--initial-cluster", "old="+peer, "--logger", "zap", "--log-outputs", filepath.Join(dir, "log"))
	cmd.Stderr = t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	s := open(t, store.Config{Endpoints: []string{url}, Prefix: "elsewhere/", Timeout: 20 * time.Second})
	from := snapshot(t, s)
	events := s.Watch(testContext(t), from)
	apply(t, s, network)
	apply(t, s, ports("big", 500)) // more than that etcd's 128 operations
	follow(t, events, from.State, func() *model.State { return snapshot(t, s).State })
	resp, err := s.Client().Get(testContext(t), "/elsewhere/objects/", clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil || resp.Count != 507 {
		t.Errorf("%d keys under the prefix, %v", resp.Count, err)
	}
	if err := s.SetHostStatus(testContext(t), "host1", model.HostState{}); err != nil {
		t.Error(err)
	}
}
