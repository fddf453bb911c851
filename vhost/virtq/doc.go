// Package virtq is the device side of virtqueues: it takes frames out of a guest's
// transmit ring and puts frames into its receive ring.
//
//	guest TX ring                                     guest RX ring
//	avail -> chain -> hdr|frame --Dequeue--> buf.Vec --Enqueue--> hdr|frame -> chain <- avail
//	used  <- head, 0                                              head, bytes -> used
//	     `--- one index store a burst; later fence, call if asked ----------'
//
// Split and Packed are the two formats behind the interface Ring. What they share is
// queue: frames, checks, counters, the call. Nearly all chains are plain: one descriptor
// whose buffer lies in one region. A burst takes them as a run, in stages, each a loop
// over an array:
//
//	format.run       plain chains -> guestmem.Run: private copies, as spans of memory, prefetched
//	read, write      spans <-> buffers; virtio_net_hdr <-> offload flags (NetHeader)
//	format.giveRun   used elements, which the driver does not see yet
//	format.publish   they become visible, all at once
//	format.wanted    with the next burst, or Settle: does the driver want a call?
//
// What is behind a run, and everything while a dirty log is on, goes through the window,
// in chains of any kind; frames over several buffers, too. That way is the oracle of the
// short one (run_test.go):
//
//	format.peek      chains -> window: private copies of descriptors, indirect tables resolved
//	read, write      buffers of a chain, piece by piece <-> segments of a frame
//	format.complete  as giveRun
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
