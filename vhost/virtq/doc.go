// Package virtq is the device side of virtqueues: it takes frames out of a guest's
// transmit ring and puts frames into its receive ring.
//
//	guest TX ring                                     guest RX ring
//	avail -> chain -> hdr|frame --Dequeue--> buf.Vec --Enqueue--> hdr|frame -> chain <- avail
//	used  <- head, 0                                              head, bytes -> used
//	     `--- one index store a burst, fence, call if the driver asked ---'
//
// Split rings are here; whatever holds a ring does so through the interface Ring,
// so that another ring format is another type.
//
// Trust: the guest is hostile. Each shared field is read once into a local,
// checked, then used. A chain has at most as many descriptors as the ring has
// entries; a burst walks a bounded number of them. What no driver may do breaks
// the ring, with a Reason; a broken ring stays so until it is set up anew.
//
// Memory that vanishes raises a panic in Dequeue, Enqueue, Arm and Disarm: the
// caller guards the burst (guestmem.Table.Fault) and then calls Fault.
//
// Callers: the worker that polls the ring calls everything named in Ring as the
// worker's; the control side makes rings, swaps memory and descriptors (SetView,
// SetCall, SetErr) and frees what it swapped out after a Quiesce.
package virtq
