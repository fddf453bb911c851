package ofe_test

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"baton/controlplane/agent"
	"baton/controlplane/agent/agenttest"
	"baton/controlplane/model"
	"baton/controlplane/ofe"
	"baton/dataplane/flow"
)

// The VTEPs of h1, which has a pair.
var (
	first  = agent.VTEP{IP: 0xc0a86401, MAC: flow.MAC{2, 1}}
	second = agent.VTEP{IP: 0xc0a86402, MAC: flow.MAC{2, 2}, Alternate: true}
)

// pairNet is a controller with h1, which has a pair of VTEPs, and h2, h3 and an h4 that nobody has
// ever heard of. What h1's status is told becomes a rule of the other hosts, as vmc does it.
type pairNet struct {
	*controller
	path  string
	hosts map[string]*host
	edit  atomic.Pointer[func(*model.Host)] // of h1's object; nil: none
}

func newPairNet(t *testing.T) *pairNet {
	t.Helper()
	n := &pairNet{path: socket(t), hosts: map[string]*host{}}
	var server atomic.Pointer[ofe.Server]
	var told atomic.Int64
	told.Store(1)
	n.controller = startController(t, n.path, func(c *ofe.Config) {
		c.SteerTimeout = time.Second
		c.Object = n.object
		c.Settled = func(ctx context.Context, name string, ok func(*model.Host) bool) error {
			for !ok(n.object(name)) {
				select {
				case <-ctx.Done():
					return context.Cause(ctx)
				case <-time.After(time.Millisecond):
				}
			}
			now := int(told.Add(1))
			for _, other := range []string{"h2", "h3", "h4"} {
				server.Load().Update(other, flow.Change{SetRules: []flow.Rule{rule(0, now)}}, int64(now))
			}
			return nil
		}
	})
	server.Store(n.Server)
	for _, name := range []string{"h1", "h2", "h3", "h4"} {
		n.SetHost(name, rules(1), 1)
	}
	n.Ready()
	n.start(t, "h1", func(c *agent.Config) { c.VTEP, c.OtherIP = first, second.IP })
	for _, name := range []string{"h2", "h3"} {
		n.start(t, name, nil)
	}
	return n
}

func (n *pairNet) start(t *testing.T, name string, edit func(*agent.Config)) {
	t.Helper()
	n.hosts[name] = startHost(t, name, n.path, edit)
	inStep(t, n.controller, n.hosts[name], name, 1)
}

// object is a host's, with the status that was told.
func (n *pairNet) object(name string) *model.Host {
	h := &model.Host{Name: name, Status: n.sink.get(name)}
	if name == "h1" {
		h.Underlay, h.Alternate = model.Address{Addr: netip.MustParseAddr("192.168.100.1"), Bits: 24}, netip.MustParseAddr("192.168.100.2")
		if f := n.edit.Load(); f != nil {
			(*f)(h)
		}
	}
	return h
}

func (n *pairNet) steer(t *testing.T, v agent.VTEP, use bool) error {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), 20*time.Second)
	defer stop()
	return n.hosts["h1"].Steer(ctx, v, use)
}

// TestSteer: when the answer has come all hosts that there are have applied what it means, and
// which VTEP is in use is kept, also when the host comes back with it.
func TestSteer(t *testing.T) {
	n := newPairNet(t)
	for i, x := range []struct {
		v    agent.VTEP
		use  bool
		want model.HostState
	}{
		{second, false, model.HostState{MAC: first.MAC, AlternateMAC: second.MAC}},
		{second, true, model.HostState{MAC: first.MAC, AlternateMAC: second.MAC, AtAlternate: true}},
		{first, true, model.HostState{MAC: first.MAC, AlternateMAC: second.MAC}},
		{second, true, model.HostState{MAC: first.MAC, AlternateMAC: second.MAC, AtAlternate: true}},
	} {
		if err := n.steer(t, x.v, x.use); err != nil {
			t.Fatal(err)
		}
		got := n.sink.get("h1")
		if got.MAC != x.want.MAC || got.AlternateMAC != x.want.AlternateMAC || got.AtAlternate != x.want.AtAlternate {
			t.Errorf("status %+v, want %+v", got, x.want)
		}
		for _, name := range []string{"h2", "h3"} {
			if last := n.hosts[name].target.Changes(); last[len(last)-1].SetRules[0].Actions[0] != rule(0, i+2).Actions[0] {
				t.Errorf("%s has not applied what followed: %+v", name, last[len(last)-1])
			}
		}
	}
	n.hosts["h1"].stop()
	n.start(t, "h1", func(c *agent.Config) { c.VTEP, c.OtherIP = second, first.IP })
	agenttest.Eventually(t, "the new session's state", func() error {
		got := n.sink.get("h1")
		return agenttest.Want(got.Connected && got.AtAlternate && got.MAC == first.MAC && got.AlternateMAC == second.MAC, "%+v", got)
	})
}

