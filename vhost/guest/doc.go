// Package guest is the other side of vhost-user: a front end and a virtio-net
// driver in one, over shared memory, without a VM around it. It is the simulated
// VM of tests and benchmarks; hundreds of them fit on one machine.
//
//	Guest
//	  |-- Frontend: vhost-user messages --socket--> back end
//	  |-- memory: one memfd, mapped here and there
//	  |-- TxQueue[i]  frames --> descriptors, available ring --kick--> back end
//	  '-- RxQueue[i]  frames <-- used ring                  <--call--  back end
//
// A queue is driven by one goroutine: polled (SendBurst, RecvBurst), or blocking
// on the call eventfd (RxQueue.Wait); a guest has no goroutine of its own. Rings are
// split or packed behind the same calls. Each chain has a buffer of its own,
// contiguous in memory, which it cuts into pieces. Prepare and SendPrepared send
// without a copy, Poll and Discard receive without one.
//
// While the rings run, memory can be plugged in and out (AddMemory, MoveBuffers,
// RemoveMemory) and what the back end writes be logged (StartLog).
//
// Memory that the back end writes is read with sync/atomic where it orders other
// reads (indices of split rings, flags of packed ones) and plainly where it does not.
// Only unsafe.go touches it by pointer. The rings are little-endian, as virtio 1 has
// them; so are the machines that baton runs on.
//
// Everything that a well-behaved driver would hide is exported too: descriptors (Offer,
// SetDesc), ring indices, raw messages and descriptors (Frontend), the size of the
// memory file (Truncate). Tests use it to misbehave.
//
// Specification: virtio 1.2 section 2.7 (split virtqueues), 2.8 (packed virtqueues),
// 5.1 (network device).
package guest
