package worker

import (
	"bytes"
	"slices"
	"sync"
	"testing"

	"baton/dataplane/action"
	"baton/dataplane/flow"
	"baton/dataplane/pipeline"
	"baton/dataplane/port"
	"baton/dataplane/stats"
)

// caught are the frames that a port got.
type caught struct {
	mu     sync.Mutex
	frames [][]byte
}

func catch(d *double) *caught {
	c := &caught{}
	d.sink(func(f []byte) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.frames = append(c.frames, bytes.Clone(f))
	})
	return c
}

// take returns what has come since the last call.
func (c *caught) take() (frames [][]byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	frames, c.frames = c.frames, nil
	return frames
}

// afterPort is where a tunnelled frame goes on behind the outer source port, which
// follows from the flow's hash.
const afterPort = 14 + 20 + 2

// relayed are the frames on their way from here to port 2 on the host at 192.0.2.2, from
// afterPort on.
func relayed(t *testing.T, inner ...[]byte) (all [][]byte) {
	t.Helper()
	n := neighbour(2)
	for _, f := range inner {
		all = append(all, pushedAs(t, tunnelEnd(t, 1), action.Tunnel{
			VNI: 1, Dst: n.IP, MAC: n.MAC, SrcPort: 7, DstPort: 2, Flags: flow.FlagRedirect,
		}, f)[afterPort:])
	}
	return all
}

// fromFar is inner as the host at 192.0.2.2 sends it here, with frame flags.
func fromFar(t *testing.T, flags uint16, inner []byte) []byte {
	t.Helper()
	n := neighbour(1)
	return pushedAs(t, tunnelEnd(t, 2), action.Tunnel{VNI: 1, Dst: n.IP, MAC: n.MAC, DstPort: 2, Flags: flags}, inner)
}

// same reports whether a and b are the same frames, in any order.
func same(a, b [][]byte) bool {
	a, b = slices.Clone(a), slices.Clone(b)
	slices.SortFunc(a, bytes.Compare)
	slices.SortFunc(b, bytes.Compare)
	return slices.EqualFunc(a, b, bytes.Equal)
}

// relayLab is a host at 192.0.2.1 where port 2 has a second way, to the host at 192.0.2.2,
// and port 1 sends to it.
func relayLab(t *testing.T, queues int) (l *lab, nic, from, to *double) {
	l = newLab(t, func(c *Config) { c.Workers, c.Endpoint = 2, tunnelEnd(t, 1) })
	nic = newDouble(t, "nic", port.KindNIC, 1)
	if err := l.AddPort(nic, PortOptions{}); err != nil {
		t.Fatal(err)
	}
	first := func(prio uint16, m flow.Match, set ...flow.Action) flow.Rule {
		return flow.Rule{
			RuleID: flow.RuleID{Table: pipeline.TableConvertPhyLogical, Priority: prio, Match: m},
			Actions: append(set, flow.SetUint(flow.FieldDatapath, 1), flow.SetUint(flow.FieldSrcPort, 7), flow.SetUint(flow.FieldDstPort, 2),
				flow.SetUint(flow.FieldTunDst, 0xc0000202), flow.Output(number(2))),
		}
	}
	l.apply(flow.Change{
		SetNeighbours: []flow.Neighbour{neighbour(2)},
		SetRules: []flow.Rule{first(1, flow.Match{}),
			first(2, flow.Match{}.WithUint(flow.FieldInPort, uint64(flow.PortTunnel)), flow.Copy(flow.FieldFlags, flow.FieldTunFlags))},
	})
	return l, nic, l.addPort(1, newDouble(t, "from", port.KindVhost, 1)), l.addPort(2, newDouble(t, "to", port.KindVhost, queues))
}

