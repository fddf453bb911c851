package compile_test

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"baton/controlplane/compile"
	"baton/controlplane/model"
	"baton/dataplane/flow"
)

// received is what a host has after some changes: the naive twin of a pipeline's state.
type received struct {
	rules      map[flow.RuleID]flow.Rule
	bindings   map[string]flow.Binding
	neighbours map[uint32]flow.Neighbour
}

func (r *received) apply(c flow.Change) {
	if c.Replace || r.rules == nil {
		*r = received{map[flow.RuleID]flow.Rule{}, map[string]flow.Binding{}, map[uint32]flow.Neighbour{}}
	}
	for _, id := range c.DelRules {
		delete(r.rules, id)
	}
	for _, n := range c.DelBindings {
		delete(r.bindings, n)
	}
	for _, ip := range c.DelNeighbours {
		delete(r.neighbours, ip)
	}
	for _, x := range c.SetRules {
		r.rules[x.RuleID] = x
	}
	for _, b := range c.SetBindings {
		r.bindings[b.Name] = b
	}
	for _, n := range c.SetNeighbours {
		r.neighbours[n.IP] = n
	}
}

// same compares with a configuration; empty if equal.
func (r *received) same(c compile.Config) string {
	var want received
	want.apply(c.Change())
	if len(want.rules) != len(c.Rules) {
		return "two rules share an identity"
	}
	numbers := map[flow.PortNo]bool{}
	for _, b := range c.Bindings {
		if numbers[b.Number] {
			return "two bindings share a number"
		}
		numbers[b.Number] = true
	}
	for id, x := range want.rules {
		if y, ok := r.rules[id]; !ok || x.Cookie != y.Cookie || !slices.Equal(x.Actions, y.Actions) {
			return fmt.Sprintf("rule %s: got %s", x, y)
		}
	}
	if len(want.rules) != len(r.rules) {
		return fmt.Sprintf("%d rules, want %d", len(r.rules), len(want.rules))
	}
	return cmp.Diff(want.bindings, r.bindings) + cmp.Diff(want.neighbours, r.neighbours)
}

// drawObject makes an object with few names and numbers, so that objects meet,
// clash and miss each other: any network, not only valid ones.
func drawObject(t *rapid.T) model.Object {
	name := func(kind string) string { return fmt.Sprintf("%s%d", kind, rapid.IntRange(0, 2).Draw(t, kind)) }
	small := func(label string) uint8 { return uint8(rapid.IntRange(0, 3).Draw(t, label)) }
	mac := func() flow.MAC { return flow.MAC{2, 0, 0, 0, 0, small("mac")} }
	vni := func() model.DatapathState { return model.DatapathState{VNI: uint32(small("vni"))} }
	switch rapid.SampledFrom(model.Kinds()).Draw(t, "kind") {
	case model.KindHost:
		h := &model.Host{Name: name("h"), Underlay: model.Address{Addr: netip.AddrFrom4([4]byte{192, 168, small("net"), small("ip")}), Bits: 24}}
		h.Status.MAC = mac()
		if rapid.Bool().Draw(t, "pair") {
			h.Alternate = netip.AddrFrom4([4]byte{192, 168, small("net"), small("ip")}) // also its own other one, or another host's
			h.Status.AlternateMAC, h.Status.AtAlternate = mac(), rapid.Bool().Draw(t, "at")
		}
		h.Status.Connected = rapid.Bool().Draw(t, "connected")
		h.MTU = 1000 * uint16(small("mtu"))
		if rapid.Bool().Draw(t, "gateway") {
			h.Gateway = &model.Gateway{MAC: mac()}
		}
		return h
	case model.KindSwitch:
		return &model.Switch{Name: name("s"), Status: vni()}
	case model.KindRouter:
		return &model.Router{Name: name("r"), Status: vni()}
	case model.KindRoute:
		bits := rapid.SampledFrom([]int{0, 8, 24}).Draw(t, "bits")
		return &model.Route{Name: name("x"), Router: name("r"), NextHop: netip.AddrFrom4([4]byte{10, 0, small("net"), small("ip")}),
			Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, small("to"), 0}), bits).Masked()}
	}
	p := &model.Port{Name: fmt.Sprintf("p%d", rapid.IntRange(0, 5).Draw(t, "p")), Switch: name("s"), MAC: mac(),
		IP: model.Address{Addr: netip.AddrFrom4([4]byte{10, 0, small("net"), small("ip")})}}
	p.Status.ID = uint16(small("id"))
	if rapid.Bool().Draw(t, "link") {
		p.Router, p.IP.Bits, p.Status.RouterID = name("r"), 24, uint16(small("routerID"))
	} else {
		p.Host = name("h")
		if rapid.Bool().Draw(t, "moves") {
			p.MigrateTo = name("h") // also where it is, or where nothing is
		}
	}
	return p
}

