package compile_test

import (
	"os"
	"testing"

	"baton/controlplane/compile"
	"baton/controlplane/model"
	"baton/dataplane/stats"
)

func movingNet(t *testing.T) *model.State {
	t.Helper()
	const name = "testdata/moving.yaml"
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return parseNet(t, name, text)
}

// TestMoveBefore: until the VM has arrived all send to the host that it leaves, also
// the host that it goes to.
func TestMoveBefore(t *testing.T) {
	l := newLab(t, movingNet(t))
	for from, tunnels := range map[string]int{"by-old": 0, "by-new": 1, "far": 1} {
		o := l.send(from, l.ping(from, l.mac("mover"), l.ip("mover"), 64))
		if o.port != "mover" || o.host != "old" || o.tunnels != tunnels {
			t.Errorf("%s to mover: %s on %s", from, o, o.host)
		}
		if o := l.send("mover", l.ping("mover", l.mac(from), l.ip(from), 64)); o.port != from {
			t.Errorf("mover, where it was, to %s: %s", from, o)
		}
	}
}

// TestMoveArrival: what the VM sends on the host that it goes to is forwarded, and
// handed up; elsewhere nothing is.
func TestMoveArrival(t *testing.T) {
	l := newLab(t, movingNet(t))
	for to, tunnels := range map[string]int{"by-old": 1, "by-new": 0, "far": 1} {
		o, punt := l.sendOn("new", "mover", l.ping("mover", l.mac(to), l.ip(to), 64))
		if o.port != to || o.tunnels != tunnels || punt != compile.PuntArrived {
			t.Errorf("mover, where it goes, to %s: %s, punt %d", to, o, punt)
		}
		if _, punt := l.sendOn("old", "mover", l.ping("mover", l.mac(to), l.ip(to), 64)); punt != 0 {
			t.Errorf("mover, where it was, to %s: punt %d", to, punt)
		}
	}
	announce := l.ask("mover", l.ip("mover"), l.ip("mover"))
	if o, punt := l.sendOn("new", "mover", announce); o.reason != stats.DropUnknownARPTarget || punt != compile.PuntArrived {
		t.Errorf("the guest announces itself: %s, punt %d", o, punt)
	}
	if _, punt := l.sendOn("new", "by-new", l.ping("by-new", l.mac("far"), l.ip("far"), 64)); punt != 0 {
		t.Errorf("another VM's frame: punt %d", punt)
	}
}

// TestMoveLate: a frame that was sent to the host that has it no more, or has it
// already, is delivered to the port's device there.
func TestMoveLate(t *testing.T) {
	s := movingNet(t)
	l := newLab(t, s)
	key := tunnelKey(s.Hosts["other"].Underlay.Addr, 7, 1)
	key.SrcPort = 4
	if o := l.walk("new", key, l.ping("far", l.mac("mover"), l.ip("mover"), 64), 1); o.port != "mover" || o.host != "new" {
		t.Errorf("sent to where it goes: %s", o)
	}
}

// TestMoveAfter: a move that has ended leaves nothing behind.
func TestMoveAfter(t *testing.T) {
	s := movingNet(t)
	moved := model.Clone(s.Ports["mover"])
	moved.Host, moved.MigrateTo = "new", ""
	s.Set(moved)
	fresh := movingNet(t)
	fresh.Ports["mover"].Host, fresh.Ports["mover"].MigrateTo = "new", ""
	c := compile.NewCompiler(movingNet(t))
	hosts := map[string]*received{}
	for _, h := range c.Hosts() {
		cfg, _ := c.Config(h)
		hosts[h] = &received{}
		hosts[h].apply(cfg.Change())
	}
	for h, ch := range c.Apply([]model.Change{{Ref: moved.Ref(), Object: moved}}) {
		hosts[h].apply(ch)
	}
	for h, got := range hosts {
		if diff := got.same(compile.Host(fresh, h)); diff != "" {
			t.Errorf("%s: %s", h, diff)
		}
	}
	l := newLab(t, s)
	if o := l.send("far", l.ping("far", l.mac("mover"), l.ip("mover"), 64)); o.host != "new" || o.port != "mover" {
		t.Errorf("far to mover: %s on %s", o, o.host)
	}
}
