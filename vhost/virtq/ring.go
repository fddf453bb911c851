package virtq

import (
	"baton/dataplane/buf"
	"baton/dataplane/stats"
	"baton/vhost/guestmem"
)

// Ring is a virtqueue of any format, as a device uses it.
type Ring interface {
	// Begin makes a ring of Make's go on at base; sure as Config.BaseSure. It comes once, before
	// any other method but Call, Err, Stats and Broken.
	//
	//	error: ErrBase; guestmem.ErrFault
	Begin(base uint32, sure bool) error
	// Dequeue takes up to a burst of frames out of a guest's transmit ring into v.
	//
	//	owner: v[:n] becomes the caller's    alloc: 0    conc: the ring's worker
	//	out:   frames with the offload flags that their headers ask for
	//	drops: short frames, frames larger than a buffer that are no super-segments,
	//	frames with bad headers, counted in Stats
	Dequeue(c *buf.Cache, v *buf.Vec) int
	// Discard takes a burst of chains off a transmit ring unread, and returns how many.
	Discard() int
	// Enqueue puts v[:n] into a guest's receive ring and returns how many it took:
	// those were copied, or dropped and counted (TooBig, Unfinished), and freed into c.
	//
	//	alloc: 0    conc: the ring's worker
	Enqueue(c *buf.Cache, v *buf.Vec, n int) int
	// Settle calls the driver if it wants that for what the last burst gave back. The next
	// burst and Arm do it first; whoever makes none of these soon calls it, but not right
	// after the burst: by then its stores have not reached the driver, and to ask it would
	// mean to wait for them.
	Settle()
	// Owes tells whether Settle has something to do. Also when no worker uses the ring.
	Owes() bool
	// Arm asks the driver for a kick when it adds a chain; true if one waits already.
	Arm() bool
	// Disarm tells the driver that no kick is needed.
	Disarm()
	// Fault handles a panic p recovered from any of these methods: if guest memory
	// vanished, it breaks the ring, frees what a Dequeue had put into v and is true.
	// Any other panic is a bug: raise it again. v and c may be nil after Arm and Disarm.
	Fault(p any, c *buf.Cache, v *buf.Vec) bool
	// Broken is the reason why the ring was broken, or ReasonNone. Any goroutine.
	Broken() Reason
	// State is the state word for GET_VRING_BASE, as Config.Base has it. Only when no
	// worker uses the ring.
	State() uint32
	Stats() *Stats

	// SetView moves the ring to another memory table and dirty log; cfg has its
	// addresses and the log, the rest of cfg is as New was told. The caller quiesces
	// before it closes the old table's mappings or the old log. Control side.
	SetView(t *guestmem.Table, cfg Config) error
	// Call is the descriptor that interrupts the guest.
	Call() *EventFD
	// Err is the descriptor that tells the front end that the ring broke.
	Err() *EventFD
	// Indices are the driver's and our index, as shared memory has them. Control side,
	// while the memory is mapped.
	Indices() (Indices, error)
}

// Indices says how far driver and device are: of a split ring the available and the used
// index, of a packed one the positions, with the wrap counter in bit 15. Memory of a
// packed ring does not always tell.
type Indices struct {
	Avail, Used           uint16
	AvailKnown, UsedKnown bool
}

// Stats are one ring's counters, written by its worker.
type Stats struct {
	Packets    stats.Counter // frames moved
	Bytes      stats.Counter // of those frames, without virtio header
	ShortFrame stats.Counter // dropped: shorter than the headers
	TooBig     stats.Counter // dropped: larger than a buffer, or than the driver's, or in too many pieces
	BadHeader  stats.Counter // dropped: the virtio header asks for what was not negotiated or does not fit the frame
	Unfinished stats.Counter // dropped: the frame asks for what the driver did not negotiate
	Discarded  stats.Counter // dropped: the ring was disabled

	GSO         stats.Counter // frames moved that are super-segments
	PartialCsum stats.Counter // frames moved, no super-segments, whose checksum is not complete
	DataValid   stats.Counter // frames that the driver got with DATA_VALID

	NoBuffer   stats.Counter // bursts cut short: the pool was empty
	Full       stats.Counter // bursts cut short: the guest gave no buffers
	Calls      stats.Counter // interrupts sent
	Suppressed stats.Counter // bursts for which the driver wanted none
	CallsFull  stats.Counter // call descriptor would have blocked (EventFD.Signal's fallback alone sees that): none was lost
	CallsBad   stats.Counter // call descriptor takes no signal
}

// Work a burst may cost: a guest can make a frame of many descriptors, so after this
// many a burst ends early and other ports get their turn; the last frame, and what was
// read ahead, may add as much again. Ordinary drivers use at most 19 a frame, 608 a burst.
const maxWalk = 1024

// maxPieces bounds the descriptors that one frame is spread over, however long the
// ring is: a frame of 64 KiB in buffers of 64 bytes.
const maxPieces = 1024

// maxBytes ends a burst: super-segments are 40 times as long as ordinary frames, and
// a worker shall not copy for one guest alone meanwhile.
const maxBytes = 256 << 10

// maxFrame is a super-segment: the longest IP packet, Ethernet header and a VLAN tag.
const maxFrame = 65535 + 18

// minFrame is an Ethernet header.
const minFrame = 14