// TestIncrementalEqualsScratch changes random networks at random, and compares
// what each host has after the changes with what it is given from scratch.
func TestIncrementalEqualsScratch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var first []model.Object
		for range rapid.IntRange(0, 20).Draw(t, "objects") {
			first = append(first, drawObject(t))
		}
		state := model.NewState(first...)
		c := compile.NewCompiler(state.Clone())
		hosts := map[string]*received{}
		for _, name := range c.Hosts() {
			cfg, _ := c.Config(name)
			hosts[name] = &received{}
			hosts[name].apply(cfg.Change())
		}
		for range rapid.IntRange(1, 12).Draw(t, "steps") {
			var changes []model.Change
			for range rapid.IntRange(1, 3).Draw(t, "changes") {
				o := drawObject(t)
				ch := model.Change{Ref: o.Ref(), Object: o}
				if rapid.IntRange(0, 3).Draw(t, "delete") == 0 {
					ch.Object = nil
				}
				changes = append(changes, ch)
			}
			state.Apply(changes)
			for name, ch := range c.Apply(changes) {
				if hosts[name] == nil {
					hosts[name] = &received{}
				}
				if ch.Empty() {
					t.Fatalf("%s: an empty change", name)
				}
				hosts[name].apply(ch)
			}
			for _, name := range slices.Sorted(maps.Keys(hosts)) {
				if diff := hosts[name].same(compile.Host(state, name)); diff != "" {
					t.Fatalf("%s after %v: %s", name, changes, diff)
				}
				cfg, ok := c.Config(name)
				if diff := hosts[name].same(cfg); ok && diff != "" {
					t.Fatalf("%s: Config after %v: %s", name, changes, diff)
				}
			}
		}
	})
}

// manyPorts is 20 switches with 50 ports each, all on one router, over 10 hosts.
func manyPorts() *model.State {
	s := model.NewState(&model.Router{Name: "r", Status: model.DatapathState{VNI: 1000}})
	for h := range 10 {
		host := &model.Host{Name: fmt.Sprintf("h%d", h), Underlay: model.Address{Addr: netip.AddrFrom4([4]byte{192, 168, 0, byte(h + 1)}), Bits: 24}}
		host.Status.MAC = flow.MAC{2, 0, 0, 0, 1, byte(h)}
		s.Set(host)
	}
	for w := range 20 {
		sw := fmt.Sprintf("s%d", w)
		s.Set(&model.Switch{Name: sw, Status: model.DatapathState{VNI: uint32(w + 1)}})
		ip := func(last int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, byte(w), byte(last)}) }
		s.Set(&model.Port{Name: "gw-" + sw, Switch: sw, Router: "r", IP: model.Address{Addr: ip(1), Bits: 24}, Status: model.PortState{ID: 1, RouterID: uint16(w + 1)}})
		for p := range 50 {
			s.Set(&model.Port{Name: fmt.Sprintf("p%d-%d", w, p), Switch: sw, IP: model.Address{Addr: ip(p + 10)}, Host: fmt.Sprintf("h%d", (w+p)%10), Status: model.PortState{ID: uint16(p + 2)}})
		}
	}
	return s
}

// TestOnePortTouchesLittle counts the work of changes in a network of 1000 ports.
func TestOnePortTouchesLittle(t *testing.T) {
	s := manyPorts()
	c := compile.NewCompiler(s)
	all := c.Work()
	if all.Units < 1000 || all.Rules < 5000 {
		t.Fatalf("from scratch: %+v; the network is too small for this test", all)
	}
	move := func(name, host string) map[string]flow.Change {
		p := model.Clone(s.Ports[name])
		p.Host = host
		return c.Apply([]model.Change{{Ref: p.Ref(), Object: p}})
	}
	before := c.Work()
	changes := move("p3-7", "h5") // from h0
	work := c.Work()
	if n := work.Units - before.Units; n != 1 {
		t.Errorf("moving one port compiled %d objects, want 1", n)
	}
	if n := work.Rules - before.Rules; n > 10 {
		t.Errorf("moving one port made %d rules", n)
	}
	if len(changes) != 10 {
		t.Errorf("%d hosts hear of it, want 10", len(changes))
	}
	for host, ch := range changes {
		n, limit := len(ch.SetRules)+len(ch.DelRules), 1 // the others: where its MAC is
		if host == "h0" || host == "h5" {
			limit = 5
		}
		if n == 0 || n > limit || ch.Replace {
			t.Errorf("%s: %d rules change, want 1 to %d", host, n, limit)
		}
	}
	if b := changes["h0"].DelBindings; len(b) != 1 || b[0] != "p3-7" {
		t.Errorf("h0 unbinds %v", b)
	}
	if b := changes["h5"].SetBindings; len(b) != 1 || b[0].Name != "p3-7" {
		t.Errorf("h5 binds %v", b)
	}
	// A router's port concerns its own switch: 50 ports of 1000.
	gw := model.Clone(s.Ports["gw-s4"])
	gw.MAC = flow.MAC{2, 9, 9, 9, 9, 9}
	before = c.Work()
	c.Apply([]model.Change{{Ref: gw.Ref(), Object: gw}})
	if n := c.Work().Units - before.Units; n != 51 {
		t.Errorf("changing a gateway compiled %d objects, want the 51 ports of its switch", n)
	}
	// A session that comes and goes concerns nobody.
	h := model.Clone(s.Hosts["h1"])
	h.Status.Connected = true
	if got := c.Apply([]model.Change{{Ref: h.Ref(), Object: h}}); len(got) != 0 {
		t.Errorf("a session began and %d hosts hear of it", len(got))
	}
}

// TestCookies are the same in every version: hosts keep rules over upgrades.
func TestCookies(t *testing.T) {
	for ref, want := range map[model.Ref]uint64{
		{}:                                    0xaf63a24c860189fe,
		{Kind: model.KindPort, Name: "vm1"}:   0x3cca73de00ad58dd,
		{Kind: model.KindSwitch, Name: "vm1"}: 0x283595cc61f46dae,
	} {
		if got := compile.Cookie(ref); got != want {
			t.Errorf("%s: %#x, want %#x", ref, got, want)
		}
	}
}
