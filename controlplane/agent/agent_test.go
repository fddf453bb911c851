package agent_test

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"

	"baton/controlplane/agent"
	"baton/controlplane/agent/agenttest"
	"baton/controlplane/openflow"
	"baton/dataplane/flow"
	"baton/dataplane/pipeline"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// script is a controller that speaks the wire by hand: f runs each session after its hello.
type script struct {
	openflow.UnimplementedOpenFlowLiteServer
	f func(hello *openflow.Hello, s openflow.OpenFlowLite_SessionServer) error
}

func (x *script) Session(s openflow.OpenFlowLite_SessionServer) error {
	m, err := s.Recv()
	if err != nil {
		return err
	}
	reply := &openflow.HelloReply{Version: openflow.Version}
	if err := s.Send(&openflow.Message{Xid: m.Xid, Body: &openflow.Message_HelloReply{HelloReply: reply}}); err != nil {
		return err
	}
	return x.f(m.GetHello(), s)
}

func serve(t *testing.T, f func(*openflow.Hello, openflow.OpenFlowLite_SessionServer) error) string {
	t.Helper()
	e := openflow.Endpoint{Network: "unix", Address: filepath.Join(t.TempDir(), "of.sock")}
	l, err := e.Listen()
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer()
	openflow.RegisterOpenFlowLiteServer(g, &script{f: f})
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = g.Serve(l)
	}()
	t.Cleanup(func() { g.Stop(); <-done })
	return e.String()
}

func start(t *testing.T, edit func(*agent.Config)) (*agent.Agent, *agenttest.Target, func()) {
	t.Helper()
	target := &agenttest.Target{}
	cfg := agent.Config{
		Target: target, Host: "h1", MinBackoff: time.Millisecond, MaxBackoff: 5 * time.Millisecond,
		EchoInterval: 20 * time.Millisecond, CheckpointInterval: time.Millisecond,
	}
	edit(&cfg)
	a, err := agent.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = a.Run(ctx)
	}()
	stop := func() { cancel(); <-done }
	t.Cleanup(stop)
	return a, target, stop
}

func rule(n int) flow.Rule {
	return flow.Rule{
		RuleID:  flow.RuleID{Table: pipeline.TableLRPIngressIPRoute, Priority: uint16(n)},
		Actions: []flow.Action{flow.Goto(pipeline.TableLRPIngressECMP)},
	}
}

func begin(id uint64) *openflow.Message {
	return &openflow.Message{Xid: uint32(id), Body: &openflow.Message_BundleBegin{BundleBegin: &openflow.BundleBegin{Id: id, Revision: int64(id)}}}
}

func batch(id uint64, rules ...flow.Rule) *openflow.Message {
	b := &openflow.RuleBatch{Bundle: id}
	for i := range rules {
		b.SetRules = append(b.SetRules, openflow.EncodeRule(&rules[i]))
	}
	return &openflow.Message{Xid: uint32(id), Body: &openflow.Message_RuleBatch{RuleBatch: b}}
}

func commit(id uint64, batches uint32) *openflow.Message {
	return &openflow.Message{Xid: uint32(id), Body: &openflow.Message_BundleCommit{BundleCommit: &openflow.BundleCommit{Id: id, Batches: batches}}}
}

// answer is the first message that is an Error or answers a barrier.
func answer(s openflow.OpenFlowLite_SessionServer) (*openflow.Message, error) {
	if err := s.Send(&openflow.Message{Xid: 1000, Body: &openflow.Message_BarrierRequest{BarrierRequest: &openflow.BarrierRequest{}}}); err != nil {
		return nil, err
	}
	for {
		m, err := s.Recv()
		if err != nil || m.GetError() != nil || m.GetBarrierReply() != nil {
			return m, err
		}
	}
}

func TestBundle_NothingAppliedUntilCommit(t *testing.T) {
	second := make(chan *openflow.Message, 1)
	sessions := 0
	address := serve(t, func(_ *openflow.Hello, s openflow.OpenFlowLite_SessionServer) error {
		if sessions++; sessions == 1 { // the stream breaks in the middle of a bundle
			return errors.Join(s.Send(begin(5)), s.Send(batch(5, rule(1))), s.Send(batch(5, rule(2))))
		}
		if sessions == 2 { // a commit for what the first session began
			if err := s.Send(commit(5, 2)); err != nil {
				return err
			}
			m, err := answer(s)
			second <- m
			if err != nil {
				return err
			}
		}
		<-s.Context().Done()
		return nil
	})
	a, target, _ := start(t, func(c *agent.Config) { c.Controllers = []string{address} })
	m := <-second
	if !strings.Contains(m.GetError().GetText(), "bundle 5, which is not open") || m.Xid != 5 {
		t.Errorf("a commit without its bundle: %v", m)
	}
	if n := len(target.Changes()); n != 0 || a.Status().Entries != 0 {
		t.Errorf("%d changes were applied of a bundle without commit", n)
	}
}

