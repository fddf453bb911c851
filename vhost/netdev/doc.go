// Package netdev is a guest's network card: the device behind a vhost-user session
// (proto.Backend) that is also a port of the switch (port.Port).
//
//	   session goroutine                          workers
//	        |  messages                              |  Rx, Tx, Arm
//	        v                                        v
//	+----------------- Device ------------------------------------+
//	| control state (mu)  --- slots: atomic pointers --->  queues |
//	| memory table, fds   <-- Quiesce, then free ---              |
//	+-------------------------------------------------------------+
//	             |                                   |
//	       guestmem.Map                        virtq.Ring
//
// Queue i receives from guest TX ring 2i+1 and sends to guest RX ring 2i.
//
// Rules:
//   - What a peer can hold up (asking about a file of its own, closing it) happens before
//     or after mu is held, never under it.
//   - A worker never takes mu and never waits. It reaches a ring through one atomic
//     load of a slot, and the ring reaches memory through one of a view.
//   - The control side unpublishes, calls Quiesce, and only then reads a worker's
//     state, unmaps memory or closes a descriptor.
//   - Lock order: mu, then a queue's wakeMu. Quiesce is called under mu, never under
//     wakeMu, which a worker takes in Attach.
//   - A ring that breaks, by a guest's doing or because memory vanished, stops alone:
//     counted, logged (within a quota), its error descriptor signalled. It comes back when the
//     front end sets it up anew (GET_VRING_BASE and a new start, reset, reconnect).
package netdev
