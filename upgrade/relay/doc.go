// Package relay hands ports from one process of a host to the next, one at a time, while
// packets move.
//
// Both processes map an Area: a baton for each port, which says whose it is, and rings for the
// packets that come to the process which does not have the port. In each of them every port
// stands behind a Gate:
//
//	state     packets for the port                     who has the baton
//	Direct    go to the device                         this process
//	Away      go through a ring to the other process   the other one
//	Hold      wait, in order                           the other one, who is about to pass it
//
// A port goes over in these steps. giver is who has it, taker who gets it; either
// of the two processes is one or the other (an upgrade that is called off goes back this way).
//
//	taker: Hold, and wait until the giver has taken what was put into the rings before
//	giver: Away; no worker is in the device any more; Suspend; words into the baton; pass it
//	taker: sees that; Resume at the words; Direct: what waited first, then what comes
//
// so that packets of one flow keep their order: those of the taker's side wait while older ones
// go by the ring, and those of the giver's side go to the device until it is suspended, and
// by the ring from then on, whose reader waits for Direct as well.
//
// Invariants: a process touches a port's rings only while the baton says that it is its
// own. Only who has a baton passes it, when no worker of it can reach the rings any more; the one
// exception is Seize, by the other one when the process that has it is dead, of which the
// caller is certain: it has seen the end of its socket, or of it as a child. A ring has one
// writer, a worker of one process, and one reader, of the other; what is read from it is
// checked, as who wrote it may have died of anything.
//
// Callers: the processes' control side; workers call the queues of Gate, Inbox and Valve.
package relay
