package relay_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"baton/dataplane/buf"
	"baton/dataplane/port"
	"baton/upgrade/relay"
)

// guest sends numbered frames to the next guest and checks those that it gets. Its rings have
// the positions that words tell; who touches them elsewhere has not been the owner.
type guest struct {
	t    *testing.T
	id   int
	all  []*guest
	mu   sync.Mutex
	sent uint32            // position of its TX ring
	got  uint32            // position of its RX ring
	seen map[uint32]uint32 // by sender: the number that comes next
	full bool              // its RX ring has no room, now and then
	gaps bool              // frames may be lost
	stop *atomic.Bool      // no new frames
}

const (
	frameSize = 64
	window    = 200 // frames of a guest under way
)

// next puts the next frame into b; false if the guest has none now.
func (g *guest) next(at *uint32, b *buf.Buf) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if *at != g.sent {
		g.t.Errorf("guest %d: TX ring touched at %d, it stands at %d", g.id, *at, g.sent)
	}
	if g.stop.Load() || g.sent-g.all[(g.id+1)%len(g.all)].received(uint32(g.id)) >= window {
		return false
	}
	f := b.Append(frameSize + int(g.sent)%3000%1400)
	binary.LittleEndian.PutUint32(f, uint32(g.id))
	binary.LittleEndian.PutUint32(f[4:], g.sent)
	g.sent++
	*at = g.sent
	return true
}

func (g *guest) received(from uint32) uint32 {
	if len(g.all) > 1 {
		g.mu2().Lock()
		defer g.mu2().Unlock()
	}
	return g.seen[from]
}

// mu2 guards seen and got.
func (g *guest) mu2() *sync.Mutex { return &rxLocks[g.id] }

var rxLocks [64]sync.Mutex

// take gives the guest a frame; false if it has no room.
func (g *guest) take(at *uint32, b *buf.Buf) bool {
	g.mu2().Lock()
	defer g.mu2().Unlock()
	if *at != g.got {
		g.t.Errorf("guest %d: RX ring touched at %d, it stands at %d", g.id, *at, g.got)
	}
	if g.full && rand.IntN(50) == 0 {
		return false
	}
	from, num := binary.LittleEndian.Uint32(b.Data()), binary.LittleEndian.Uint32(b.Data()[4:])
	if want := g.seen[from]; num < want || num > want && !g.gaps {
		g.t.Errorf("guest %d: frame %d from %d, want %d", g.id, num, from, want)
	}
	g.seen[from] = num + 1
	g.got++
	*at = g.got
	return true
}

// device is a guest's card in one process.
type device struct {
	guest   *guest
	name    string
	running atomic.Bool
	quiet   port.Quiescer
	tx, rx  uint32
}

func (d *device) Name() string            { return d.name }
func (d *device) Kind() port.Kind         { return port.KindVhost }
func (d *device) NumQueues() int          { return 1 }
func (d *device) Queue(int) port.Queue    { return d }
func (d *device) Info() port.Info         { return port.Info{Up: true} }
func (d *device) Close() error            { return nil }
func (d *device) Attach(port.Waker)       {}
func (d *device) Arm() port.Armed         { return port.ArmPoll }
func (d *device) Disarm()                 {}
func (d *device) Words() []uint32         { return []uint32{d.rx, d.tx} }
func (d *device) Enabled() bool           { return d.running.Load() }
func (d *device) Suspend()                { d.running.Store(false); d.quiet.Quiesce() }
func (d *device) Resume(w []uint32) error { d.rx, d.tx = w[0], w[1]; d.running.Store(true); return nil }
func (d *device) ResumeLost() error {
	d.guest.mu.Lock()
	tx := d.guest.sent
	d.guest.mu.Unlock()
	d.guest.mu2().Lock()
	rx := d.guest.got
	d.guest.mu2().Unlock()
	return d.Resume([]uint32{rx, tx})
}

