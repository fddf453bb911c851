package relay_test

import (
	"errors"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"baton/dataplane/buf"
	"baton/dataplane/buf/buftest"
	"baton/upgrade/relay"
)

func area(t *testing.T, shape relay.Shape) *relay.Area {
	t.Helper()
	a, err := relay.New(shape)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
	return a
}

// copies are the files as another process gets them.
func copies(t *testing.T, files []int) (all []int) {
	t.Helper()
	for _, fd := range files {
		dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, dup)
	}
	return all
}

func opened(t *testing.T, a *relay.Area) *relay.Area {
	t.Helper()
	b, err := relay.Open(a.Shape(), copies(t, a.Files()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

func caches(t *testing.T) [2]*buf.Cache {
	return [2]*buf.Cache{buftest.NewCache(t, 8192), buftest.NewCache(t, 8192)}
}

const patience = 20 * time.Second

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(what, "did not come")
		}
	}
}

// move hands guest i to the other process.
func (h *house) move(i int) error {
	from := h.owner(i)
	giver, taker := h.procs[from].gates[i], h.procs[1-from].gates[i]
	taker.Prepare(h.device(1-from, i))
	if err := taker.Hold(patience); err != nil {
		return err
	}
	given := make(chan bool)
	go func() {
		defer close(given)
		giver.Give()
	}()
	if err := taker.Take(patience); err != nil {
		return err
	}
	<-given
	giver.Prepare(nil)
	return nil
}

// Guests that send to one another are handed over and back, one at a time, with frames under
// way between all of them: nothing is lost or comes twice or late, and no process touches the
// rings of a guest that it does not have.
func TestHandOver(t *testing.T) {
	for name, full := range map[string]bool{"guests with room": false, "guests that are full at times": true} {
		t.Run(name, func(t *testing.T) {
			before := openFDs(t)
			t.Cleanup(func() {
				if after := openFDs(t); after != before {
					t.Errorf("%d descriptors were open, %d are", before, after)
				}
			})
			h := newHouse(t, 5, caches(t), full)
			moves := 1500
			if testing.Short() {
				moves = 200
			}
			for n := range moves {
				if err := h.move(rand.IntN(len(h.guests))); err != nil {
					t.Fatalf("move %d: %v", n, err)
				}
				if n%10 == 0 {
					_, was := h.total()
					eventually(t, "a frame", func() bool { _, now := h.total(); return now > was })
				}
			}
			h.stop.Store(true)
			lost := func() uint64 { return h.procs[0].lost.Load() + h.procs[1].lost.Load() }
			eventually(t, "all that was sent", func() bool { sent, got := h.total(); return sent == got+lost() })
			h.end()
			sent, got := h.total()
			if full == (lost() == 0) || sent != got+lost() {
				t.Errorf("%d frames sent, %d came, %d had no room", sent, got, lost())
			}
			var c relay.Counts
			for _, p := range h.procs {
				for _, g := range p.gates {
					c.Add(g.Counts())
					if g.Waiting() != 0 {
						t.Errorf("%s: %d frames wait", g.Name(), g.Waiting())
					}
				}
				if err := p.link.Inbox().Err(); err != nil || p.link.Inbox().Strays() != 0 {
					t.Errorf("inbox: %v, %d strays", err, p.link.Inbox().Strays())
				}
			}
			if c.Sent == 0 || c.Sent != c.Arrived || c.Waited == 0 || c.Lost != 0 {
				t.Errorf("relayed: %+v", c)
			}
			t.Logf("%d frames, %d through rings, %d waited", got, c.Sent, c.Waited)
		})
	}
}

func openFDs(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

// A process dies with some of the guests: the other one has them all, and goes on.
func TestSeize(t *testing.T) {
	for range 20 {
		h := newHouse(t, 4, caches(t), false)
		for _, g := range h.guests {
			g.mu2().Lock()
			g.gaps = true // what the dead one had is lost
			g.mu2().Unlock()
		}
		for i := range rand.IntN(8) {
			if err := h.move(i % 4); err != nil {
				t.Fatal(err)
			}
		}
		dead, heir := h.procs[0], h.procs[1]
		dead.stop.Store(true)
		<-dead.ended
		for i, g := range heir.gates {
			had := g.Have()
			if !had {
				g.Prepare(h.device(1, i))
			}
			seized, err := g.Seize()
			if err != nil || seized == had || !g.Have() || dead.gates[i].Have() {
				t.Fatalf("seized %v, had it %v: %v", seized, had, err)
			}
		}
		for i, g := range h.guests { // each sends and gets on
			was := g.received(uint32((i + 3) % 4))
			eventually(t, "a frame", func() bool { return g.received(uint32((i+3)%4)) > was })
		}
		if again, err := heir.gates[0].Seize(); again || err != nil {
			t.Errorf("seized twice: %v", err)
		}
		h.end()
	}
}

// Nobody passes the baton: the taker waits no longer than it is told, and what waited goes to
// who has the port.
func TestTake_givenUp(t *testing.T) {
	h := newHouse(t, 2, caches(t), false)
	g := h.procs[1].gates[1]
	g.Prepare(h.device(1, 1))
	if err := h.move(0); err != nil { // its frames now come from the other process
		t.Fatal(err)
	}
	if err := g.Hold(patience); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a frame that waits", func() bool { return g.Waiting() > 0 })
	if err := g.Take(time.Millisecond); !errors.Is(err, relay.ErrNotPassed) {
		t.Errorf("taken: %v", err)
	}
	g.Unhold()
	eventually(t, "no frame that waits", func() bool { return g.Waiting() == 0 })
	h.stop.Store(true)
	eventually(t, "all that was sent", func() bool { sent, got := h.total(); return sent == got })
	h.end()
}

// A reader that stands still does not hold a taker up for longer than it says.
func TestHold_notDrained(t *testing.T) {
	h := newHouse(t, 2, caches(t), false)
	if err := h.move(0); err != nil {
		t.Fatal(err)
	}
	first := h.procs[0]
	first.stop.Store(true)
	<-first.ended
	g := h.procs[1].gates[1]
	eventually(t, "a frame in the ring", func() bool { return g.Counts().Sent > 0 })
	sent := g.Counts().Sent
	eventually(t, "more of them", func() bool { return g.Counts().Sent > sent || g.Counts().Sent >= window })
	if err := g.Hold(5 * time.Millisecond); err == nil {
		t.Error("held, with frames under way that nobody takes")
	}
	first.stop.Store(false)
	first.ended = make(chan struct{})
	go first.run()
	h.stop.Store(true)
	eventually(t, "all that was sent", func() bool { sent, got := h.total(); return sent == got })
}

func TestOpen_refuses(t *testing.T) {
	shape := relay.Shape{Workers: [2]int{2, 1}, Ports: 3}
	a := area(t, shape)
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
			before := openFDs(t)
			if b, err := relay.Open(c.shape, c.files(copies(t, a.Files()))); err == nil {
				t.Error("opened", b.Shape())
			}
			if after := openFDs(t); after != before {
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