// TestRelay: what goes to a port with a second way goes to the port as long as one of its
// queues takes packets, and the other way while none does, whether it comes from this host
// or another; what was relayed to here already does not go on.
func TestRelay(t *testing.T) {
	for _, queues := range []int{1, 2} { // of one worker, of both
		l, nic, from, to := relayLab(t, queues)
		wire, guest := catch(nic), catch(to)
		local, remote := frame(3, 4, 1), frame(5, 6, 2)
		pass := func(what string, wantGuest, wantWire [][]byte, drops uint64) {
			t.Helper()
			before := l.Totals().Drops[stats.DropPortDown]
			from.queues[0].inject(local)
			nic.queues[0].inject(fromFar(t, 0, remote), fromFar(t, flow.FlagRedirect, remote))
			l.quiet(from, nic)
			g, w, d := guest.take(), wire.take(), l.Totals().Drops[stats.DropPortDown]-before
			for i := range w {
				w[i] = w[i][afterPort:]
			}
			if !same(g, wantGuest) || !same(w, wantWire) || d != drops {
				t.Errorf("%d queues, %s: the guest got %x, the wire %x, %d dropped; want %x, %x, %d", queues, what, g, w, d, wantGuest, wantWire, drops)
			}
		}
		pass("up", [][]byte{local, remote, remote}, nil, 0)
		for _, q := range to.queues[1:] {
			q.off.Store(true)
		}
		pass("one queue", [][]byte{local, remote, remote}, nil, 0)
		to.queues[0].off.Store(true)
		pass("down", nil, relayed(t, local, remote), 1)
		to.queues[len(to.queues)-1].off.Store(false)
		pass("up again", [][]byte{local, remote, remote}, nil, 0)
		if err := l.RemovePort("to"); err != nil {
			t.Fatal(err)
		}
		pass("gone", nil, relayed(t, local, remote), 1)
		l.apply(flow.Change{DelNeighbours: []uint32{0xc0000202}})
		from.queues[0].inject(local)
		l.quiet(from)
		if n := len(wire.take()); n != 0 {
			t.Errorf("%d frames to a host that nobody knows the way to", n)
		}
	}
}

// TestRelayTooBig: a frame that fits the port here but not the tunnel is too big while it
// has to go there.
func TestRelayTooBig(t *testing.T) {
	l, nic, from, to := relayLab(t, 1)
	l.apply(flow.Change{SetBindings: []flow.Binding{{Name: "to", Number: number(2), MTU: 1000}}})
	wire, m := catch(nic), listen(from)
	for _, tt := range []struct {
		off       bool
		size, mtu int
	}{{false, 1000, 0}, {false, 1001, 1000}, {true, 1438, 0}, {true, 1439, 1438}} {
		to.queues[0].off.Store(tt.off)
		m.forget()
		from.queues[0].inject(l3(false, 0, 9, tt.size))
		l.quiet(from)
		if told := m.mtu; (len(told) == 0) != (tt.mtu == 0) || tt.mtu != 0 && told[0] != tt.mtu {
			t.Errorf("%+v: told %v", tt, told)
		}
		if n := len(wire.take()); n != 0 != (tt.off && tt.mtu == 0) {
			t.Errorf("%+v: %d frames on the wire", tt, n)
		}
	}
}

func TestRelayAllocatesNothing(t *testing.T) {
	vm := &endless{name: "vm", kind: port.KindVhost, frames: [][]byte{l3(false, 0, 1, 1000), frame(1, 2, 3)}}
	c := flow.Change{
		SetNeighbours: []flow.Neighbour{neighbour(2)},
		SetBindings:   []flow.Binding{{Name: "vm", Number: number(1)}, {Name: "to", Number: number(2)}},
		SetRules: []flow.Rule{{
			RuleID: flow.RuleID{Table: pipeline.TableConvertPhyLogical, Priority: 1},
			Actions: []flow.Action{flow.SetUint(flow.FieldDatapath, 1), flow.SetUint(flow.FieldDstPort, 2),
				flow.SetUint(flow.FieldTunDst, 0xc0000202), flow.Output(number(2))},
		}},
	}
	w := still(t, tunnelEnd(t, 1), []port.Port{&endless{name: "nic", kind: port.KindNIC}, vm}, c)
	w.turn()
	if n := testing.AllocsPerRun(50, func() { w.turn() }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if tot := w.pool.Totals(); tot.Dropped() != 0 || tot.TxPackets < 50*32 {
		t.Errorf("%+v", tot)
	}
}
