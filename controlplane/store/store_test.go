package store_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"baton/controlplane/model"
	"baton/controlplane/store"
)

// patience bounds every wait, those of the store itself included: it is for a store that
// hangs, and far beyond what anything here takes on a machine that is busy with others.
const patience = 3 * time.Minute

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// testLogger writes warnings to the test's output.
func testLogger(t *testing.T) hclog.Logger {
	return hclog.New(&hclog.LoggerOptions{Name: "store", Level: hclog.Warn, Output: t.Output()})
}

// open opens a store, closed at the test's end.
func open(t *testing.T, cfg store.Config) *store.Store {
	t.Helper()
	cfg.Logger = testLogger(t)
	s, err := store.Open(testContext(t), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

func embedded(t *testing.T) *store.Store {
	t.Helper()
	return open(t, store.Config{DataDir: t.TempDir(), Timeout: patience})
}

func parse(t *testing.T, text string) []model.Document {
	t.Helper()
	docs, err := model.Parse("net.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return docs
}

func apply(t *testing.T, s *store.Store, text string) store.Result {
	t.Helper()
	r, err := s.Apply(testContext(t), parse(t, text), store.ApplyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func snapshot(t *testing.T, s *store.Store) *store.Snapshot {
	t.Helper()
	snap, err := s.Snapshot(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	return snap
}

const network = `
kind: Host
name: host1
underlay: 192.168.100.1/24
---
kind: Switch
name: blue
---
kind: Router
name: r1
---
kind: Port
name: r1-blue
switch: blue
router: r1
ip: 10.0.1.1/24
---
kind: Port
name: vm1
switch: blue
ip: 10.0.1.11
host: host1
---
kind: Route
name: out
router: r1
prefix: 0.0.0.0/0
nextHop: 10.0.1.254
`

func TestApplyAllocatesAndKeepsIDs(t *testing.T) {
	t.Parallel()
	s := embedded(t)
	r := apply(t, s, network)
	if len(r.Created) != 6 || len(r.Updated)+len(r.Unchanged) != 0 {
		t.Fatalf("first apply: %+v", r)
	}
	st := snapshot(t, s).State
	blue, r1, link, vm1 := st.Switches["blue"], st.Routers["r1"], st.Ports["r1-blue"], st.Ports["vm1"]
	if blue.ID() == 0 || r1.ID() == 0 || blue.ID() == r1.ID() {
		t.Errorf("datapath ids %d and %d: want two of them", blue.ID(), r1.ID())
	}
	if link.SwitchID() == 0 || vm1.SwitchID() == 0 || link.SwitchID() == vm1.SwitchID() || link.Status.RouterID == 0 {
		t.Errorf("port ids: link %+v, vm1 %+v", link.Status, vm1.Status)
	}
	if vm1.Status.MAC.String() != "02:ba:0a:00:01:0b" {
		t.Errorf("derived MAC %s", vm1.Status.MAC)
	}
	if again := apply(t, s, network); len(again.Unchanged) != 6 || again.Revision != r.Revision {
		t.Errorf("second apply: %+v", again)
	}
	changed := apply(t, s, strings.Replace(network, "10.0.1.11", "10.0.1.12", 1))
	now := snapshot(t, s).State.Ports["vm1"]
	if len(changed.Updated) != 1 || now.SwitchID() != vm1.SwitchID() || now.IP.String() != "10.0.1.12" || now.Status.MAC == vm1.Status.MAC {
		t.Errorf("changed address: %+v, %+v", changed, now)
	}
}

func TestGetPrintsWhatApplyAccepts(t *testing.T) {
	t.Parallel()
	s := embedded(t)
	apply(t, s, network)
	all, err := s.List(testContext(t), "")
	if err != nil {
		t.Fatal(err)
	}
	text, err := model.EncodeYAML(all...)
	if err != nil {
		t.Fatal(err)
	}
	if r := apply(t, s, string(text)); len(r.Unchanged) != len(all) {
		t.Errorf("applying what get prints: %+v\n%s", r, text)
	}
}

func TestRefusedChangeChangesNothing(t *testing.T) {
	t.Parallel()
	s := embedded(t)
	apply(t, s, network)
	before := snapshot(t, s)
	cases := []struct{ name, text, want string }{
		{"duplicate IP", "kind: Port\nname: vm2\nswitch: blue\nip: 10.0.1.11\n", "net.yaml:4: port vm2: ip: 10.0.1.11 is already the IP of port vm1 on switch blue; take another"},
		{"id clash", "kind: Port\nname: vm2\nswitch: blue\nip: 10.0.1.12\nid: 1\n", "net.yaml:5: port vm2: id: 1 is already the port id of port r1-blue"},
		{"unknown switch", "kind: Port\nname: vm2\nswitch: red\nip: 10.0.1.12\n", `net.yaml:3: port vm2: switch: there is no switch "red"`},
		{"twice", "kind: Switch\nname: red\n---\nkind: Switch\nname: red\n", "net.yaml:5: switch red: name: given twice, first at net.yaml:2"},
		{"second of two", "kind: Switch\nname: red\n---\nkind: Switch\nname: green\nvni: 1\n", "net.yaml:6: switch green: vni: 1 is already the id of switch blue"},
		{"other router", "kind: Router\nname: r2\n---\nkind: Port\nname: r1-blue\nrouter: r2\nswitch: blue\nip: 10.0.1.1/24\n", "net.yaml:6: port r1-blue: router: a port does not change its router"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := s.Apply(testContext(t), parse(t, c.text), store.ApplyOptions{})
			var ps model.Problems
			if !errors.As(err, &ps) || !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
			if now := snapshot(t, s); now.Revision != before.Revision {
				t.Errorf("revision %d became %d", before.Revision, now.Revision)
			}
		})
	}
}

func TestDryRun(t *testing.T) {
	t.Parallel()
	s := embedded(t)
	r, err := s.Apply(testContext(t), parse(t, network), store.ApplyOptions{DryRun: true})
	if err != nil || len(r.Created) != 6 || r.Objects[1].(*model.Switch).ID() == 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	if n := snapshot(t, s).State.Len(); n != 0 {
		t.Errorf("a dry run left %d objects", n)
	}
}

func TestDelete(t *testing.T) {
	t.Parallel()
	s := embedded(t)
	apply(t, s, network)
	ref := func(k model.Kind, name string) model.Ref { return model.Ref{Kind: k, Name: name} }
	cases := []struct {
		refs []model.Ref
		is   error
		want string
	}{
		{[]model.Ref{ref(model.KindSwitch, "red")}, store.ErrNotFound, "switch red: no such object"},
		{[]model.Ref{ref(model.KindSwitch, "blue")}, store.ErrInUse, "switch blue: still in use by port r1-blue, port vm1; delete these first"},
		{[]model.Ref{ref(model.KindHost, "host1")}, store.ErrInUse, "host host1: still in use by port vm1; delete"},
		{[]model.Ref{ref(model.KindPort, "r1-blue")}, store.ErrInUse, "port r1-blue: still in use by route out; delete"},
		{[]model.Ref{ref(model.KindPort, "vm1"), ref(model.KindRouter, "r1")}, store.ErrInUse, "router r1: still in use by port r1-blue, route out; delete"},
	}
	for _, c := range cases {
		if _, err := s.Delete(testContext(t), c.refs); !errors.Is(err, c.is) || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("delete %v: got %v, want %s", c.refs, err, c.want)
		}
		if n := snapshot(t, s).State.Len(); n != 6 {
			t.Fatalf("delete %v: %d objects left of 6", c.refs, n)
		}
	}
	var all []model.Ref
	for _, o := range snapshot(t, s).State.List("") {
		all = append(all, o.Ref())
	}
	if _, err := s.Delete(testContext(t), append(all, all[0])); err != nil {
		t.Fatal(err)
	}
	if n := snapshot(t, s).State.Len(); n != 0 {
		t.Errorf("%d objects left", n)
	}
}

// ports is a file with a switch and n ports on it.
func ports(sw string, n int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "kind: Switch\nname: %s\n", sw)
	for i := range n {
		fmt.Fprintf(&b, "---\nkind: Port\nname: %s-%d\nswitch: %s\nip: 10.%d.%d.%d\n", sw, i, sw, 1+i>>16, i>>8&255, i&255)
	}
	return strings.ReplaceAll(b.String(), "10.1.0.0\n", "10.250.0.1\n")
}

func TestLargeApplyIsOneRevision(t *testing.T) {
	t.Parallel()
	s := embedded(t)
	const n = 3000
	from := snapshot(t, s)
	ctx, cancel := context.WithCancel(testContext(t))
	defer cancel()
	events := s.Watch(ctx, from)
	r := apply(t, s, ports("big", n))
	e := <-events
	if e.Revision != r.Revision || len(e.Changes) != n+1 || e.Resync {
		t.Errorf("event at %d with %d changes, applied at %d with %d", e.Revision, len(e.Changes), r.Revision, n+1)
	}
	if got := snapshot(t, s).State; len(got.Ports) != n {
		t.Errorf("%d ports of %d", len(got.Ports), n)
	}
}

func TestConcurrentAppliesNeverClash(t *testing.T) {
	t.Parallel()
	s := embedded(t)
	other := open(t, store.Config{Endpoints: []string{s.Endpoint()}})
	apply(t, s, "kind: Switch\nname: blue\n")
	const n = 8
	errs := make(chan error, 2*n)
	for i := range n {
		for w, st := range []*store.Store{s, other} {
			text := fmt.Sprintf("kind: Port\nname: p%d-%d\nswitch: blue\nip: 10.0.%d.%d\n", w, i, w, i+1)
			docs := parse(t, text)
			go func() {
				for {
					_, err := st.Apply(testContext(t), docs, store.ApplyOptions{})
					if !errors.Is(err, store.ErrConflict) {
						errs <- err
						return
					}
				}
			}()
		}
	}
	for range 2 * n {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	ids := map[uint16]string{}
	for _, p := range snapshot(t, s).State.Ports {
		if other, ok := ids[p.SwitchID()]; ok {
			t.Errorf("%s and %s both have port id %d", p.Name, other, p.SwitchID())
		}
		ids[p.SwitchID()] = p.Name
	}
	if len(ids) != 2*n {
		t.Errorf("%d ports of %d", len(ids), 2*n)
	}
}
