package virtq_test

import (
	"testing"

	"baton/dataplane/buf"
	"baton/vhost/guestmem"
	"baton/vhost/virtq"
	"baton/vhost/virtq/drivertest"
)

const (
	next     = guestmem.DescNext
	write    = guestmem.DescWrite
	indirect = guestmem.DescIndirect
)

// rig is a ring with both sides, and a pool that must be full again at the end.
type rig struct {
	mem   *drivertest.Mem
	drv   driver
	split *drivertest.Ring   // drv of a split ring
	pack  *drivertest.Packed // drv of a packed ring
	q     virtq.Ring
	cfg   virtq.Config
	table *guestmem.Table
	pool  *buf.Pool
	cache *buf.Cache
	vec   buf.Vec
	next  uint16 // benchmarks: table entry of the next chain
	call  int
	err   int
}

// driver is what the drivers of both formats have in common.
type driver interface {
	SetDesc(i int, d guestmem.Desc)
	Put(head uint16)
	Publish()
	Push(heads ...uint16)
	TakeUsed() (id, n uint32, ok bool)
	UserAddrs() (desc, avail, used uint64)
}

var (
	_ driver = (*drivertest.Ring)(nil)
	_ driver = (*drivertest.Packed)(nil)
)

// maker is newRig for one format.
type maker func(t testing.TB, num int, change func(*virtq.Config), cuts ...uint64) *rig

// both runs a test for each format.
func both(t *testing.T, f func(t *testing.T, newRig maker)) {
	t.Run("split", func(t *testing.T) { f(t, newRig) })
	t.Run("packed", func(t *testing.T) { f(t, newPackedRig) })
}

func newPackedRig(t testing.TB, num int, change func(*virtq.Config), cuts ...uint64) *rig {
	t.Helper()
	return newRig(t, num, with(packed, change), cuts...)
}

// packed makes a set-up that of a packed ring.
func packed(c *virtq.Config) { c.Packed = true }

// with joins changes of a set-up.
func with(changes ...func(*virtq.Config)) func(*virtq.Config) {
	return func(c *virtq.Config) {
		for _, f := range changes {
			if f != nil {
				f(c)
			}
		}
	}
}

// dataOff is where tests put buffers; cutOff is inside, where regions may adjoin.
const (
	memSize = 1 << 20
	dataOff = 256 << 10
	cutOff  = 512 << 10
)

func newRig(t testing.TB, num int, change func(*virtq.Config), cuts ...uint64) *rig {
	t.Helper()
	return newRigOn(t, drivertest.NewMem(t, memSize), num, change, cuts...)
}

// newRigOn is newRig on given memory.
func newRigOn(t testing.TB, mem *drivertest.Mem, num int, change func(*virtq.Config), cuts ...uint64) *rig {
	t.Helper()
	g := &rig{mem: mem}
	g.table = g.mem.Table(t, cuts...)
	g.cfg = virtq.Config{Num: uint32(num), HeaderSize: 12, Mergeable: true, Indirect: true}
	if change != nil {
		change(&g.cfg)
	}
	g.drive(num)
	q, err := virtq.New(g.table, g.cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	g.q = q
	g.call, g.err = drivertest.EventFD(t), drivertest.EventFD(t)
	q.Call().Set(g.call)
	q.Err().Set(g.err)
	if g.pool, err = buf.NewPool(256, buf.DefaultDataRoom); err != nil {
		t.Fatal(err)
	}
	g.cache = buf.NewCache(g.pool)
	t.Cleanup(func() {
		g.cache.Flush()
		if err := g.pool.Close(); err != nil {
			t.Error(err)
		}
	})
	return g
}

// drive gives the rig a fresh driver for a ring of num entries in g.cfg's format.
func (g *rig) drive(num int) { g.driveAt(num, 0) }

// driveAt is drive for a ring at offset off.
func (g *rig) driveAt(num, off int) {
	if g.cfg.Packed {
		g.pack = drivertest.NewPacked(g.mem, num, off)
		g.pack.InOrder = g.cfg.InOrder
		g.drv, g.cfg.Base = g.pack, 0x80008000
	} else {
		g.split = drivertest.NewRing(g.mem, num, off)
		g.split.InOrder = g.cfg.InOrder
		g.drv = g.split
	}
	g.cfg.Desc, g.cfg.Avail, g.cfg.Used = g.drv.UserAddrs()
}

// at is the guest address of offset off.
func at(off int) uint64 { return drivertest.Guest + uint64(off) }

// desc writes descriptor i.
func (g *rig) desc(i int, addr uint64, n int, flags, nx uint16) {
	g.drv.SetDesc(i, guestmem.Desc{Addr: addr, Len: uint32(n), Flags: flags, Next: nx})
}

// frame fills n bytes at offset off with a pattern, and returns a copy. The header
// before them becomes that of a frame without offloads.
func (g *rig) frame(off, n int, seed byte) []byte {
	out := make([]byte, n)
	for i := range out {
		out[i] = byte(i)*7 + seed
	}
	clear(g.mem.Bytes[off-12 : off])
	copy(g.mem.Bytes[off:], out)
	return out
}

// take dequeues once and returns copies of the frames.
func (g *rig) take() [][]byte {
	n := g.q.Dequeue(g.cache, &g.vec)
	g.q.Settle()
	var out [][]byte
	for i := range n {
		out = append(out, append([]byte(nil), g.vec[i].Data()...))
	}
	g.cache.FreeAll(&g.vec, n)
	return out
}

// give enqueues frames and returns how many were taken.
func (g *rig) give(t testing.TB, frames ...[]byte) int {
	t.Helper()
	for i, f := range frames {
		b := g.cache.Alloc()
		if b == nil || !b.SetFrame(f) {
			t.Fatal("no buffer for the test's frame")
		}
		g.vec[i] = b
	}
	took := g.q.Enqueue(g.cache, &g.vec, len(frames))
	for i := took; i < len(frames); i++ {
		g.cache.Free(g.vec[i])
	}
	return took
}
