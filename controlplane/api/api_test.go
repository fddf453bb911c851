package api_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.uber.org/goleak"
	"google.golang.org/grpc"

	"baton/controlplane/agent"
	"baton/controlplane/agent/agenttest"
	"baton/controlplane/api"
	"baton/controlplane/compile"
	"baton/controlplane/model"
	"baton/controlplane/ofe"
	"baton/controlplane/openflow"
	"baton/controlplane/store"
	"baton/controlplane/vmc"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// plane is a whole control plane: a real embedded etcd, and real sockets.
type plane struct {
	dir    string
	store  *store.Store
	ofe    *ofe.Server
	vmc    *vmc.VMC
	client *api.Client
	stop   func()
}

func startPlane(t *testing.T, dir string) *plane {
	t.Helper()
	p := &plane{dir: dir}
	var err error
	if p.store, err = store.Open(t.Context(), store.Config{DataDir: filepath.Join(dir, "etcd")}); err != nil {
		t.Fatal(err)
	}
	p.ofe = ofe.New(ofe.Config{Status: p.store, EchoInterval: 100 * time.Millisecond, EchoTimeout: 10 * time.Second})
	p.vmc = vmc.New(vmc.Config{Store: p.store, Sink: p.ofe})
	server := api.NewServer(api.Config{Store: p.store, Hosts: p.ofe, Progress: p.vmc, SetLogLevel: func(name string, l hclog.Level) error {
		if name != "" && name != "ofe" {
			return errors.New("there is no such part")
		}
		return nil
	}})
	ctx, cancel := context.WithCancel(context.Background())
	run := make(chan struct{})
	go func() {
		defer close(run)
		_ = p.vmc.Run(ctx)
	}()
	stopAPI := serveOn(t, filepath.Join(dir, "api.sock"), server.Register, server.ServerOptions()...)
	stopOF := serveOn(t, filepath.Join(dir, "of.sock"), p.ofe.Register)
	if p.client, err = api.Dial("unix:"+filepath.Join(dir, "api.sock"), nil); err != nil {
		t.Fatal(err)
	}
	stopped := false
	p.stop = func() {
		if stopped {
			return
		}
		stopped = true
		p.client.Close()
		cancel()
		<-run
		p.ofe.Close()
		stopAPI()
		stopOF()
		if err := p.store.Close(); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(p.stop)
	return p
}

func serveOn(t *testing.T, path string, register func(*grpc.Server), options ...grpc.ServerOption) (stop func()) {
	t.Helper()
	l, err := openflow.Endpoint{Network: "unix", Address: path}.Listen()
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer(options...)
	register(g)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = g.Serve(l)
	}()
	return func() { g.Stop(); <-done }
}

