package relay_test

import (
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"baton/upgrade/relay"
	"baton/upgrade/relay/relaytest"
)

// move hands guest i to the other process.
func move(h *relaytest.House, i int) error {
	from := h.Owner(i)
	giver, taker := h.Procs[from].Gates[i], h.Procs[1-from].Gates[i]
	taker.Prepare(h.Device(1-from, i))
	if err := taker.Hold(relaytest.Patience); err != nil {
		return err
	}
	given := make(chan error)
	go func() { given <- giver.Give() }()
	if err := errors.Join(taker.Take(relaytest.Patience), <-given); err != nil {
		return err
	}
	giver.Prepare(nil)
	return nil
}

// Guests that send to one another are handed over and back, one at a time, with frames under
// way between all of them: nothing is lost or comes twice or late, and no process touches the
// rings of a guest that it does not have.
func TestHandOver(t *testing.T) {
	for name, full := range map[string]bool{"guests with room": false, "guests that are full at times": true} {
		t.Run(name, func(t *testing.T) {
			before := relaytest.OpenFDs(t)
			t.Cleanup(func() {
				if after := relaytest.OpenFDs(t); after != before {
					t.Errorf("%d descriptors were open, %d are", before, after)
				}
			})
			h := relaytest.New(t, 5, full)
			moves := 600
			if testing.Short() {
				moves = 200
			}
			for n := range moves {
				if err := move(h, rand.IntN(len(h.Guests))); err != nil {
					t.Fatalf("move %d: %v", n, err)
				}
				if n%10 == 0 {
					_, was := h.Total()
					relaytest.Eventually(t, "a frame", func() bool { _, now := h.Total(); return now > was })
				}
			}
			h.Quiet()
			h.End()
			sent, got := h.Total()
			if full == (h.Lost() == 0) || sent != got+h.Lost() {
				t.Errorf("%d frames sent, %d came, %d had no room", sent, got, h.Lost())
			}
			var c relay.Counts
			for _, p := range h.Procs {
				for _, g := range p.Gates {
					c.Add(g.Counts())
					if g.Waiting() != 0 {
						t.Errorf("%s: %d frames wait", g.Name(), g.Waiting())
					}
				}
				if err := p.Link.Inbox().Err(); err != nil || p.Link.Inbox().Strays() != 0 {
					t.Errorf("inbox: %v, %d strays", err, p.Link.Inbox().Strays())
				}
			}
			if c.Sent == 0 || c.Sent != c.Arrived || c.Waited == 0 || !full && c.Lost != 0 {
				t.Errorf("relayed: %+v", c)
			}
			t.Logf("%d frames, %d through rings, %d waited", got, c.Sent, c.Waited)
		})
	}
}

// A process dies with some of the guests: the other one has them all, and goes on.
func TestSeize(t *testing.T) {
	for range 20 {
		h := relaytest.New(t, 4, false)
		h.Forgive() // what the dead one had is lost
		for i := range rand.IntN(8) {
			if err := move(h, i%4); err != nil {
				t.Fatal(err)
			}
		}
		dead, heir := h.Procs[0], h.Procs[1]
		dead.Halt.Store(true)
		<-dead.Ended
		for i, g := range heir.Gates {
			had := g.Have()
			if !had {
				g.Prepare(h.Device(1, i))
			}
			seized, err := g.Seize()
			if err != nil || seized == had || !g.Have() || dead.Gates[i].Have() {
				t.Fatalf("seized %v, had it %v: %v", seized, had, err)
			}
		}
		h.Moves()
		if again, err := heir.Gates[0].Seize(); again || err != nil {
			t.Errorf("seized twice: %v", err)
		}
		h.End()
	}
}

// Nobody passes the baton: the taker waits no longer than it is told, and what waited goes to
// who has the port.
func TestTake_givenUp(t *testing.T) {
	h := relaytest.New(t, 2, false)
	g := h.Procs[1].Gates[1]
	g.Prepare(h.Device(1, 1))
	if err := move(h, 0); err != nil { // its frames now come from the other process
		t.Fatal(err)
	}
	if err := g.Hold(relaytest.Patience); err != nil {
		t.Fatal(err)
	}
	relaytest.Eventually(t, "a frame that waits", func() bool { return g.Waiting() > 0 })
	if err := g.Take(time.Millisecond); !errors.Is(err, relay.ErrNotPassed) {
		t.Errorf("taken: %v", err)
	}
	g.Unhold()
	relaytest.Eventually(t, "no frame that waits", func() bool { return g.Waiting() == 0 })
	h.Quiet()
	h.End()
}

