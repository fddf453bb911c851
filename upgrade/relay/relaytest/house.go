// Package relaytest is two processes of hand-written poll loops whose guests send one another
// numbered frames, and find out who touches their rings without having them.
//
// Callers: tests of upgrade.
package relaytest

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"baton/dataplane/buf"
	"baton/dataplane/buf/buftest"
	"baton/dataplane/port"
	"baton/upgrade/relay"
)

// Guest sends numbered frames to the next guest and checks those that it gets. Its rings have
// the positions that words tell; who touches them elsewhere has not been the owner.
type Guest struct {
	t       *testing.T
	id      int
	all     []*Guest
	mu      sync.Mutex
	sent    uint32            // position of its TX ring
	got     uint32            // position of its RX ring
	seen    map[uint32]uint32 // by sender: the number that comes next
	full    bool              // its RX ring has no room, now and then
	base    uint32            // frames before it count as arrived
	blocked time.Time
	gaps    atomic.Bool  // frames may be lost
	stop    *atomic.Bool // no new frames
}

const (
	frameSize = 64
	Window    = 200 // frames of a guest under way
)

// next puts the next frame into b; false if the guest has none now.
func (g *Guest) next(at *uint32, b *buf.Buf) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if *at != g.sent {
		g.t.Errorf("guest %d: TX ring touched at %d, it stands at %d", g.id, *at, g.sent)
	}
	if g.stop.Load() || g.waits() {
		return false
	}
	f := b.Append(frameSize + int(g.sent)%3000%1400)
	binary.LittleEndian.PutUint32(f, uint32(g.id))
	binary.LittleEndian.PutUint32(f[4:], g.sent)
	g.sent++
	*at = g.sent
	return true
}

// waits reports whether enough frames of the guest are under way. Those of which nothing is
// heard for long are lost, where frames may be.
func (g *Guest) waits() bool {
	got := max(g.all[(g.id+1)%len(g.all)].Received(uint32(g.id)), g.base)
	if g.sent-got < Window {
		g.blocked = time.Time{}
		return false
	}
	switch {
	case g.blocked.IsZero():
		g.blocked = time.Now()
	case g.gaps.Load() && time.Since(g.blocked) > 20*time.Millisecond:
		g.base = g.sent
	}
	return true
}

// Received is the number of frames that came from a guest, or were lost.
func (g *Guest) Received(from uint32) uint32 {
	g.mu2().Lock()
	defer g.mu2().Unlock()
	return g.seen[from]
}

// mu2 guards seen and got.
func (g *Guest) mu2() *sync.Mutex { return &rxLocks[g.id] }

var rxLocks [64]sync.Mutex

// take gives the guest a frame; false if it has no room.
func (g *Guest) take(at *uint32, b *buf.Buf) bool {
	g.mu2().Lock()
	defer g.mu2().Unlock()
	if *at != g.got {
		g.t.Errorf("guest %d: RX ring touched at %d, it stands at %d", g.id, *at, g.got)
	}
	if g.full && rand.IntN(50) == 0 {
		return false
	}
	from, num := binary.LittleEndian.Uint32(b.Data()), binary.LittleEndian.Uint32(b.Data()[4:])
	if want := g.seen[from]; num < want || num > want && !g.gaps.Load() {
		g.t.Errorf("guest %d: frame %d from %d, want %d", g.id, num, from, want)
	}
	g.seen[from] = num + 1
	g.got++
	*at = g.got
	return true
}

// Device is a guest's card in one process.
type Device struct {
	guest   *Guest
	name    string
	running atomic.Bool
	waked   atomic.Bool // its queue has a waker
	quiet   port.Quiescer
	tx, rx  uint32
}

