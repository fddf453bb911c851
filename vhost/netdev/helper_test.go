package netdev_test

import (
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"baton/dataplane/buf"
	"baton/dataplane/port"
	"baton/vhost/guestmem"
	"baton/vhost/netdev"
	"baton/vhost/proto"
	"baton/vhost/virtq/drivertest"

	"golang.org/x/sys/unix"
)

const (
	memSize = 1 << 20
	txRing  = 0        // offset of the guest's TX ring
	rxRing  = 64 << 10 // and of its RX ring
	dataOff = 256 << 10
	ringNum = 64

	modern = proto.FeatureVersion1 | proto.FeatureMrgRxbuf | proto.FeatureIndirectDesc | proto.FeatureProtocol
)

func at(off int) uint64 { return drivertest.Guest + uint64(off) }

// rig is a device with its one guest; pair 0 only.
type rig struct {
	t     testing.TB
	dev   *netdev.Device
	mem   *drivertest.Mem
	tx    *drivertest.Ring
	rx    *drivertest.Ring
	pool  *buf.Pool
	cache *buf.Cache
	vec   buf.Vec
	ups   atomic.Int32
}

func openFDs(t testing.TB) int {
	t.Helper()
	es, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(es)
}

func newRig(t testing.TB, change func(*netdev.Config)) *rig {
	t.Helper()
	g := &rig{t: t, mem: drivertest.NewMem(t, memSize)}
	g.tx, g.rx = drivertest.NewRing(g.mem, ringNum, txRing), drivertest.NewRing(g.mem, ringNum, rxRing)
	cfg := netdev.Config{Name: "vm1", QueuePairs: 1, OnChange: func() { g.ups.Add(1) }}
	if change != nil {
		change(&cfg)
	}
	var err error
	if g.dev, err = netdev.New(cfg); err != nil {
		t.Fatal(err)
	}
	if g.pool, err = buf.NewPool(512, buf.DefaultDataRoom); err != nil {
		t.Fatal(err)
	}
	g.cache = buf.NewCache(g.pool)
	t.Cleanup(func() {
		if err := g.dev.Close(); err != nil {
			t.Error(err)
		}
		g.cache.Flush()
		if err := g.pool.Close(); err != nil {
			t.Error(err)
		}
	})
	return g
}

func (g *rig) ok(err error) {
	g.t.Helper()
	if err != nil {
		g.t.Fatal(err)
	}
}

// regions are the guest's memory as the front end tells it.
func (g *rig) regions(cuts ...uint64) (out []proto.MemRegion) {
	for _, r := range g.mem.Regions(cuts...) {
		out = append(out, proto.MemRegion{GuestAddr: r.GuestAddr, Size: r.Size, UserAddr: r.UserAddr, MmapOffset: r.MmapOffset, FD: g.mem.DupFD(g.t)})
	}
	return out
}

// eventFD is one for the device to own.
func (g *rig) eventFD() int {
	fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	g.ok(err)
	return fd
}

func addr(i int, r *drivertest.Ring) proto.VringAddr {
	d, a, u := r.UserAddrs()
	return proto.VringAddr{Index: uint32(i), Desc: d, Avail: a, Used: u}
}

// startRing goes through the usual messages for ring i.
func (g *rig) startRing(i int, r *drivertest.Ring, base uint32) {
	g.t.Helper()
	g.ok(g.dev.SetVringNum(i, ringNum))
	g.ok(g.dev.SetVringBase(i, base))
	g.ok(g.dev.SetVringAddr(addr(i, r)))
	g.ok(g.dev.SetVringKick(i, g.eventFD()))
	g.ok(g.dev.SetVringCall(i, g.eventFD()))
}

// connect brings the device up as QEMU does.
func (g *rig) connect(features uint64) {
	g.t.Helper()
	g.ok(g.dev.SetOwner())
	g.ok(g.dev.SetFeatures(features))
	g.ok(g.dev.SetMemTable(g.regions()))
	g.startRing(0, g.rx, 0)
	g.startRing(1, g.tx, 0)
	if features&proto.FeatureProtocol != 0 {
		g.ok(g.dev.SetVringEnable(0, true))
		g.ok(g.dev.SetVringEnable(1, true))
	}
}

// sendOne makes the guest send a frame of n bytes.
func (g *rig) sendOne(n int) {
	g.tx.SetDesc(0, guestmem.Desc{Addr: at(dataOff), Len: uint32(n + 12)})
	g.tx.Push(0)
}

// offerOne makes the guest offer a receive buffer.
func (g *rig) offerOne() {
	g.rx.SetDesc(0, guestmem.Desc{Addr: at(dataOff + 8192), Len: 2048, Flags: guestmem.DescWrite})
	g.rx.Push(0)
}

// recv polls once and frees what came.
func (g *rig) recv() int {
	n := g.dev.Queue(0).Rx(g.cache, &g.vec)
	g.cache.FreeAll(&g.vec, n)
	return n
}

// send offers the port one frame; true if it took it.
func (g *rig) send() bool {
	b := g.cache.Alloc()
	b.SetFrame(make([]byte, 60))
	g.vec[0] = b
	if g.dev.Queue(0).Tx(g.cache, &g.vec, 1) == 1 {
		return true
	}
	g.cache.Free(b)
	return false
}

// passes checks that both directions work.
func (g *rig) passes() {
	g.t.Helper()
	g.sendOne(60)
	if n := g.recv(); n != 1 {
		g.t.Fatalf("guest to switch: %d frames; %+v", n, g.dev.Snapshot().Rings)
	}
	g.offerOne()
	if !g.send() {
		g.t.Fatalf("switch to guest: not taken; %+v", g.dev.Snapshot().Rings)
	}
}

// eventually polls f until it is true.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !f(); runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatalf("%s: not within 10 s", what)
		}
	}
}

// loop is a worker's poll loop with a quiescer, as the dataplane has.
type loop struct {
	rounds atomic.Uint64
	parked atomic.Bool
	stop   atomic.Bool
	wg     sync.WaitGroup
}

var _ port.Quiescer = (*loop)(nil)

// Quiesce waits for the next round, unless the loop does not run.
func (l *loop) Quiesce() {
	for start := l.rounds.Load(); l.rounds.Load() < start+1 && !l.parked.Load(); {
		runtime.Gosched()
	}
}

func newLoop() *loop {
	l := &loop{}
	l.parked.Store(true)
	return l
}

// run polls until halt.
func (l *loop) run(f func()) {
	l.parked.Store(false)
	l.wg.Go(func() {
		for !l.stop.Load() {
			l.rounds.Add(1)
			f()
			runtime.Gosched()
		}
		l.parked.Store(true)
	})
}

func (l *loop) halt() {
	l.stop.Store(true)
	l.wg.Wait()
}
