package port

// Enabler is implemented by queues that come and go while their port stays: a
// guest may use fewer queue pairs than its device has. Packets go to a port's
// enabled queues only; a port without any is down.
//
//	conc: safe from any goroutine    alloc: 0
type Enabler interface {
	Enabled() bool
}
