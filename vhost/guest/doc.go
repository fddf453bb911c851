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
// on the call eventfd (RxQueue.Wait). Each ring descriptor chain has a buffer of
// its own, contiguous in memory, which the chain cuts into pieces; so a chain is
// laid out once, and a send writes lengths only.
//
// Memory that the back end writes is read with sync/atomic where it orders other
// reads (ring indices) and plainly where it does not. Only unsafe.go touches it by
// pointer. The rings are little-endian, as virtio 1 has them; so are the machines
// that baton runs on.
//
// Everything that a well-behaved driver would hide is exported too: descriptors,
// ring indices, raw messages. Tests use it to misbehave.
//
// Specification: virtio 1.2 section 2.7 (split virtqueues), 5.1 (network device).
package guest
