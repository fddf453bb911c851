package port

// LateDropper is a Queue that takes packets in Tx before the device has them, as
// a NIC that sends once a poll does.
type LateDropper interface {
	// Dropped is the number of packets, ever, that Tx took and that did not go
	// out: the device did not move for long, or the port was closed. A caller that
	// counts what Tx took as sent subtracts it.
	//
	//	conc: safe from any goroutine    alloc: 0
	Dropped() uint64
}

// TooBigDropper is a Queue that may find, only when it has taken a packet in Tx,
// that it is larger than what the receiver has room for: a guest says with each
// of its buffers how long it is.
type TooBigDropper interface {
	// TooBig is the number of packets, ever, that Tx took and dropped for that. A
	// caller that counts what Tx took as sent subtracts it.
	//
	//	conc: safe from any goroutine    alloc: 0
	TooBig() uint64
}
