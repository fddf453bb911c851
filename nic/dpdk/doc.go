// Package dpdk is the switch's NIC: a DPDK device as a port.Port. It and the
// packages below it are the only cgo in baton.
//
//	                    Port "underlay"
//	worker 0 ── Queue 0 ── ethdev.Burst ──┐   one C call a poll:
//	worker 1 ── Queue 1 ── ethdev.Burst ──┤   send what is staged, then receive
//	                                      └── DPDK device (VF, af_packet, memif, ...)
//	eal      starts DPDK, its thread runs every control call
//	mempool  the process's packet buffers (buf.Source)
//	ethdev   control of a device, Burst
//	mbuf     buf.Buf = rte_mbuf, checked by the compiler
//	ring     one-producer one-consumer rings shared with C
//
// # Sending
//
// Tx stages packets; the next Rx of the same queue, or Arm, sends them in the C
// call that also receives. What the device has no room for stays staged, in
// order, and is tried again at every poll; Tx refuses packets while the stage is
// full. So nothing that Tx took is lost while the device moves. If it takes
// nothing for stuckPolls polls, or the port is closed, what is staged is freed
// and counted by Dropped (port.LateDropper).
//
// # Offloads
//
// What of its transmit offloads a device offers in full is configured and told to the
// worker (port.Offloader): checksums, TCP segmentation, and both inside Geneve. Then a
// burst with frames that ask for some goes through rte_eth_tx_prepare, which
// writes the sums that the device wants into the headers; what it refuses is freed and
// counted by Dropped. Devices without any (net_af_packet, net_null) are configured as
// ever, and what is left to be done to frames for them the worker has done before.
// Receive checksums are asked for on devices that know tunnels only.
//
// Exercised are net_tap (cuts and completes as a NIC does, in software), net_virtio_user
// (refuses) and the choice over capability sets. Offloads inside Geneve are written after
// the rules of DPDK 22.11's i40e, ice and iavf drivers and were not run on such a card.
// Their drivers leave the vector transmit path for these offloads, which costs small
// packets some cycles.
//
// # Waking a sleeping worker
//
// Drivers with receive interrupts (iavf, e1000, virtio_user, memif) give an event
// descriptor. net_af_packet has none; there the driver's own packet socket is
// watched: the kernel signals it when it puts a frame into the ring of that very
// queue, also with several queues, and no packet is copied for the sake of it, as
// it would be to a second "doorbell" socket on the interface. The socket is found
// as the first field of the driver's queue; since no interface promises that, the
// kernel is asked whether it is a packet socket of version 2 bound to our
// interface, and without that proof the queue is polled. Drivers with neither
// (net_null, net_ring, net_pcap) are polled. Arm looks at the device once more
// after it armed it, so that no packet falls between the two.
//
// Invariants: a received frame is one buffer (scatter is off); larger ones the device drops
// and counts in XStats. Only net_af_packet cuts them short instead, at framesz
// less 66 bytes: keep the interface's MTU below (checked if Config.MTU is given)
// and its segmentation offloads off. A queue is polled by one goroutine at a time, on any
// thread. After Close the pool has all its buffers back, but for those that the
// workers hold.
//
// Callers: cmd opens and closes ports; workers poll the queues.
package dpdk