// TestSteer_Reconnect: a session that begins anew meanwhile begins with the VTEP that was asked
// for, and the request is made again.
func TestSteer_Reconnect(t *testing.T) {
	n := newPairNet(t)
	release := sync.OnceFunc(n.hosts["h2"].target.Hold())
	defer release()
	done := make(chan error)
	go func() { done <- n.steer(t, second, true) }()
	agenttest.Eventually(t, "the request", func() error { return agenttest.Want(n.sink.get("h1").AtAlternate, "none") })
	other := startHost(t, "h1", n.path, func(c *agent.Config) { c.VTEP, c.OtherIP = second, first.IP }) // drives h1's session out
	agenttest.Eventually(t, "another session", func() error { i, _ := n.Host("h1"); return agenttest.Want(i.Sessions > 1, "%+v", i) })
	other.stop()
	release()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if i, _ := n.Host("h1"); !i.AtAlternate || i.VTEPIP != second.IP || i.OtherIP != first.IP || ofe.Mismatch(n.object("h1"), i) != "" {
		t.Errorf("%+v: %s", i, ofe.Mismatch(n.object("h1"), i))
	}
}

// TestSteer_Silent: of a host that does not answer its name is told; the traffic is called back
// without waiting for the former request's end.
func TestSteer_Silent(t *testing.T) {
	n := newPairNet(t)
	release := sync.OnceFunc(n.hosts["h3"].target.Hold())
	defer release()
	if err := n.steer(t, second, false); err == nil || !strings.Contains(err.Error(), `host "h3" has not answered`) || strings.Contains(err.Error(), "h2") || strings.Contains(err.Error(), "h4") {
		t.Errorf("error %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- n.hosts["h1"].Steer(ctx, second, true) }()
	agenttest.Eventually(t, "the request", func() error { return agenttest.Want(n.sink.get("h1").AtAlternate, "none") })
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("the former request: %v", err)
	}
	back := make(chan error)
	go func() { back <- n.steer(t, first, true) }()
	agenttest.Eventually(t, "the call back", func() error { return agenttest.Want(!n.sink.get("h1").AtAlternate, "none") })
	release()
	if err := <-back; err != nil {
		t.Error(err)
	}
	n.hosts["h3"].stop()
	agenttest.Eventually(t, "h3's end", func() error { i, _ := n.Host("h3"); return agenttest.Want(!i.Connected, "%+v", i) })
	if err := n.steer(t, first, true); err == nil || !strings.Contains(err.Error(), `host "h3" is not connected`) || !strings.Contains(err.Error(), "bring it back, or delete it") {
		t.Errorf("error %v", err)
	}
}

// TestSteer_Refused: what the network does not have is not steered to, with what to do.
func TestSteer_Refused(t *testing.T) {
	n := newPairNet(t)
	before := n.sink.get("h1")
	for name, x := range map[string]struct {
		edit func(*model.Host)
		v    agent.VTEP
		want string
	}{
		"no pair":       {func(h *model.Host) { h.Alternate = netip.Addr{} }, second, "add `alternate:` to its Host object"},
		"another":       {func(h *model.Host) { h.Alternate = netip.MustParseAddr("192.168.100.9") }, second, "192.168.100.1 and 192.168.100.9 in the network, and 192.168.100.2 is none"},
		"wrong turn":    {nil, agent.VTEP{IP: second.IP, MAC: second.MAC}, "is none of them"},
		"group's MAC":   {nil, agent.VTEP{IP: second.IP, MAC: flow.MAC{1}, Alternate: true}, "want one machine's"},
		"without a MAC": {nil, agent.VTEP{IP: second.IP, Alternate: true}, "want one machine's"},
	} {
		n.edit.Store(nil)
		if x.edit != nil {
			n.edit.Store(&x.edit)
		}
		if err := n.steer(t, x.v, false); err == nil || !strings.Contains(err.Error(), x.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: error %v, want one line with %q", name, err, x.want)
		}
	}
	if now := n.sink.get("h1"); now != before {
		t.Errorf("status %+v, was %+v", now, before)
	}
}

// TestSteer_TooOld: a controller that does not steer says so before anything is asked of it.
func TestSteer_TooOld(t *testing.T) {
	path := socket(t)
	c := startController(t, path, nil)
	c.SetHost("h1", rules(1), 1)
	c.Ready()
	h := startHost(t, "h1", path, nil)
	inStep(t, c, h, "h1", 1)
	for what, err := range map[string]error{"Steer": h.Steer(t.Context(), second, false), "Reachable": h.Reachable()} {
		if err == nil || !strings.Contains(err.Error(), "upgrade it first") {
			t.Errorf("%s: %v", what, err)
		}
	}
	c.stop()
	agenttest.Eventually(t, "the session's end", func() error { return agenttest.Want(h.Status().Controller == "", "%+v", h.Status()) })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	for what, err := range map[string]error{"Steer": h.Steer(ctx, second, false), "Reachable": h.Reachable()} {
		if err == nil || !strings.Contains(err.Error(), "no session with a controller") {
			t.Errorf("%s: %v", what, err)
		}
	}
}