func startHost(t *testing.T, p *plane, name string) (*agent.Agent, *agenttest.Target) {
	t.Helper()
	target := &agenttest.Target{}
	a, err := agent.New(agent.Config{
		Target: target, Host: name, Software: "v1", VTEP: agent.VTEP{MAC: [6]byte{2, name[1]}}, MTU: 1500,
		Controllers: []string{"unix:" + filepath.Join(p.dir, "of.sock")}, MinBackoff: time.Millisecond, MaxBackoff: 20 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = a.Run(ctx)
	}()
	t.Cleanup(func() { cancel(); <-done })
	return a, target
}

const base = `kind: Host
name: h1
underlay: 192.168.1.1/24
---
kind: Host
name: h2
underlay: 192.168.1.2/24
---
kind: Switch
name: blue
---
kind: Switch
name: green
`

func port(name, sw, ip, host string) string {
	return fmt.Sprintf("---\nkind: Port\nname: %s\nswitch: %s\nip: %s\nhost: %s\n", name, sw, ip, host)
}

func network() string {
	s := base
	for i := range 40 {
		s += port(fmt.Sprintf("b%d", i), "blue", fmt.Sprintf("10.0.1.%d", i+10), fmt.Sprintf("h%d", i%2+1))
		s += port(fmt.Sprintf("g%d", i), "green", fmt.Sprintf("10.0.2.%d", i+10), fmt.Sprintf("h%d", i%2+1))
	}
	return s
}

func (p *plane) apply(t *testing.T, text string) store.Result {
	t.Helper()
	r, err := p.client.Apply(t.Context(), []*api.File{{Name: "net.yaml", Data: []byte(text)}}, false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.client.WaitConverged(t.Context(), r.Revision); err != nil {
		t.Fatal(err)
	}
	return r
}

// correct holds a host against a compilation from scratch of what etcd has.
func (p *plane) correct(t *testing.T, host string, target *agenttest.Target) {
	t.Helper()
	agenttest.Eventually(t, "host "+host+" has what the network says", func() error {
		snap, err := p.store.Snapshot(t.Context())
		if err != nil {
			return err
		}
		s, c := openflow.NewState(), compile.Host(snap.State, host).Change()
		s.Apply(&c)
		return agenttest.Want(s.Digest() == target.Digest(), "host has %v, want %v", target.Digest(), s.Digest())
	})
}

func TestWholePlane(t *testing.T) {
	dir := t.TempDir()
	p := startPlane(t, dir)
	p.apply(t, network())
	a1, t1 := startHost(t, p, "h1")
	_, t2 := startHost(t, p, "h2")
	p.correct(t, "h1", t1)
	p.correct(t, "h2", t2)
	hosts, err := p.client.Hosts(t.Context())
	if err != nil || len(hosts) != 2 || !hosts[0].Connected || hosts[0].Version != "v1" {
		t.Fatalf("hosts %v, error %v", hosts, err)
	}

	p.onePortMore(t, t1)

	// The controller restarts, and finds its hosts in step.
	p.stop()
	agenttest.Eventually(t, "session ended", func() error {
		return agenttest.Want(a1.Status().Controller == "", "%+v", a1.Status())
	})
	if t1.Digest().Entries < 100 {
		t.Error("not fail static")
	}
	p = startPlane(t, dir)
	agenttest.Eventually(t, "hosts are back", func() error {
		i, _ := p.ofe.Host("h1")
		return agenttest.Want(i.InStep, "%+v", i)
	})
	p.correct(t, "h1", t1)
	if i, _ := p.ofe.Host("h1"); i.EntriesSent > 2 || i.EntriesSkipped < 100 {
		t.Errorf("after a restart %d entries were sent, %d skipped", i.EntriesSent, i.EntriesSkipped)
	}

	p.join(t, t1, t2)
}

// onePortMore: a few rules, not the hundreds that there are.
func (p *plane) onePortMore(t *testing.T, t1 *agenttest.Target) {
	t.Helper()
	before := len(t1.Changes())
	p.apply(t, port("b99", "blue", "10.0.1.99", "h2"))
	p.correct(t, "h1", t1)
	n := 0
	for _, c := range t1.Changes()[before:] {
		n += agenttest.Entries(c)
	}
	if total := t1.Digest().Entries; n == 0 || n > 8 || total < 100 {
		t.Errorf("one port of another host cost %d entries of %d", n, total)
	}
}

// join makes a router between the two networks, and takes it away again.
func (p *plane) join(t *testing.T, t1, t2 *agenttest.Target) {
	t.Helper()
	p.apply(t, "kind: Router\nname: r1\n---\nkind: Port\nname: r1b\nswitch: blue\nrouter: r1\nip: 10.0.1.1/24\n---\nkind: Port\nname: r1g\nswitch: green\nrouter: r1\nip: 10.0.2.1/24\n")
	p.correct(t, "h1", t1)
	refs := []model.Ref{{Kind: "ports", Name: "r1b"}, {Kind: "Port", Name: "r1g"}, {Kind: "router", Name: "r1"}}
	rev, err := p.client.Delete(t.Context(), refs...)
	if err != nil {
		t.Fatal(err)
	}
	if in, err := p.client.WaitConverged(t.Context(), rev); err != nil || len(in) != 2 {
		t.Errorf("converged %v, error %v", in, err)
	}
	p.correct(t, "h1", t1)
	p.correct(t, "h2", t2)
	d, o, err := p.client.Describe(t.Context(), "port", "b1")
	if err != nil || o.Ref().Name != "b1" || len(d.Rules) != 2 || len(d.Uses) != 2 {
		t.Errorf("description %v, object %v, error %v", d, o, err)
	}
}

func TestApply_WrongInputChangesNothing(t *testing.T) {
	p := startPlane(t, t.TempDir())
	p.apply(t, base+port("vm1", "blue", "10.0.1.11", "h1"))
	for _, c := range []struct{ name, text, want string }{
		{"not YAML", "kind: [", "net.yaml:1"},
		{"unknown key", "kind: Switch\nname: x\ncolour: 3\n", "net.yaml:3"},
		{"unknown kind", "kind: Bridge\nname: x\n", "net.yaml:1"},
		{"unknown switch", "kind: Port\nname: p\nswitch: red\nip: 10.0.1.12\n", "net.yaml:3"},
		{"duplicate IP", "kind: Port\nname: p\nswitch: blue\nip: 10.0.1.11\n", "net.yaml:4"},
		{"one bad among good", "kind: Switch\nname: fine\n---\nkind: Port\nname: p\nswitch: red\nip: 10.0.1.12\n", "net.yaml:6"},
		{"nothing", "---\n", "no objects"},
	} {
		t.Run(c.name, func(t *testing.T) {
			before, err := p.store.Snapshot(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			_, err = p.client.Apply(t.Context(), []*api.File{{Name: "net.yaml", Data: []byte(c.text)}}, false)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("error %v, want one with %q", err, c.want)
			}
			e := new(api.Error)
			if !errors.As(err, &e) || c.name != "nothing" && (len(e.Problems) == 0 || e.Problems[0].Pos.File != "net.yaml") {
				t.Errorf("error %#v has no places", err)
			}
			after, err := p.store.Snapshot(t.Context())
			if err != nil || len(before.State.Diff(after.State)) != 0 {
				t.Errorf("the network changed: %v, error %v", before.State.Diff(after.State), err)
			}
		})
	}
}

func TestRequestsOfASmallNetwork(t *testing.T) {
	p := startPlane(t, t.TempDir())
	p.apply(t, base+port("vm1", "blue", "10.0.1.11", "h1"))
	if _, err := p.client.Delete(t.Context(), model.Ref{Kind: "switch", Name: "blue"}); !errors.Is(err, store.ErrInUse) {
		t.Errorf("delete of a switch in use: %v", err)
	}
	if _, err := p.client.Get(t.Context(), "port", "nobody"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("get of nothing: %v", err)
	}
	if _, err := p.client.Get(t.Context(), "bridges", ""); err == nil || !strings.Contains(err.Error(), "want one of host, switch") {
		t.Errorf("get of no kind: %v", err)
	}
	objects, err := p.client.Get(t.Context(), "", "")
	if err != nil || len(objects) != 5 {
		t.Errorf("%d objects, error %v", len(objects), err)
	}
	r, err := p.client.Apply(t.Context(), []*api.File{{Name: "a", Data: []byte("kind: Switch\nname: dry\n")}}, true)
	if err != nil || len(r.Created) != 1 {
		t.Errorf("dry run %v, error %v", r, err)
	}
	if _, err := p.client.Get(t.Context(), "switch", "dry"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a dry run made something: %v", err)
	}
	again := p.apply(t, base) // unchanged: converges too
	if len(again.Unchanged) != 4 {
		t.Errorf("apply again: %+v", again)
	}
	if err := errors.Join(p.client.SetLogLevel(t.Context(), "ofe", "debug"), p.client.SetLogLevel(t.Context(), "", "info")); err != nil {
		t.Error(err)
	}
	if p.client.SetLogLevel(t.Context(), "ofe", "loud") == nil || p.client.SetLogLevel(t.Context(), "x", "info") == nil {
		t.Error("a wrong log level was taken")
	}
}

func TestDial_NobodyThere(t *testing.T) {
	c, err := api.Dial("unix:"+filepath.Join(t.TempDir(), "none"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, err = c.Hosts(ctx)
	if err == nil || !strings.Contains(err.Error(), "cannot be reached") || strings.Contains(err.Error(), "\n") {
		t.Errorf("error %v", err)
	}
	if _, err := api.Dial("10.0.0.1:7000", nil); err == nil || !strings.Contains(err.Error(), "no TLS") {
		t.Errorf("plaintext beyond this machine: %v", err)
	}
}

// TestPortMove: the port is about to move, and then not; what is wrong comes as it does
// from Apply.
func TestPortMove(t *testing.T) {
	p := startPlane(t, t.TempDir())
	p.apply(t, base+port("vm1", "blue", "10.0.1.1", "h1"))
	for _, to := range []string{"h2", ""} {
		host, revision, err := p.client.PortMove(t.Context(), "vm1", to)
		if err != nil || host != "h1" {
			t.Fatalf("move to %q: on %s, %v", to, host, err)
		}
		if _, err := p.client.WaitConverged(t.Context(), revision); err != nil {
			t.Fatal(err)
		}
		objects, err := p.client.Get(t.Context(), "port", "vm1")
		if err != nil {
			t.Fatal(err)
		}
		if got := objects[0].(*model.Port); got.MigrateTo != to || got.Host != "h1" || got.IP.String() != "10.0.1.1" {
			t.Errorf("move to %q: %+v", to, got)
		}
	}
	if _, _, err := p.client.PortMove(t.Context(), "vm9", "h2"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a port that is not there: %v", err)
	}
	if _, _, err := p.client.PortMove(t.Context(), "", "h2"); err == nil {
		t.Error("no name passed")
	}
	var e *api.Error
	if _, _, err := p.client.PortMove(t.Context(), "vm1", "h9"); !errors.As(err, &e) || len(e.Problems) != 1 || e.Problems[0].Field != "migrateTo" {
		t.Errorf("a host that is not there: %v", err)
	}
}
