// Package migrate ends the moves of VMs' ports.
//
// A port with migrateTo is on two hosts. The one that it is about to move to hands
// up each frame that the VM sends there (compile.PuntArrived): a VM that sends has
// resumed, which a connected socket does not prove. QEMU sees to it that there is
// such a frame at once: the guest announces itself (VIRTIO_NET_F_GUEST_ANNOUNCE), or
// QEMU has the device send a RARP for it.
//
//	target's batond ── PacketIn ──► Arrivals ── Arrive ──► store ──► vmc ──► rules of all hosts
//	                                   └─ is the port up at the source? then refused, tried again
//
// The store's transaction is what decides: a report that comes late, twice, or after
// the move was cancelled changes nothing. Because all frames until then are handed
// up, a report that is lost with a session or a controller is made again.
package migrate
