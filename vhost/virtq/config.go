package virtq

import "baton/vhost/guestmem"

// Config says how a ring was set up; ring addresses are the front end's.
type Config struct {
	Num uint32 // entries: a power of two for a split ring
	// Desc, Avail and Used are the three parts: of a split ring descriptor table,
	// available and used ring; of a packed one descriptor ring, driver event area and
	// device event area.
	Desc, Avail, Used uint64
	// Base is the state word of SET_VRING_BASE: of a split ring the next available
	// index; of a packed one bits 0-14 the next available slot, 15 its wrap counter,
	// 16-30 the next used slot, 31 its wrap counter.
	Base uint32
	// BaseSure: Base is what State told of this ring when it was stopped, whole, so that
	// a packed ring's memory, which does not always tell, is not asked.
	BaseSure   bool
	HeaderSize int    // virtio_net_hdr: 10 or 12 bytes
	Mergeable  bool   // VIRTIO_NET_F_MRG_RXBUF
	Indirect   bool   // VIRTIO_F_INDIRECT_DESC
	EventIdx   bool   // VIRTIO_F_EVENT_IDX
	Packed     bool   // VIRTIO_F_RING_PACKED
	InOrder    bool   // VIRTIO_F_IN_ORDER
	Net        uint64 // negotiated feature bits that give the virtio_net_hdr its meaning
	// Log is the dirty log, or nil. The ring does not own it.
	Log *guestmem.Log
	// LogUsed: writes to the used ring (packed: to descriptors and device event area)
	// are logged too, as if it lay at guest address LogUsedAddr.
	LogUsed     bool
	LogUsedAddr uint64
}

// New is a ring over t in the format that cfg names, see NewSplit and NewPacked, that has
// begun. onBroken, which may be nil, is called by the worker when the ring breaks.
//
//	error: as Make and Begin
func New(t *guestmem.Table, cfg Config, onBroken func()) (Ring, error) {
	q, err := Make(t, cfg, onBroken)
	if err == nil {
		err = q.Begin(cfg.Base, cfg.BaseSure)
	}
	if err != nil {
		return nil, err
	}
	return q, nil
}

// Make is New without Begin: all that takes time, and nothing of the guest's is touched yet.
//
//	error: as guestmem.Table.SplitRing and PackedRing
func Make(t *guestmem.Table, cfg Config, onBroken func()) (Ring, error) {
	// A nil *Split in a Ring would not be a nil Ring.
	if cfg.Packed {
		q, err := makePacked(t, cfg, onBroken)
		if err != nil {
			return nil, err
		}
		return q, nil
	}
	q, err := makeSplit(t, cfg, onBroken)
	if err != nil {
		return nil, err
	}
	return q, nil
}