// The baton comes when the taker has given up: who has it then goes on at its words, whether it
// gives the port back or the other process dies.
func TestGive_late(t *testing.T) {
	for _, dies := range []bool{false, true} {
		h := relaytest.New(t, 2, false)
		old, heir := h.Procs[0].Gates[0], h.Procs[1].Gates[0]
		heir.Prepare(h.Device(1, 0))
		if err := heir.Hold(relaytest.Patience); err != nil {
			t.Fatal(err)
		}
		if err := heir.Take(time.Millisecond); !errors.Is(err, relay.ErrNotPassed) {
			t.Fatal(err)
		}
		if err := old.Give(); err != nil {
			t.Fatal(err)
		}
		if err := old.Give(); err == nil {
			t.Error("given twice")
		}
		if dies {
			h.Forgive()
			h.Procs[0].Halt.Store(true)
			<-h.Procs[0].Ended
			for i, g := range h.Procs[1].Gates {
				if i > 0 {
					g.Prepare(h.Device(1, i))
				}
				if _, err := g.Seize(); err != nil {
					t.Fatal(err)
				}
			}
			h.Moves()
			h.End()
			continue
		}
		if err := old.Hold(relaytest.Patience); err != nil {
			t.Fatal(err)
		}
		given := make(chan error)
		go func() { given <- heir.Give() }()
		if err := errors.Join(old.Take(relaytest.Patience), <-given); err != nil {
			t.Fatal(err)
		}
		h.Moves()
		h.Quiet()
		h.End()
		if h.Lost() != 0 {
			t.Errorf("%d frames lost", h.Lost())
		}
	}
}

// A guest wakes the workers of the process that has its port or is about to have it, and no
// others: each of its kicks would cost two processes a turn of their CPU.
func TestWakes(t *testing.T) {
	h := relaytest.New(t, 2, false)
	old, heir := h.Procs[0].Gates[0], h.Procs[1].Gates[0]
	device := h.Device(1, 0)
	want := func(when string, first, second bool) {
		t.Helper()
		if a, b := old.Device().(*relaytest.Device).Wakes(), device.Wakes(); a != first || b != second {
			t.Errorf("%s: the guest wakes the first process %v, the second %v; want %v, %v", when, a, b, first, second)
		}
	}
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	want("before", true, false)
	heir.Prepare(device)
	want("prepared", true, false)
	ok(heir.Hold(relaytest.Patience))
	want("held", true, true)
	heir.Unhold()
	want("not held any more", true, false)
	ok(heir.Hold(relaytest.Patience))
	ok(old.Give())
	want("given", false, true)
	ok(heir.Take(relaytest.Patience))
	ok(old.Hold(relaytest.Patience))
	ok(heir.Give())
	want("on the way back", true, false)
	h.Forgive() // packets of a process that dies
	h.Procs[1].Halt.Store(true)
	<-h.Procs[1].Ended
	_, err := old.Seize()
	ok(err)
	want("seized", true, false)
	h.End()
}

// A reader that stands still does not hold a taker up for longer than it says.
func TestHold_notDrained(t *testing.T) {
	h := relaytest.New(t, 2, false)
	if err := move(h, 0); err != nil {
		t.Fatal(err)
	}
	first := h.Procs[0]
	first.Halt.Store(true)
	<-first.Ended
	g := h.Procs[1].Gates[1]
	taken := first.Gates[1].Counts().Arrived
	relaytest.Eventually(t, "a frame in the ring", func() bool { return g.Counts().Sent > taken })
	if err := g.Hold(5 * time.Millisecond); err == nil {
		t.Error("held, with frames under way that nobody takes")
	}
	first.Halt.Store(false)
	first.Ended = make(chan struct{})
	go first.Run()
	h.Quiet()
}

func TestOpen_refuses(t *testing.T) {
	shape := relay.Shape{Workers: [2]int{2, 1}, Ports: 3}
	a := relaytest.Area(t, shape)
	for name, c := range map[string]struct {
		shape relay.Shape
		files func([]int) []int
	}{
		"no files":        {a.Shape(), func(f []int) []int { closeAll(f); return nil }},
		"too few":         {a.Shape(), func(f []int) []int { closeAll(f[3:]); return f[:3] }},
		"another shape":   {relay.Shape{Workers: [2]int{2, 1}, Ports: 4}, func(f []int) []int { return f }},
		"other workers":   {relay.Shape{Workers: [2]int{1, 2}, Ports: 3, Ring: 1 << 19}, func(f []int) []int { return f }},
		"no shape":        {relay.Shape{}, func(f []int) []int { return f }},
		"an eventfd":      {a.Shape(), func(f []int) []int { f[0], f[1] = f[1], f[0]; return f }},
		"ring of 3 bytes": {relay.Shape{Workers: [2]int{2, 1}, Ports: 3, Ring: 3}, func(f []int) []int { return f }},
	} {
		t.Run(name, func(t *testing.T) {
			before := relaytest.OpenFDs(t)
			if b, err := relay.Open(c.shape, c.files(relaytest.Copies(t, a.Files()))); err == nil {
				t.Error("opened", b.Shape())
			}
			if after := relaytest.OpenFDs(t); after != before {
				t.Errorf("%d descriptors were open, %d are", before, after)
			}
		})
	}
	if _, err := relay.New(relay.Shape{Workers: [2]int{1, 1}, Ports: relay.MaxPorts + 1}); err == nil {
		t.Error("more ports than can be")
	}
}

func closeAll(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}