func TestBundle_BadEntryRefusesAll(t *testing.T) {
	got := make(chan *openflow.Message, 4)
	address := serve(t, func(_ *openflow.Hello, s openflow.OpenFlowLite_SessionServer) error {
		bad := batch(6, rule(1), rule(2))
		bad.GetRuleBatch().SetRules[1].Actions[0].Table = 77
		if err := errors.Join(s.Send(begin(6)), s.Send(batch(6, rule(3))), s.Send(bad), s.Send(commit(6, 2))); err != nil {
			return err
		}
		m, err := answer(s)
		got <- m
		<-s.Context().Done()
		return err
	})
	_, target, _ := start(t, func(c *agent.Config) { c.Controllers = []string{address} })
	e := (<-got).GetError()
	if e.GetCode() != openflow.Error_CODE_BAD_RULE || !strings.HasPrefix(e.GetObject(), "rule of table 37 (LRP_INGRESS_IP_ROUTE) priority 2") {
		t.Errorf("error %v", e)
	}
	if n := len(target.Changes()); n != 0 {
		t.Errorf("%d changes were applied", n)
	}
}

// TestHostile_Controller: nothing that a controller sends ends the agent.
func TestHostile_Controller(t *testing.T) {
	hostile := [][]*openflow.Message{
		{{}},
		{{Body: &openflow.Message_RuleBatch{}}, {Body: &openflow.Message_BundleBegin{}}, {Body: &openflow.Message_BundleCommit{}}},
		{{Body: &openflow.Message_BarrierRequest{}}, {Body: &openflow.Message_StatsRequest{}}, {Body: &openflow.Message_BucketRequest{}}, {Body: &openflow.Message_EchoRequest{}}},
		{{Body: &openflow.Message_BucketRequest{BucketRequest: &openflow.BucketRequest{Buckets: []uint32{1 << 31}}}}},
		{{Body: &openflow.Message_Error{Error: &openflow.Error{Text: "go away"}}}},
		{{Body: &openflow.Message_Hello{}}, {Body: &openflow.Message_PacketIn{}}},
	}
	served := make(chan int, 1000)
	n := 0
	address := serve(t, func(_ *openflow.Hello, s openflow.OpenFlowLite_SessionServer) error {
		i := n % (len(hostile) + 1)
		n++
		if i == len(hostile) { // then a good bundle
			defer func() { served <- n }()
			if err := errors.Join(s.Send(begin(9)), s.Send(batch(9, rule(4))), s.Send(commit(9, 1))); err != nil {
				return err
			}
			_, err := answer(s)
			return err
		}
		for _, m := range hostile[i] {
			if err := s.Send(m); err != nil {
				return err
			}
		}
		return nil
	})
	_, target, _ := start(t, func(c *agent.Config) { c.Controllers = []string{address} })
	<-served
	agenttest.Eventually(t, "good bundle", func() error {
		return agenttest.Want(target.Digest().Entries == 1, "%d entries", target.Digest().Entries)
	})
}

func TestFailover_NextController(t *testing.T) {
	up := make(chan string, 100)
	address := serve(t, func(h *openflow.Hello, s openflow.OpenFlowLite_SessionServer) error {
		up <- h.Host
		<-s.Context().Done()
		return nil
	})
	a, _, _ := start(t, func(c *agent.Config) {
		c.Controllers = []string{"unix:" + filepath.Join(t.TempDir(), "nobody"), address}
	})
	if got := <-up; got != "h1" {
		t.Errorf("hello of %q", got)
	}
	agenttest.Eventually(t, "status", func() error {
		return agenttest.Want(a.Status().Controller == address && a.Status().LastError == "", "%+v", a.Status())
	})
}

