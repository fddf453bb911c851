package ofe_test

import (
	"context"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"

	"baton/controlplane/agent"
	"baton/controlplane/agent/agenttest"
	"baton/controlplane/model"
	"baton/controlplane/ofe"
	"baton/controlplane/openflow"
	"baton/dataplane/flow"
	"baton/dataplane/pipeline"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// sink remembers statuses, and of those that are cleared what a store keeps.
type sink struct {
	mu    sync.Mutex
	hosts map[string]model.HostState
}

func (s *sink) SetHostStatus(_ context.Context, host string, st model.HostState) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hosts[host] = st
	return nil
}

func (s *sink) ClearHostStatus(_ context.Context, host string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.hosts[host]
	s.hosts[host] = model.HostState{MAC: was.MAC, AlternateMAC: was.AlternateMAC, AtAlternate: was.AtAlternate}
	return nil
}

func (s *sink) get(host string) model.HostState {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.hosts[host]
}

// controller is a Server on a real unix socket.
type controller struct {
	*ofe.Server
	sink *sink
	grpc *grpc.Server
	done chan struct{}
}

func startController(t *testing.T, path string, edit func(*ofe.Config)) *controller {
	t.Helper()
	e, err := openflow.ParseEndpoint("unix:" + path)
	if err != nil {
		t.Fatal(err)
	}
	l, err := e.Listen()
	if err != nil {
		t.Fatal(err)
	}
	c := &controller{sink: &sink{hosts: map[string]model.HostState{}}, done: make(chan struct{})}
	cfg := ofe.Config{
		Software: "test", Status: c.sink, EchoInterval: 50 * time.Millisecond, EchoTimeout: 5 * time.Second,
		MinBackoff: 5 * time.Millisecond,
	}
	if edit != nil {
		edit(&cfg)
	}
	options, err := e.ServerOptions(nil, false)
	if err != nil {
		t.Fatal(err)
	}
	c.Server, c.grpc = ofe.New(cfg), grpc.NewServer(options...)
	c.Register(c.grpc)
	go func() {
		defer close(c.done)
		_ = c.grpc.Serve(l)
	}()
	t.Cleanup(c.stop)
	return c
}

// stop is safe to call twice.
func (c *controller) stop() {
	c.Close()
	c.grpc.Stop()
	<-c.done
}

// host is a running agent with its target.
type host struct {
	*agent.Agent
	target *agenttest.Target
	cancel context.CancelFunc
	ended  chan struct{}
}

func startHost(t *testing.T, name, socket string, edit func(*agent.Config)) *host {
	t.Helper()
	h := &host{target: &agenttest.Target{}, ended: make(chan struct{})}
	cfg := agent.Config{
		Target: h.target, Host: name, Software: "v1", VTEP: agent.VTEP{IP: 1, MAC: flow.MAC{2, 1}}, MTU: 1500,
		Controllers: []string{"unix:" + socket}, MinBackoff: time.Millisecond, MaxBackoff: 20 * time.Millisecond,
		EchoInterval: 50 * time.Millisecond, EchoTimeout: 5 * time.Second, CheckpointInterval: time.Millisecond,
	}
	if edit != nil {
		edit(&cfg)
	}
	if t2, ok := cfg.Target.(*agenttest.Target); ok {
		h.target = t2
	}
	var err error
	if h.Agent, err = agent.New(cfg); err != nil {
		t.Fatal(err)
	}
	var ctx context.Context
	ctx, h.cancel = context.WithCancel(context.Background())
	go func() {
		defer close(h.ended)
		_ = h.Run(ctx)
	}()
	t.Cleanup(h.stop)
	return h
}

func (h *host) stop() {
	h.cancel()
	<-h.ended
}

func socket(t *testing.T) string { return filepath.Join(t.TempDir(), "of.sock") }

// rule is a valid rule; key makes its identity, value its content.
func rule(key, value int) flow.Rule {
	return flow.Rule{
		RuleID: flow.RuleID{Table: pipeline.TableLSPIngressLookupDstPort, Priority: 100,
			Match: flow.Match{}.WithUint(flow.FieldDatapath, uint64(key))},
		Cookie:  uint64(key % 7),
		Actions: []flow.Action{flow.SetUint(flow.FieldDstPort, uint64(value)), flow.Goto(pipeline.TableLSPIngressOutputDstPort)},
	}
}

func rules(n int) (c flow.Change) {
	for i := range n {
		c.SetRules = append(c.SetRules, rule(i, 1))
	}
	return c
}

// inStep waits until the controller and the target agree.
func inStep(t *testing.T, c *controller, h *host, name string, entries int) {
	t.Helper()
	agenttest.Eventually(t, "in step", func() error {
		i, _ := c.Host(name)
		return agenttest.Want(i.InStep && h.target.Digest().Entries == uint64(entries) && h.Status().Digest == h.target.Digest(),
			"controller %+v, agent %+v, target has %d entries, want %d", i, h.Status(), h.target.Digest().Entries, entries)
	})
}

// raw is a client that speaks the wire by hand.
type raw struct {
	openflow.OpenFlowLite_SessionClient
	conn *grpc.ClientConn
}

func dialRaw(t *testing.T, path string) *raw {
	t.Helper()
	e := openflow.Endpoint{Network: "unix", Address: path}
	conn, err := e.Dial(nil, false)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(func() { cancel(); conn.Close() })
	s, err := openflow.NewOpenFlowLiteClient(conn).Session(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return &raw{s, conn}
}

func helloMessage(host string, versions ...uint32) *openflow.Message {
	return &openflow.Message{Xid: 7, Body: &openflow.Message_Hello{Hello: &openflow.Hello{
		Versions: versions, Host: host, VtepMac: make([]byte, 6),
	}}}
}

// next is the next message that is no echo request.
func (r *raw) next(t *testing.T) (*openflow.Message, error) {
	t.Helper()
	for {
		m, err := r.Recv()
		if err != nil {
			return nil, err
		}
		if m.GetEchoRequest() == nil {
			return m, nil
		}
	}
}
