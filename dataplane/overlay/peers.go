package overlay

import "baton/dataplane/flow"

// Hosts knows the other hosts on the underlay: a pipeline's snapshot does.
type Hosts interface {
	// Neighbour is the neighbour with this address (host order); false if it is no host's.
	//
	//	alloc: 0
	Neighbour(ip uint32) (flow.Neighbour, bool)
}

// Peers answers for each tunnel packet whether it comes from a known host. It
// remembers the hosts that it was asked for, so that Hosts (a map) is asked once
// for each of them and for strangers, and not once a packet.
//
//	conc: one goroutine    alloc: 0
type Peers struct {
	hosts Hosts
	known [peerSlots]uint32 // 0 = none; direct mapped: a collision costs a question to hosts
}

// peerSlots is 1 KiB of addresses: a host talks to fewer hosts than that at a time.
const (
	peerBits  = 8
	peerSlots = 1 << peerBits
)

// Use forgets everything and asks hosts from now on.
func (p *Peers) Use(hosts Hosts) {
	p.hosts = hosts
	clear(p.known[:])
}

// Has reports whether ip is a host's address; never for 0.
func (p *Peers) Has(ip uint32) bool {
	slot := p.slot(ip)
	if *slot == ip {
		return ip != 0
	}
	if p.hosts == nil {
		return false
	}
	if _, ok := p.hosts.Neighbour(ip); !ok {
		return false
	}
	*slot = ip
	return true
}

// met reports whether ip is a host that Has was asked for, and that is remembered.
func (p *Peers) met(ip uint32) bool { return *p.slot(ip) == ip && ip != 0 }

// slot is where ip is remembered.
func (p *Peers) slot(ip uint32) *uint32 {
	// Fibonacci hashing: neighbours on one subnet differ in the low bits.
	return &p.known[ip*0x9e3779b1>>(32-peerBits)]
}
