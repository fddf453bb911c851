package port

// Settler is implemented by queues that leave something of a burst for the next Rx to do, such
// as a guest's interrupt. Its worker calls Settle when the queue misses a turn: when Rx is
// not called in an iteration.
//
//	conc: as Rx    alloc: 0
type Settler interface {
	Settle()
}

// Carrier is implemented by queues whose packets have been looked up already, elsewhere, and go to their
// ports by themselves: Rx returns none of them. Carried is the number that the last Rx took.
//
//	conc: as Rx    alloc: 0
type Carrier interface {
	Carried() int
}

// Enabler is implemented by queues that come and go while their port stays: a
// guest may use fewer queue pairs than its device has. Packets go to a port's
// enabled queues only; a port without any is down.
//
//	conc: safe from any goroutine    alloc: 0
type Enabler interface {
	Enabled() bool
}
