package ofe_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"baton/controlplane/agent"
	"baton/controlplane/agent/agenttest"
	"baton/controlplane/ofe"
	"baton/controlplane/openflow"
	"baton/dataplane/flow"
)

func TestSession_FirstConnectThenIncrements(t *testing.T) {
	path := socket(t)
	c := startController(t, path, nil)
	c.SetHost("h1", rules(5000), 10)
	c.Ready()
	h := startHost(t, "h1", path, nil)
	inStep(t, c, h, "h1", 5000)
	agenttest.Eventually(t, "status", func() error {
		st := c.sink.get("h1")
		return agenttest.Want(st.Connected && st.Version == "v1" && st.MAC == flow.MAC{2, 1}, "status %+v", st)
	})
	before := len(h.target.Changes())
	c.Update("h1", flow.Change{SetRules: []flow.Rule{rule(1, 9)}, DelRules: []flow.RuleID{rule(2, 1).RuleID}}, 11)
	if err := c.WaitInStep(t.Context(), "h1"); err != nil {
		t.Fatal(err)
	}
	inStep(t, c, h, "h1", 4999)
	n := 0
	for _, ch := range h.target.Changes()[before:] {
		if n += agenttest.Entries(ch); ch.Replace {
			t.Error("an increment replaces everything")
		}
	}
	if n != 2 {
		t.Errorf("%d entries came for a change of 2", n)
	}
	i, _ := c.Host("h1")
	if i.Applied != 11 || i.EntriesSent != 5002 || i.Mismatches+i.Refused != 0 || h.target.Barriers() == 0 {
		t.Errorf("host %+v", i)
	}
	h.stop()
	agenttest.Eventually(t, "cleared", func() error {
		return agenttest.Want(!c.sink.get("h1").Connected, "status %+v", c.sink.get("h1"))
	})
}

func TestReconnect_EqualDigestSendsNothing(t *testing.T) {
	path := socket(t)
	c := startController(t, path, nil)
	c.SetHost("h1", rules(300), 10)
	c.Ready()
	h := startHost(t, "h1", path, nil)
	inStep(t, c, h, "h1", 300)
	c.stop()
	agenttest.Eventually(t, "session ended", func() error {
		return agenttest.Want(h.Status().Controller == "", "status %+v", h.Status())
	})
	if got := h.target.Digest().Entries; got != 300 {
		t.Fatalf("not fail static: %d entries are left", got)
	}
	before := len(h.target.Changes())
	c = startController(t, path, nil) // a new process: knows nothing of the host
	c.SetHost("h1", rules(300), 10)
	c.Ready()
	inStep(t, c, h, "h1", 300)
	if n := len(h.target.Changes()) - before; n != 0 {
		t.Errorf("%d changes came though the digests are equal", n)
	}
	i, _ := c.Host("h1")
	if i.EntriesSent != 0 || i.EntriesSkipped != 300 || h.Status().BucketsAsked != 0 {
		t.Errorf("sent %d, skipped %d, buckets asked %d", i.EntriesSent, i.EntriesSkipped, h.Status().BucketsAsked)
	}
}

func TestReconnect_OnlyDifferencesAreSent(t *testing.T) {
	path := socket(t)
	c := startController(t, path, nil)
	c.SetHost("h1", rules(2000), 10)
	c.Ready()
	h := startHost(t, "h1", path, nil)
	inStep(t, c, h, "h1", 2000)
	c.stop()
	before := len(h.target.Changes())
	c = startController(t, path, nil)
	want := rules(2000)
	want.SetRules[5] = rule(5, 77)                       // has another content
	want.SetRules = want.SetRules[:1999]                 // lacks 1999
	want.SetRules = append(want.SetRules, rule(9999, 1)) // and has one more
	want.SetBindings = []flow.Binding{{Name: "vm1", Number: flow.LogicalPort(5, 1)}}
	c.SetHost("h1", want, 11)
	c.Ready()
	inStep(t, c, h, "h1", 2001)
	n := 0
	for _, ch := range h.target.Changes()[before:] {
		n += agenttest.Entries(ch)
	}
	i, _ := c.Host("h1")
	if n != 4 || i.EntriesSent != 4 || i.EntriesSkipped != 1998 {
		t.Errorf("applied %d, sent %d, skipped %d; want 4, 4, 1998", n, i.EntriesSent, i.EntriesSkipped)
	}
}