// TestFirst: an agent begins with the controller that it is told, and with the first in order if
// that is none of its own.
func TestFirst(t *testing.T) {
	stay := func(_ *openflow.Hello, s openflow.OpenFlowLite_SessionServer) error { <-s.Context().Done(); return nil }
	all := []string{serve(t, stay), serve(t, stay)}
	for first, want := range map[string]string{"": all[0], all[0]: all[0], all[1]: all[1], "unix:/none": all[0]} {
		a, _, stop := start(t, func(c *agent.Config) { c.Controllers, c.First = all, first })
		agenttest.Eventually(t, "a session", func() error { return agenttest.Want(a.Status().Controller != "", "%+v", a.Status()) })
		if got := a.Status().Controller; got != want {
			t.Errorf("told %q: begins with %s, want %s", first, got, want)
		}
		stop()
	}
}

func TestSilentController_IsLeft(t *testing.T) {
	sessions := make(chan bool, 1000)
	address := serve(t, func(_ *openflow.Hello, s openflow.OpenFlowLite_SessionServer) error {
		sessions <- true
		<-s.Context().Done() // answers no echo
		return nil
	})
	start(t, func(c *agent.Config) {
		c.Controllers, c.EchoInterval, c.EchoTimeout = []string{address}, 5*time.Millisecond, 20*time.Millisecond
	})
	<-sessions
	<-sessions // it came again
}

func TestNew_Refuses(t *testing.T) {
	for _, c := range []struct{ controller, want string }{
		{"10.0.0.1", "want unix:PATH or HOST:PORT"},
		{"unix:", "1 to 107 bytes"},
		{"10.0.0.1:6640", "no TLS"},
	} {
		_, err := agent.New(agent.Config{Target: &agenttest.Target{}, Host: "h", Controllers: []string{c.controller}})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("controller %q: error %v, want %q", c.controller, err, c.want)
		}
	}
	if _, err := agent.New(agent.Config{Target: &agenttest.Target{}, Host: "h", Controllers: []string{"10.0.0.1:1"}, Insecure: true}); err != nil {
		t.Error(err)
	}
}

// checkpointed runs an agent that applies some rules, and returns its checkpoint.
func checkpointed(t *testing.T) (path string, d openflow.Digest) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "checkpoint")
	address := serve(t, func(_ *openflow.Hello, s openflow.OpenFlowLite_SessionServer) error {
		if err := errors.Join(s.Send(begin(3)), s.Send(batch(3, rule(1), rule(2))), s.Send(commit(3, 1))); err != nil {
			return err
		}
		_, err := answer(s)
		<-s.Context().Done()
		return err
	})
	_, target, stop := start(t, func(c *agent.Config) { c.Controllers, c.Checkpoint = []string{address}, path })
	agenttest.Eventually(t, "applied", func() error {
		return agenttest.Want(target.Digest().Entries == 2, "%v", target.Digest())
	})
	stop()
	return path, target.Digest()
}

func TestCheckpoint_ForwardsWithoutController(t *testing.T) {
	path, want := checkpointed(t)
	c, err := agent.LoadCheckpoint(path)
	if err != nil || !c.Replace || len(c.SetRules) != 2 {
		t.Fatalf("checkpoint %v, error %v", c, err)
	}
	a, target, _ := start(t, func(c *agent.Config) { c.Checkpoint = path })
	agenttest.Eventually(t, "restored", func() error {
		return agenttest.Want(target.Digest() == want && a.Status().Digest == want && a.Status().Revision == 3, "%+v", a.Status())
	})
	left, err := filepath.Glob(path + ".new*")
	if err != nil || len(left) != 0 {
		t.Errorf("temporary files are left: %v", left)
	}
}