func (d *device) Rx(c *buf.Cache, v *buf.Vec) (n int) {
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

func (d *device) Tx(c *buf.Cache, v *buf.Vec, n int) int {
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

// process is a switch with one worker: what a guest sends goes to the next one.
type process struct {
	t     *testing.T
	link  *relay.Link
	gates []*relay.Gate
	cache *buf.Cache
	epoch atomic.Uint64
	stop  atomic.Bool
	ended chan struct{}
	lost  atomic.Uint64
	over  bool
}

// Quiesce implements port.Quiescer.
func (p *process) Quiesce() {
	for from := p.epoch.Load(); p.epoch.Load() == from; {
		select {
		case <-p.ended:
			return
		default:
			runtime.Gosched()
		}
	}
}

// Add and Remove make the process its own worker's waker.
func (p *process) Add(int) error { return nil }
func (p *process) Remove(int)    {}

func (p *process) run() {
	defer close(p.ended)
	var v, scratch buf.Vec
	inbox := p.link.Inbox().Queue(0)
	for !p.stop.Load() {
		p.epoch.Add(1)
		inbox.Rx(p.cache, &scratch)
		for i, g := range p.gates {
			n := g.Queue(0).Rx(p.cache, &v)
			if n == 0 {
				continue
			}
			took := p.gates[(i+1)%len(p.gates)].Queue(0).Tx(p.cache, &v, n)
			for _, b := range v[took:n] {
				p.lost.Add(1)
				p.cache.Free(b)
			}
		}
		runtime.Gosched()
	}
}

// house is two processes and their guests.
type house struct {
	t      *testing.T
	guests []*guest
	procs  [2]*process
	stop   atomic.Bool // guests send no more
}

func newHouse(t *testing.T, num int, caches [2]*buf.Cache, full bool) *house {
	t.Helper()
	h := &house{t: t}
	for i := range num {
		h.guests = append(h.guests, &guest{t: t, id: i, seen: map[uint32]uint32{}, full: full, gaps: full, stop: &h.stop})
	}
	for _, g := range h.guests {
		g.all = h.guests
	}
	shape := relay.Shape{Workers: [2]int{1, 1}, Ports: num}
	areas := [2]*relay.Area{area(t, shape)}
	areas[1] = opened(t, areas[0])
	for side := range h.procs {
		p := &process{t: t, cache: caches[side], ended: make(chan struct{})}
		p.link = relay.NewLink(areas[side], relay.Side(side), p)
		p.link.Inbox().Queue(0).Attach(p)
		h.procs[side] = p
		for i, g := range h.guests {
			var d relay.Device
			if side == 0 {
				d = h.device(side, i)
				if err := d.Resume([]uint32{0, 0}); err != nil {
					t.Fatal(err)
				}
			}
			gate, err := p.link.Gate(fmt.Sprint("vm", g.id), i, 1, d)
			if err != nil {
				t.Fatal(err)
			}
			gate.Queue(0).Attach(p)
			gate.Enable(1)
			p.gates = append(p.gates, gate)
		}
	}
	for i := range h.guests {
		for side := range h.procs {
			lanes, err := h.procs[1-side].gates[i].Lanes()
			if err == nil {
				err = h.procs[side].gates[i].SetLanes(lanes)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, p := range h.procs {
		go p.run()
	}
	t.Cleanup(h.end) // before the areas go
	return h
}

func (h *house) device(side, i int) *device {
	return &device{guest: h.guests[i], name: fmt.Sprint("vm", i), quiet: h.procs[side]}
}

// owner is the side that has guest i.
func (h *house) owner(i int) int {
	a, b := h.procs[0].gates[i].Have(), h.procs[1].gates[i].Have()
	if a == b {
		h.t.Fatalf("guest %d: of the first %v, of the second %v", i, a, b)
	}
	if a {
		return 0
	}
	return 1
}

// total is the number of frames that arrived.
func (h *house) total() (sent, got uint64) {
	for _, g := range h.guests {
		g.mu.Lock()
		sent += uint64(g.sent)
		g.mu.Unlock()
		g.mu2().Lock()
		got += uint64(g.got)
		g.mu2().Unlock()
	}
	return sent, got
}

func (h *house) end() {
	for _, p := range h.procs {
		if p.stop.Load() && p.over {
			continue
		}
		p.over = true
		p.stop.Store(true)
		<-p.ended
		for _, g := range p.gates {
			g.Queue(0).Attach(nil)
		}
		p.link.Inbox().Queue(0).Attach(nil)
	}
}
