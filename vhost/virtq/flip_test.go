package virtq_test

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"unsafe"

	"baton/vhost/guestmem"
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

// 16, 17: the same of a packed ring of one slot, which the guest makes available in
// either lap, with good and bad halves, over what the device writes.
func TestHostile16_FlippedSlot(t *testing.T) {
	g := newPackedRig(t, 1, nil)
	g.q.Call().Set(-1)
	stop := atomic.Bool{}
	var wg sync.WaitGroup
	// SAFETY: offsets 0 and 8 of the mapping.
	word := func(off int) *uint64 { return (*uint64)(unsafe.Pointer(&g.mem.Bytes[off])) }
	wg.Go(func() {
		for i := 0; !stop.Load(); i++ {
			lap := availBit
			if i&1 == 1 {
				lap = usedBit
			}
			for _, half := range [][2]uint64{
				{unmapped(), uint64(guestmem.MakeSlot(112, 7, lap))}, {at(dataOff), uint64(guestmem.MakeSlot(0xffffffff, 7, lap))},
				{at(dataOff), uint64(guestmem.MakeSlot(112, 7, lap|next))}, {at(dataOff), uint64(guestmem.MakeSlot(16, 7, lap|indirect))},
				{at(dataOff), uint64(guestmem.MakeSlot(112, 7, lap|write))}, {at(memSize - 8), uint64(guestmem.MakeSlot(112, 7, lap))},
				{at(dataOff), uint64(guestmem.MakeSlot(112, 7, lap))},
			} {
				atomic.StoreUint64(word(8), half[1])
				atomic.StoreUint64(word(0), half[0])
			}
			runtime.Gosched() // with a good slot
		}
	})
	frames, broken := 0, 0
	for i := 0; i < 5_000_000 && (frames < 50 || broken < 50); i++ {
		for _, f := range g.take() {
			frames++
			if len(f) != 100 && len(f) != 0 {
				t.Errorf("a frame of %d bytes: no slot said so", len(f))
			}
		}
		if g.q.Broken() != virtq.ReasonNone {
			broken++
			g.cfg.Base = uint32(i&1) << 15
			q, err := virtq.New(g.table, g.cfg, nil)
			if err != nil {
				t.Fatal(err)
			}
			g.q = q
		}
	}
	stop.Store(true)
	wg.Wait()
	t.Logf("%d frames, ring broken %d times", frames, broken)
	if frames == 0 || broken == 0 {
		t.Error("never a frame, or never a bad one")
	}
}
