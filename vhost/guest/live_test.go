package guest_test

import (
	"slices"
	"testing"

	"baton/vhost/guest"
	"baton/vhost/proto"
)

// formats are the ring formats that live changes must work with.
var formats = map[string]uint64{
	"split":           guest.DefaultFeatures,
	"packed":          guest.DefaultFeatures | proto.FeatureRingPacked,
	"packed/in_order": guest.DefaultFeatures | proto.FeatureRingPacked | proto.FeatureInOrder,
}

// TestHotPlug moves buffers into memory that was plugged in and back while frames
// flow, by memory slots and by whole tables.
func TestHotPlug(t *testing.T) {
	for name, features := range formats {
		for _, protocol := range []uint64{guest.DefaultProtocolFeatures, guest.DefaultProtocolFeatures | proto.ProtocolConfigureMemSlots} {
			t.Run(name, func(t *testing.T) {
				g, _ := attach(t, newWorker(t, 1, nil), guest.Config{Features: features, Protocol: protocol, RingSize: 64})
				for range 3 {
					bounce(t, g, 0, 100, 1000, false)
					m, err := g.AddMemory(g.Rx[0].BufferBytes() + g.Tx[0].BufferBytes())
					if err != nil {
						t.Fatal(err)
					}
					moveAll(t, g, m)
					moveAll(t, g, nil)
					if err := g.RemoveMemory(m); err != nil {
						t.Fatal(err)
					}
				}
				bounce(t, g, 0, 100, 1000, false)
			})
		}
	}
}

// moveAll moves all buffers while frames flow.
func moveAll(t *testing.T, g *guest.Guest, m *guest.Memory) {
	t.Helper()
	if err := g.Rx[0].MoveBuffers(m, 0); err != nil {
		t.Fatal(err)
	}
	if err := g.Tx[0].MoveBuffers(m, g.Rx[0].BufferBytes()); err != nil {
		t.Fatal(err)
	}
	for !g.Rx[0].Moved() || !g.Tx[0].Moved() {
		bounce(t, g, 0, 100, 1000, false)
		g.Tx[0].Settle()
	}
}

// TestDirtyLog checks that exactly the pages of received frames, and of the used ring,
// are marked, and nothing when logging has ended.
func TestDirtyLog(t *testing.T) {
	for name, features := range formats {
		t.Run(name, func(t *testing.T) {
			g, _ := attach(t, newWorker(t, 1, nil), guest.Config{
				Features: features, Protocol: guest.DefaultProtocolFeatures | proto.ProtocolLogShmfd, MemRegions: 2, RingSize: 16,
			})
			log, err := g.StartLog()
			if err != nil {
				t.Fatal(err)
			}
			log.Take()
			before := slices.Clone(g.Mem())
			bounce(t, g, 0, 40, 1000, false)
			dirty := log.Take()
			if len(dirty) == 0 {
				t.Fatal("nothing is dirty")
			}
			changed := changedPages(g, before)
			for _, page := range changed {
				if !slices.Contains(dirty, page) {
					t.Errorf("page %#x was written and is not dirty; dirty: %#x", page, dirty)
				}
			}
			if err := g.StopLog(); err != nil {
				t.Fatal(err)
			}
			log.Take()
			bounce(t, g, 0, 40, 1000, false)
			if dirty := log.Take(); len(dirty) > 0 {
				t.Errorf("dirty with logging off: %#x", dirty)
			}
		})
	}
}

// changedPages are the pages of receive buffers that differ from before: only the
// device writes there.
func changedPages(g *guest.Guest, before []byte) (pages []uint64) {
	first, size := g.Rx[0].BufferOffset(), g.Rx[0].BufferBytes()
	for off := first; off < first+size; off++ {
		if page := g.GuestAddr(off) &^ 4095; g.Mem()[off] != before[off] && !slices.Contains(pages, page) {
			pages = append(pages, page)
		}
	}
	return pages
}