func TestSlowHost_DelaysNoOther(t *testing.T) {
	path := socket(t)
	c := startController(t, path, nil)
	c.SetHost("slow", rules(10), 1)
	c.SetHost("fast", rules(10), 1)
	c.Ready()
	slow, fast := startHost(t, "slow", path, nil), startHost(t, "fast", path, nil)
	inStep(t, c, slow, "slow", 10)
	inStep(t, c, fast, "fast", 10)
	release := slow.target.Hold()
	defer release()
	before := len(slow.target.Changes())
	for n := range 50 {
		for _, name := range []string{"slow", "fast"} {
			c.Update(name, flow.Change{SetRules: []flow.Rule{rule(3, 100+n)}}, int64(n+2))
		}
		if err := c.WaitInStep(t.Context(), "fast"); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := c.WaitInStep(ctx, "slow"); err == nil || !strings.Contains(err.Error(), `host "slow" has not answered`) {
		t.Errorf("waiting for the slow host: %v", err)
	}
	release()
	inStep(t, c, slow, "slow", 10)
	if n := len(slow.target.Changes()) - before; n > 3 {
		t.Errorf("50 changes of one rule came as %d bundles to the slow host: not coalesced", n)
	}
}

func TestRefusedBundle_ResyncsUntilTaken(t *testing.T) {
	path := socket(t)
	c := startController(t, path, nil)
	c.SetHost("h1", rules(10), 1)
	c.Ready()
	h := startHost(t, "h1", path, nil)
	inStep(t, c, h, "h1", 10)
	h.target.Refuse(errors.New("flow table full"))
	c.Update("h1", flow.Change{SetRules: []flow.Rule{rule(50, 1)}}, 2)
	agenttest.Eventually(t, "refused", func() error {
		i, _ := c.Host("h1")
		return agenttest.Want(i.Refused >= 2 && strings.Contains(i.LastError, "flow table full") && !i.InStep, "host %+v", i)
	})
	if d := h.target.Digest(); d.Entries != 10 || h.Status().Digest != d {
		t.Errorf("a refused bundle changed something: %v", d)
	}
	h.target.Refuse(nil)
	inStep(t, c, h, "h1", 11)
}

func TestHello_Refused(t *testing.T) {
	path := socket(t)
	c := startController(t, path, nil)
	h := startHost(t, "nobody", path, nil)
	agenttest.Eventually(t, "not ready", func() error {
		return agenttest.Want(strings.Contains(h.Status().LastError, "still reading the network"), "%q", h.Status().LastError)
	})
	c.SetHost("h1", rules(1), 1)
	c.Ready()
	agenttest.Eventually(t, "unknown", func() error {
		return agenttest.Want(strings.Contains(h.Status().LastError, `host "nobody" is not in the network: apply`), "%q", h.Status().LastError)
	})
	c.SetHost("nobody", rules(3), 2) // the operator applies it; the host tries again by itself
	inStep(t, c, h, "nobody", 3)
	c.RemoveHost("nobody")
	agenttest.Eventually(t, "removed", func() error {
		return agenttest.Want(strings.Contains(h.Status().LastError, "not in the network"), "%q", h.Status().LastError)
	})
	if h.target.Digest().Entries != 3 {
		t.Error("a host that was removed from the network lost its rules")
	}
	for _, x := range []struct {
		name string
		m    *openflow.Message
		code openflow.Error_Code
		want string
	}{
		{"version", helloMessage("h1", 99), openflow.Error_CODE_VERSION, `host "h1" speaks OpenFlow-lite [99], this side speaks [1]: upgrade`},
		{"no hello", openflow.EchoRequest(1), openflow.Error_CODE_BAD_MESSAGE, "no hello"},
		{"empty", &openflow.Message{}, openflow.Error_CODE_BAD_MESSAGE, "no hello"},
		{"mac", &openflow.Message{Body: &openflow.Message_Hello{Hello: &openflow.Hello{Versions: []uint32{1}, Host: "h1"}}}, openflow.Error_CODE_BAD_MESSAGE, "MAC"},
		{"unknown", helloMessage("h2", 1), openflow.Error_CODE_UNKNOWN_HOST, `host "h2" is not in the network`},
	} {
		t.Run(x.name, func(t *testing.T) {
			r := dialRaw(t, path)
			if err := r.Send(x.m); err != nil {
				t.Fatal(err)
			}
			m, err := r.next(t)
			if err != nil {
				t.Fatal(err)
			}
			if e := m.GetError(); e.GetCode() != x.code || !strings.Contains(e.GetText(), x.want) {
				t.Errorf("answer %v, want %v with %q", m, x.code, x.want)
			}
			if _, err := r.next(t); err == nil {
				t.Error("the stream goes on")
			}
		})
	}
}

// TestHostile_Messages: what a host must not send ends its session at most, and
// another host's session goes on.
func TestHostile_Messages(t *testing.T) {
	path := socket(t)
	c := startController(t, path, nil)
	c.SetHost("good", rules(5), 1)
	c.SetHost("bad", rules(5), 1)
	c.Ready()
	h := startHost(t, "good", path, nil)
	inStep(t, c, h, "good", 5)
	for _, x := range []struct {
		name string
		m    []*openflow.Message
	}{
		{"packet before the greeting ends", []*openflow.Message{{Body: &openflow.Message_PacketIn{}}}},
		{"nil bodies", []*openflow.Message{{}, {Body: &openflow.Message_PortStatus{}}, {Body: &openflow.Message_EchoRequest{}}, {Body: &openflow.Message_BarrierReply{}}}},
		{"a second hello", []*openflow.Message{helloMessage("good", 1)}},
		{"a bundle from a host", []*openflow.Message{{Body: &openflow.Message_BundleBegin{}}}},
		{"answers nobody asked for", []*openflow.Message{{Xid: 99, Body: &openflow.Message_StatsReply{}}, {Xid: 98, Body: &openflow.Message_Error{}}}},
		{"digest of wrong size", []*openflow.Message{{Xid: 1, Body: &openflow.Message_DigestReply{DigestReply: &openflow.DigestReply{Sums: []uint64{1}}}}}},
		{"torn buckets", []*openflow.Message{{Xid: 1, Body: &openflow.Message_BucketReply{BucketReply: &openflow.BucketReply{Entries: []byte{1}}}}}},
		{"wrong barrier", []*openflow.Message{{Xid: 1, Body: &openflow.Message_BarrierReply{BarrierReply: &openflow.BarrierReply{}}}}},
		{"error at once", []*openflow.Message{{Xid: 1, Body: &openflow.Message_Error{Error: &openflow.Error{Text: strings.Repeat("x", 1<<20)}}}}},
	} {
		t.Run(x.name, func(t *testing.T) {
			r := dialRaw(t, path)
			if err := r.Send(helloMessage("bad", 1)); err != nil {
				t.Fatal(err)
			}
			for _, m := range x.m {
				_ = r.Send(m)
			}
			if _, err := r.next(t); err != nil {
				t.Fatalf("no answer to the hello: %v", err)
			}
			_ = r.CloseSend()
			r.conn.Close()
			c.Update("good", flow.Change{SetRules: []flow.Rule{rule(3, len(x.name))}}, 2)
			if err := c.WaitInStep(t.Context(), "good"); err != nil {
				t.Errorf("another host suffers: %v", err)
			}
		})
	}
}

func TestSilentHost_IsDropped(t *testing.T) {
	path := socket(t)
	c := startController(t, path, func(cfg *ofe.Config) {
		cfg.EchoInterval, cfg.EchoTimeout, cfg.HelloTimeout = 5*time.Millisecond, 30*time.Millisecond, 30*time.Millisecond
	})
	c.SetHost("h1", rules(20000), 1)
	c.Ready()
	mute := dialRaw(t, path) // never says hello
	r := dialRaw(t, path)    // says it, and then reads nothing
	if err := r.Send(helloMessage("h1", 1)); err != nil {
		t.Fatal(err)
	}
	agenttest.Eventually(t, "dropped", func() error {
		i, _ := c.Host("h1")
		return agenttest.Want(!i.Connected && strings.Contains(i.LastError, "silent for"), "host %+v", i)
	})
	if _, err := mute.Recv(); err == nil || !strings.Contains(err.Error(), "no hello came") {
		t.Errorf("a client without hello: %v", err)
	}
}

func TestSecondSession_ReplacesTheFirst(t *testing.T) {
	path := socket(t)
	c := startController(t, path, nil)
	c.SetHost("h1", rules(5), 1)
	c.Ready()
	r := dialRaw(t, path)
	if err := r.Send(helloMessage("h1", 1)); err != nil {
		t.Fatal(err)
	}
	if m, err := r.next(t); err != nil || m.GetHelloReply().GetVersion() != 1 {
		t.Fatalf("hello answered with %v, %v", m, err)
	}
	h := startHost(t, "h1", path, nil)
	inStep(t, c, h, "h1", 5)
	for {
		if _, err := r.next(t); err != nil {
			if !strings.Contains(err.Error(), "newer session") {
				t.Errorf("the first session ended with %v", err)
			}
			break
		}
	}
}

func TestEventsAndStats(t *testing.T) {
	path := socket(t)
	packets := make(chan string, 10)
	c := startController(t, path, func(cfg *ofe.Config) {
		cfg.OnPacketIn = func(host string, p *openflow.PacketIn) { packets <- host + " " + string(p.Frame) }
	})
	c.SetHost("h1", rules(20000), 1)
	c.Ready()
	target := &agenttest.Target{}
	target.SetPorts(&openflow.PortStatus{Event: openflow.PortStatus_EVENT_PRESENT, Name: "vm1", Up: true})
	h := startHost(t, "h1", path, func(cfg *agent.Config) { cfg.Target = target })
	inStep(t, c, h, "h1", 20000)
	if !h.PacketIn(&openflow.PacketIn{Frame: []byte("arp")}) {
		t.Error("the packet was dropped")
	}
	select {
	case got := <-packets:
		if got != "h1 arp" {
			t.Errorf("packet %q", got)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("no packet came")
	}
	h.PortChanged(&openflow.PortStatus{Event: openflow.PortStatus_EVENT_ADDED, Name: "vm2"})
	agenttest.Eventually(t, "ports", func() error {
		i, _ := c.Host("h1")
		return agenttest.Want(len(i.Ports) == 2 && i.Ports[0].Up && !i.Ports[1].Up, "ports %v", i.Ports)
	})
	h.PortChanged(&openflow.PortStatus{Event: openflow.PortStatus_EVENT_REMOVED, Name: "vm1"})
	agenttest.Eventually(t, "port removed", func() error {
		i, _ := c.Host("h1")
		return agenttest.Want(len(i.Ports) == 1, "ports %v", i.Ports)
	})
	s, err := c.Stats(t.Context(), "h1", &openflow.StatsRequest{Rules: true, Drops: true})
	if err != nil || len(s.Rules) != 20000 || len(s.Drops) != 1 || len(s.Ports) != 0 {
		t.Errorf("%d rules, %d drops, error %v", len(s.GetRules()), len(s.GetDrops()), err)
	}
	if _, err := c.Stats(t.Context(), "h9", &openflow.StatsRequest{}); err == nil {
		t.Error("statistics of an unknown host")
	}
	if n := c.CountRules("h1", 3); n != 20000/7 {
		t.Errorf("%d rules with cookie 3", n)
	}
}

// TestChurnUnderReconnects: random changes while sessions come and go end in step.
func TestChurnUnderReconnects(t *testing.T) {
	path := socket(t)
	c := startController(t, path, nil)
	c.SetHost("h1", rules(100), 1)
	c.Ready()
	h := startHost(t, "h1", path, nil)
	present := 100
	for n := range 300 {
		key := n * 7 % 150
		ch := flow.Change{SetRules: []flow.Rule{rule(key, n)}}
		if n%3 == 0 {
			ch = flow.Change{DelRules: []flow.RuleID{rule(key, 0).RuleID}}
		}
		c.Update("h1", ch, int64(n))
		if n%50 == 49 {
			h.stop()
			checkpointless := h.State()
			target := &agenttest.Target{}
			if err := target.Apply(checkpointless); err != nil {
				t.Fatal(err)
			}
			h = startHost(t, "h1", path, nil)
		}
	}
	if err := c.WaitInStep(t.Context(), "h1"); err != nil {
		t.Fatal(err)
	}
	i, _ := c.Host("h1")
	present = int(i.Wanted)
	inStep(t, c, h, "h1", present)
	if i.Mismatches != 0 {
		t.Errorf("%d digests were wrong after a barrier", i.Mismatches)
	}
}
