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
