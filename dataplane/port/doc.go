// Package port is the interface that every port of the switch implements: the
// vhost-user network device, the DPDK NIC, the in-memory port of the tests.
//
//	guest / wire                               switch
//	    |        +------------------------+       |
//	    +------->| Queue.Rx               |------>|  packets into the switch
//	    |<-------| Queue.Tx               |<------+  packets out of the switch
//	             +------------------------+
//
// A port has a fixed number of queue pairs. One worker polls a queue and is the
// only caller of its methods; the port's control side (a vhost-user session, a
// link event) runs in goroutines of the port's own and synchronises with the
// worker through a Quiescer.
package port