func (d *Device) Name() string            { return d.name }
func (d *Device) Kind() port.Kind         { return port.KindVhost }
func (d *Device) NumQueues() int          { return 1 }
func (d *Device) Queue(int) port.Queue    { return d }
func (d *Device) Info() port.Info         { return port.Info{Up: true} }
func (d *Device) Close() error            { return nil }
func (d *Device) Attach(w port.Waker)     { d.waked.Store(w != nil) }
func (d *Device) Arm() port.Armed         { return port.ArmPoll }
func (d *Device) Disarm()                 {}
func (d *Device) Words() []uint32         { return []uint32{d.rx, d.tx} }
func (d *Device) Enabled() bool           { return d.running.Load() }
func (d *Device) Suspend()                { d.running.Store(false); d.quiet.Quiesce() }
func (d *Device) Resume(w []uint32) error { d.rx, d.tx = w[0], w[1]; d.running.Store(true); return nil }
func (d *Device) ResumeLost() {
	d.guest.mu.Lock()
	tx := d.guest.sent
	d.guest.mu.Unlock()
	d.guest.mu2().Lock()
	rx := d.guest.got
	d.guest.mu2().Unlock()
	_ = d.Resume([]uint32{rx, tx})
}

// Wakes says whether the guest's kicks wake the process' worker.
func (d *Device) Wakes() bool { return d.waked.Load() }

func (d *Device) Rx(c *buf.Cache, v *buf.Vec) (n int) {
	if !d.running.Load() {
		return 0
	}
	for n < 8 {
		b := c.Alloc()
		if b == nil || !d.guest.next(&d.tx, b) {
			c.Free(b)
			return n
		}
		v[n] = b
		n++
	}
	return n
}

func (d *Device) Tx(c *buf.Cache, v *buf.Vec, n int) int {
	if !d.running.Load() {
		return 0
	}
	for i := range n {
		if !d.guest.take(&d.rx, v[i]) {
			return i
		}
		c.Free(v[i])
	}
	return n
}

// Process is a switch with one worker: what a guest sends goes to the next one.
type Process struct {
	t     *testing.T
	Link  *relay.Link
	Gates []*relay.Gate
	Cache *buf.Cache
	epoch atomic.Uint64
	Halt  atomic.Bool
	Ended chan struct{}
	Lost  atomic.Uint64
	turn  chan func()
	over  bool
}

// Quiesce implements port.Quiescer.
func (p *Process) Quiesce() {
	for from := p.epoch.Load(); p.epoch.Load() == from; {
		select {
		case <-p.Ended:
			return
		default:
			runtime.Gosched()
		}
	}
}

// Flush implements relay.Workers: one loop hands nothing to another.
func (p *Process) Flush() { p.Quiesce() }

// Visit implements relay.Workers: the loop looks at all all the time.
func (p *Process) Visit(string) {}

// Add and Remove make the process its own worker's waker.
func (p *Process) Add(int) error { return nil }
func (p *Process) Remove(int)    {}

// Do has the poll loop call f between two turns, and returns when it has, or has ended.
func (p *Process) Do(f func()) {
	done := make(chan struct{})
	select {
	case p.turn <- func() { defer close(done); f() }:
		<-done
	case <-p.Ended:
	}
}

// Run is the poll loop; New has begun it.
func (p *Process) Run() {
	defer close(p.Ended)
	var v, scratch buf.Vec
	inbox := p.Link.Inbox().Queue(0)
	for !p.Halt.Load() {
		p.epoch.Add(1)
		select {
		case f := <-p.turn:
			f()
		default:
		}
		inbox.Rx(p.Cache, &scratch)
		for i, g := range p.Gates {
			n := g.Queue(0).Rx(p.Cache, &v)
			if n == 0 {
				continue
			}
			took := p.Gates[(i+1)%len(p.Gates)].Queue(0).Tx(p.Cache, &v, n)
			for _, b := range v[took:n] {
				p.Lost.Add(1)
				p.Cache.Free(b)
			}
		}
		runtime.Gosched()
	}
}

// House is two processes and their guests.
type House struct {
	t      *testing.T
	Guests []*Guest
	Procs  [2]*Process
	Areas  [2]*relay.Area
	Stop   atomic.Bool // guests send no more
}

