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

// TestMoveDuring: once the VM does not run any more where it was, its host relays what
// comes for it to where it goes, from wherever it comes; what the VM sends there is not
// sent round.
func TestMoveDuring(t *testing.T) {
	l := newLab(t, movingNet(t))
	l.down["old/mover"] = true
	for from, tunnels := range map[string]int{"by-old": 1, "by-new": 2, "far": 2} {
		if o := l.send(from, l.ping(from, l.mac("mover"), l.ip("mover"), 64)); o.port != "mover" || o.host != "new" || o.tunnels != tunnels {
			t.Errorf("%s to mover: %s on %s, want %d tunnels", from, o, o.host, tunnels)
		}
	}
	if o, _ := l.sendOn("new", "mover", l.ask("mover", l.ip("mover"), l.ip("far"))); o.port != "mover" || o.host != "new" || o.tunnels != 0 {
		t.Errorf("the answer to mover's ARP request: %s on %s", o, o.host)
	}
	l.down["new/mover"] = true // it runs nowhere yet
	for _, from := range []string{"by-old", "by-new", "far"} {
		if o := l.send(from, l.ping(from, l.mac("mover"), l.ip("mover"), 64)); o.reason != stats.DropPortDown {
			t.Errorf("%s to mover, which stands still: %s", from, o)
		}
	}
}

// TestMoveBackAndForth: hosts of which one has old rules, and that each take the other for
// the place that the VM goes to, relay a frame once and not for ever.
func TestMoveBackAndForth(t *testing.T) {
	s := movingNet(t)
	l := newLab(t, s)
	back := movingNet(t)
	back.Ports["mover"].Host, back.Ports["mover"].MigrateTo = "new", "old"
	l.hosts["new"] = newLab(t, back).hosts["new"]
	l.down["old/mover"], l.down["new/mover"] = true, true
	for _, from := range []string{"by-old", "by-new", "far"} {
		if o := l.send(from, l.ping(from, l.mac("mover"), l.ip("mover"), 64)); o.reason != stats.DropPortDown {
			t.Errorf("%s to mover: %s", from, o)
		}
	}
	delete(l.down, "new/mover")
	if o := l.send("far", l.ping("far", l.mac("mover"), l.ip("mover"), 64)); o.port != "mover" || o.host != "new" {
		t.Errorf("far to mover: %s on %s", o, o.host)
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