func TestCheckpoint_Refused(t *testing.T) {
	path, _ := checkpointed(t)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	resum := func(b []byte) []byte {
		binary.BigEndian.PutUint64(b[12:], uint64(len(b)-52))
		sum := sha256.Sum256(b[52:])
		copy(b[20:], sum[:])
		return b
	}
	for name, edit := range map[string]func([]byte) []byte{
		"empty":    func([]byte) []byte { return nil },
		"magic":    func(b []byte) []byte { b[0] ^= 1; return b },
		"version":  func(b []byte) []byte { b[11]++; return b },
		"cut":      func(b []byte) []byte { return b[:len(b)-1] },
		"header":   func(b []byte) []byte { return b[:30] },
		"flipped":  func(b []byte) []byte { b[len(b)-1] ^= 1; return b },
		"bad rule": func(b []byte) []byte { return resum(append(b[:52], 0x1a, 6, 0x12, 4, 0x0a, 2, 8, 77)) },
		"no proto": func(b []byte) []byte { return resum(append(b[:52], 0xff, 0xff)) },
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "checkpoint")
			if err := os.WriteFile(path, edit(append([]byte(nil), good...)), 0o600); err != nil {
				t.Fatal(err)
			}
			c, err := agent.LoadCheckpoint(path)
			if !errors.Is(err, agent.ErrCheckpoint) {
				t.Fatalf("checkpoint %v, error %v", c, err)
			}
			if err != nil && (!c.Empty() || !strings.Contains(err.Error(), path)) {
				t.Errorf("error %v, change %v", err, c)
			}
			target := &agenttest.Target{}
			a, err := agent.New(agent.Config{Target: target, Host: "h1", Checkpoint: path})
			if err != nil {
				t.Fatal(err)
			}
			a.Restore()
			if a.Status().Entries != 0 || target.Digest().Entries != 0 {
				t.Error("the host does not start empty")
			}
		})
	}
	if _, err := agent.LoadCheckpoint(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no checkpoint: %v", err)
	}
	other := &agenttest.Target{}
	a, err := agent.New(agent.Config{Target: other, Host: "another", Checkpoint: path})
	if err != nil {
		t.Fatal(err)
	}
	if a.Restore(); other.Digest().Entries != 0 {
		t.Error("the checkpoint of another host was taken")
	}
}

func FuzzLoadCheckpoint(f *testing.F) {
	f.Add([]byte("BATONCKP\x00\x00\x00\x01"))
	f.Add(make([]byte, 60))
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "c")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if c, err := agent.LoadCheckpoint(path); err != nil && !c.Empty() {
			t.Fatal("a refused checkpoint has content")
		}
	})
}

// While an agent is paused nothing is applied; what came meanwhile is, afterwards.
func TestPause(t *testing.T) {
	sent := make(chan bool)
	address := serve(t, func(_ *openflow.Hello, s openflow.OpenFlowLite_SessionServer) error {
		err := errors.Join(s.Send(begin(3)), s.Send(batch(3, rule(1))), s.Send(commit(3, 1)))
		close(sent)
		<-s.Context().Done()
		return err
	})
	target := &agenttest.Target{}
	a, err := agent.New(agent.Config{Target: target, Host: "h1", Controllers: []string{address}})
	if err != nil {
		t.Fatal(err)
	}
	a.Pause()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = a.Run(ctx)
	}()
	<-sent
	agenttest.Eventually(t, "session", func() error { return agenttest.Want(a.Status().Controller != "", "no session") })
	if n := len(target.Changes()); n != 0 {
		t.Errorf("%d changes while paused", n)
	}
	a.Continue()
	agenttest.Eventually(t, "applied", func() error { return agenttest.Want(target.Digest().Entries == 1, "%v", target.Digest()) })
	cancel()
	<-done
}

// What an agent has applied goes to one in another process, which has the checkpoints from then on.
func TestExport_Import(t *testing.T) {
	path, want := checkpointed(t)
	old, _, stop := start(t, func(c *agent.Config) { c.Checkpoint = path })
	agenttest.Eventually(t, "restored", func() error {
		return agenttest.Want(old.Status().Digest == want, "%+v", old.Status())
	})
	state, err := old.Export()
	if err != nil {
		t.Fatal(err)
	}
	target := &agenttest.Target{}
	heir, err := agent.New(agent.Config{Target: target, Host: "h1"})
	if err != nil {
		t.Fatal(err)
	}
	if err := heir.Import(state); err != nil || target.Digest() != want || heir.Status().Digest != want || heir.Status().Revision != 3 {
		t.Errorf("imported %+v: %v", heir.Status(), err)
	}
	old.Leave(true)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	stop() // the last checkpoint would come now
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the agent that left wrote a checkpoint: %v", err)
	}
	for name, state := range map[string][]byte{"nothing": nil, "no state": []byte("BATON"), "cut": state[:len(state)-1]} {
		target := &agenttest.Target{}
		a, err := agent.New(agent.Config{Target: target, Host: "h1"})
		if err != nil {
			t.Fatal(err)
		}
		if err := a.Import(state); err == nil || target.Digest().Entries != 0 {
			t.Errorf("%s: imported %v, %d entries", name, err, target.Digest().Entries)
		}
	}
	other, err := agent.New(agent.Config{Target: &agenttest.Target{}, Host: "h2"})
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Import(state); err == nil || !strings.Contains(err.Error(), `"h1"`) {
		t.Errorf("another host's: %v", err)
	}
}
