package port

import (
	"baton/dataplane/buf"
	"net"
)

// Kind says what a port is.
type Kind uint8

// The kinds of port.
const (
	KindMem   Kind = iota // in memory, for tests
	KindVhost             // a guest's virtio-net device
	KindNIC               // a DPDK device: the underlay
	KindRelay             // the other process of an upgrade
)

// String is the kind's stable name.
func (k Kind) String() string {
	switch k {
	case KindMem:
		return "mem"
	case KindVhost:
		return "vhost"
	case KindNIC:
		return "nic"
	case KindRelay:
		return "relay"
	}
	return "unknown"
}

// Port is a place where packets enter and leave the switch.
//
//	conc: Name, Kind, NumQueues, Queue, Info from any goroutine
type Port interface {
	// Name is unique among the host's ports and never changes.
	Name() string
	Kind() Kind
	// NumQueues is the number of queue pairs, at least 1; it never changes.
	NumQueues() int
	// Queue is pair i, 0 <= i < NumQueues.
	Queue(i int) Queue
	Info() Info
	// Close ends the port's own goroutines and frees what it holds. The caller
	// has taken all queues from their workers before.
	Close() error
}

// Info is what a port tells about itself.
type Info struct {
	Up     bool             // packets can be sent and received
	MAC    net.HardwareAddr // the device's own address, nil if it has none
	MTU    int              // largest L3 packet in bytes, 0 if unknown
	Detail string           // for people: device name, socket path, peer
}

// Queue is one pair of receive and transmit queues.
//
//	conc: all methods only from the worker that polls the queue
type Queue interface {
	// Rx fills v with packets that came in, from v[0] on, and returns their
	// number. The caller owns them. Buffers come from c if the port itself has none.
	// A frame may come in segments (Buf.NbSegs) only from ports that say so.
	//
	//	alloc: 0
	Rx(c *buf.Cache, v *buf.Vec) int
	// Tx sends v[0:n] in order and returns how many the port took: those belong to
	// it (it frees them, into c if it can), the rest stays the caller's.
	//
	//	alloc: 0
	Tx(c *buf.Cache, v *buf.Vec, n int) int
	// Attach tells the queue who polls it now; w is nil when nobody does. The
	// queue keeps its wake-up file descriptors registered with w while it is attached.
	Attach(w Waker)
	// Arm asks for a wake-up when packets come in. It returns ArmReady if packets
	// wait already, ArmPoll if the port cannot wake anybody and must be polled.
	Arm() Armed
	// Disarm ends what Arm began; called before polling goes on.
	Disarm()
}

// Armed is what became of a wish to be woken.
type Armed uint8

// The answers of Queue.Arm.
const (
	ArmSet   Armed = iota // a registered descriptor will become readable
	ArmReady              // packets wait: do not sleep
	ArmPoll               // no wake-up to be had: sleep no longer than a poll interval
)

// Waker watches file descriptors for a sleeping worker. Descriptors are watched
// edge-triggered: the owner need not drain an eventfd for the next wake-up.
//
//	conc: safe for concurrent use; the caller removes a descriptor before closing it
type Waker interface {
	Add(fd int) error
	Remove(fd int)
}

// Quiescer waits until no worker can hold what was reachable before the call: a
// port's control side calls it after it unpublished a ring or a memory mapping,
// and before it frees it. It returns once every worker has begun a new iteration
// of its loop, was between two queues of one, or sleeps; it never waits for guests or peers.
// That a queue has been polled it does not tell.
//
//	conc: safe for concurrent use, except from a worker itself
type Quiescer interface {
	Quiesce()
}

// NoQuiescer is for ports that nobody polls yet.
type NoQuiescer struct{}

// Quiesce returns at once.
func (NoQuiescer) Quiesce() {}