// New is a house of num guests, all of the first process. Of those that are full at times
// frames are lost. Each guest's frames go to the next one.
func New(t *testing.T, num int, full bool) *House {
	t.Helper()
	h := &House{t: t}
	caches := [2]*buf.Cache{buftest.NewCache(t, 8192), buftest.NewCache(t, 8192)}
	for i := range num {
		h.Guests = append(h.Guests, &Guest{t: t, id: i, seen: map[uint32]uint32{}, full: full, stop: &h.Stop})
		h.Guests[i].gaps.Store(full)
	}
	for _, g := range h.Guests {
		g.all = h.Guests
	}
	shape := relay.Shape{Workers: [2]int{1, 1}, Ports: num}
	h.Areas[0] = Area(t, shape)
	h.Areas[1] = Opened(t, h.Areas[0])
	for side := range h.Procs {
		p := &Process{t: t, Cache: caches[side], Ended: make(chan struct{}), turn: make(chan func())}
		p.Link = relay.NewLink(h.Areas[side], relay.Side(side), p)
		p.Link.Inbox().Queue(0).Attach(p)
		h.Procs[side] = p
		for i, g := range h.Guests {
			var d relay.Device
			if side == 0 {
				d = h.Device(side, i)
				if err := d.Resume([]uint32{0, 0}); err != nil {
					t.Fatal(err)
				}
			}
			gate, err := p.Link.Gate(fmt.Sprint("vm", g.id), i, 1, d)
			if err != nil {
				t.Fatal(err)
			}
			gate.Queue(0).Attach(p)
			gate.Enable(1)
			p.Gates = append(p.Gates, gate)
		}
	}
	for i := range h.Guests {
		for side := range h.Procs {
			lanes, err := h.Procs[1-side].Gates[i].Lanes()
			if err == nil {
				err = h.Procs[side].Gates[i].SetLanes(lanes)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, p := range h.Procs {
		go p.Run()
	}
	t.Cleanup(h.End) // before the areas go
	return h
}

func (h *House) Device(side, i int) *Device {
	return &Device{guest: h.Guests[i], name: fmt.Sprint("vm", i), quiet: h.Procs[side]}
}

// Owner is the side that has guest i.
func (h *House) Owner(i int) int {
	a, b := h.Procs[0].Gates[i].Have(), h.Procs[1].Gates[i].Have()
	if a == b {
		h.t.Fatalf("guest %d: of the first %v, of the second %v", i, a, b)
	}
	if a {
		return 0
	}
	return 1
}

// Total is the number of frames that arrived.
func (h *House) Total() (sent, got uint64) {
	for _, g := range h.Guests {
		g.mu.Lock()
		sent += uint64(g.sent)
		g.mu.Unlock()
		g.mu2().Lock()
		got += uint64(g.got)
		g.mu2().Unlock()
	}
	return sent, got
}

// End stops the poll loops.
func (h *House) End() {
	for _, p := range h.Procs {
		if p.Halt.Load() && p.over {
			continue
		}
		p.over = true
		p.Halt.Store(true)
		<-p.Ended
		for _, g := range p.Gates {
			g.Queue(0).Attach(nil)
			g.Drop(p.Cache)
		}
		p.Link.Inbox().Queue(0).Attach(nil)
	}
}

// Forgive lets frames be lost, to no guest twice or out of order.
func (h *House) Forgive() {
	for _, g := range h.Guests {
		g.gaps.Store(true)
	}
}

// Moves waits until each guest gets another frame.
func (h *House) Moves() {
	h.t.Helper()
	for i, g := range h.Guests {
		from := uint32((i + len(h.Guests) - 1) % len(h.Guests))
		was := g.Received(from)
		Eventually(h.t, "a frame", func() bool { return g.Received(from) > was })
	}
}

// Lost is the number of frames that a process had no room for, or a guest.
func (h *House) Lost() (n uint64) {
	for _, p := range h.Procs {
		n += p.Lost.Load()
		for _, g := range p.Gates {
			n += g.Counts().Lost
		}
	}
	return n
}

// Quiet stops the guests and waits until all that was sent has come or was lost.
func (h *House) Quiet() {
	h.t.Helper()
	h.Stop.Store(true)
	Eventually(h.t, "all that was sent", func() bool { sent, got := h.Total(); return sent == got+h.Lost() })
}
