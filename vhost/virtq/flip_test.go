package virtq_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"unsafe"

	"baton/vhost/virtq"
)

// 16: the guest changes address, length, flags and next between our reads. Each
// half of a descriptor is read by one load, so that a chain is either what was
// checked or breaks the ring; a frame is never longer than the length checked.
func TestHostile16_FlippedDescriptor(t *testing.T) {
	g := newRig(t, 8, nil)
	g.q.Call().Set(-1)
	stop := atomic.Bool{}
	var wg sync.WaitGroup
	// SAFETY: offsets 0 and 8 of the mapping.
	word := func(off int) *uint64 { return (*uint64)(unsafe.Pointer(&g.mem.Bytes[off])) }
	good := [2]uint64{at(dataOff), 112}
	bad := [][2]uint64{
		{unmapped(), 112}, {at(dataOff), 0xffffffff}, {at(memSize - 8), 112},
		{at(dataOff), 112 | uint64(next)<<32 | 9<<48}, {at(dataOff), 16 | uint64(indirect)<<32},
		{at(dataOff), 112 | uint64(write)<<32},
	}
	atomic.StoreUint64(word(0), good[0])
	atomic.StoreUint64(word(8), good[1])
	wg.Go(func() {
		for i := 0; !stop.Load(); i++ {
			b := bad[i%len(bad)]
			atomic.StoreUint64(word(0), b[0])
			atomic.StoreUint64(word(8), b[1])
			atomic.StoreUint64(word(0), good[0])
			atomic.StoreUint64(word(8), good[1])
		}
	})
	frames, broken := 0, 0
	for range 20000 {
		g.drv.Push(0)
		for _, f := range g.take() {
			frames++
			if len(f) != 100 {
				t.Errorf("a frame of %d bytes: no descriptor said so", len(f))
			}
		}
		if g.q.Broken() != virtq.ReasonNone {
			broken++
			q, err := virtq.New(g.table, g.cfg, nil)
			if err != nil {
				t.Fatal(err)
			}
			g.q, g.cfg.Base = q, 0
			g.split.AvailIdx = uint16(q.State())
			g.drv.Publish()
		}
	}
	stop.Store(true)
	wg.Wait()
	t.Logf("%d frames, ring broken %d times", frames, broken)
	if frames == 0 {
		t.Error("no frame ever")
	}
}
