// Package virtq is the device side of virtqueues: it takes frames out of a guest's
// transmit ring and puts frames into its receive ring.
//
//	guest TX ring                                     guest RX ring
//	avail -> chain -> hdr|frame --Dequeue--> buf.Vec --Enqueue--> hdr|frame -> chain <- avail
//	used  <- head, 0                                              head, bytes -> used
//	     `--- one index store a burst, fence, call if the driver asked ---'
//
// Split and Packed are the two formats behind the interface Ring. What they share is
// queue: frames, checks, counters, the call. A burst goes through it in stages, each a
// loop over an array:
//
//	format.peek      chains -> window: private copies of descriptors, indirect tables resolved
//	window.find      descriptors -> spans of memory, prefetched
//	read, write      spans <-> buffers; virtio_net_hdr <-> offload flags (NetHeader)
//	format.complete  used elements, which the driver does not see yet
//	format.publish   they become visible, all at once; does the driver want a call?
//
// While a front end migrates its guest, what was written is noted in the view's dirty
// log between the write and publish.
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
// Call and Err) and frees what it swapped out after a Quiesce.
package virtq
