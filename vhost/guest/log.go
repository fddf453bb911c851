package guest

import (
	"fmt"
	"math/bits"

	"baton/vhost/proto"
)

// logPage is what one bit of a dirty log stands for, in bytes.
const logPage = 4096

// DirtyLog is the bitmap in which the back end marks the pages it wrote: bit n of the
// log, counted from the low bit of byte 0, is the guest physical page n.
type DirtyLog struct {
	mem  *memory
	size int
}

// StartLog begins dirty logging as QEMU does at the start of a migration: the log,
// LOG_ALL, and each ring's address once more with the log flag, its used ring logged
// under the guest address it has.
//
//	error: the back end refused
//	owner: the guest; Reconnect ends it
func (g *Guest) StartLog() (*DirtyLog, error) {
	end := uint64(0)
	for _, r := range g.Regions() {
		end = max(end, r.GuestAddr+r.Size)
	}
	size := align(int((end/logPage+7)/8)+8, 4096)
	if g.log == nil || g.log.size < size {
		mem, err := newMemory("guest-"+g.cfg.Name+"-log", size)
		if err != nil {
			return nil, err
		}
		if _, err := g.Get(proto.SetLogBase, proto.AppendLog(nil, uint64(size), 0), mem.fd); err != nil {
			mem.close()
			return nil, err
		}
		if g.log != nil {
			g.log.mem.close()
		}
		g.log = &DirtyLog{mem: mem, size: size}
	}
	return g.log, g.setLogging(true)
}

// StopLog ends dirty logging, as after a migration that was cancelled.
func (g *Guest) StopLog() error { return g.setLogging(false) }

func (g *Guest) setLogging(on bool) error {
	features := g.features
	if on {
		features |= proto.FeatureLogAll
	}
	if err := g.SetU64(proto.SetFeatures, features); err != nil {
		return err
	}
	for _, q := range g.queues() {
		a := g.VringAddr(q.Ring, q.index)
		if on {
			a.Flags, a.Log = 1, g.GuestAddr(q.usedOffset())
		}
		if err := g.Set(proto.SetVringAddr, proto.AppendVringAddr(nil, a)); err != nil {
			return fmt.Errorf("ring %d: %w", q.index, err)
		}
	}
	return nil
}

// usedOffset is where the ring that the device writes begins.
func (r *Ring) usedOffset() int {
	if r.packed {
		return r.desc
	}
	return r.device
}

// Take returns the guest addresses of the dirty pages, ascending, and clears them.
func (l *DirtyLog) Take() (pages []uint64) {
	for off := 0; off < l.size; off += 4 {
		w := l.mem.swap32(off, 0)
		for ; w != 0; w &= w - 1 {
			pages = append(pages, uint64(off*8+bits.TrailingZeros32(w))*logPage)
		}
	}
	return pages
}
