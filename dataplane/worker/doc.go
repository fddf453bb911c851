// Package worker is the poll loop: workers that move packets between ports.
//
//	        one iteration of a worker
//	+-> begin    take up layout and snapshot, if there are new ones
//	|   receive  for each queue: a burst of up to 32 packets
//	|     enter    logical port; from the wire: out of the tunnel
//	|     parse    frame to flow.Key
//	|     decide   flow caches, slow path; edits; into the tunnel
//	|     forward  one Tx burst for each output port, or into the ring
//	|              of the worker that owns the port; before, finish what
//	|              the port does not take unfinished
//	|   drain    send what other workers put into this one's rings
//	+-- count    counters, one clock read; every 4 ms chores; nothing to do
//	             for long: sleep
//
// Each queue belongs to one worker, the only one that calls its methods. What
// workers share they share without locks: an immutable layout (the ports) and an
// immutable snapshot (the rules), each behind a pointer that is read once an
// iteration, and one ring for each pair of workers.
//
// Invariants:
//
//   - A worker holds nothing from one iteration to the next: no pointer into a
//     guest's memory, no rule, no packet. So whoever unpublishes something may
//     free it after Quiesce, and no packet leaves by a rule that is gone after
//     Barrier. A sleeping worker holds nothing either.
//   - Every packet received, or made here, is sent, or counted under a drop reason at the port
//     that it came from, or waits in a ring (Parcels).
//   - Packets of one flow leave in the order in which they came.
//   - Queues take turns, a burst each; a guest's queue whose packets need walks of
//     the pipeline, or super-segments to be cut, misses turns for as long as that took.
//   - A port gets no frame that asks for more than it offers (port.Offloads). What is
//     handed over to another worker was finished before, at the expense of its sender.
//   - The loop allocates nothing but what punts copy, and takes no lock.
//   - A worker that says it sleeps is woken by whoever gives it something: it
//     says so first and looks for work once more afterwards.
//
// Layout changes (AddPort, RemovePort, ReplacePort, Close) are made by the control side under
// Pool.mu, one at a time, and end when all workers have taken them up. Queues
// are attached and detached by the worker that polls them; it counts as holding
// nothing meanwhile, so that a port may wait for the workers in Attach.
//
// A worker keeps its processor while it polls, busy or not (chores.go, package slice):
// Start sees to it that GOMAXPROCS leaves some for the rest of the program (procs.go). It is Go's
// garbage collector alone that stops it, and whoever has long waited for that processor.
package worker
