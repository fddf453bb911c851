// Package steer moves the VTEP, the MAC address of the overlay's traffic, between the
// devices of two generations of batond, each a process with a device of its own.
//
//	bridge              peers ── bridge ──┬── port 0 ── device 0 (generation even)
//	                               |      └── port 1 ── device 1 (generation odd)
//	                  entry: VTEP's MAC -> port 0 or port 1, static, sticky
//
//	VF                  peers ── NIC's ───┬── VF 0     its filter takes the VTEP's MAC,
//	                    embedded switch   └── VF 1     or it does not
//
// Both are mac-move: a switch delivers by destination MAC, and what moves is where that
// MAC is.
//
// With a VTEP for each device (vtep-pair) nothing moves here: other hosts are told to send
// to the other one, which is cmd/batond's business.
//
// On a Linux bridge the move is one netlink message, which puts another port into the
// entry that is there: a frame finds the one or the other, and at no moment none, so
// that none is flooded, doubled or lost. Sticky keeps the bridge's learning off the
// entry: the old device may go on sending from the VTEP's MAC. The entry belongs to the
// kernel: it is there after the process that made it has died, and goes with Remove or
// with its port.
//
// On VFs, Take has the new device take the address before the old one gives it up. In
// between both may receive, and the switch may double frames. Each process can speak
// only to its own VF: the new one calls Take, then the old one. The VTEP's MAC must be
// no VF's own address, which DPDK cannot remove. Exercised are DPDK's virtual devices;
// on an X710 this was not run.
//
// The order that loses nothing is the caller's: Take when the new process polls its
// device, and drain the old device after that, since frames that the switch delivered
// before wait there.
//
// Invariants: a failed call changes nothing, but for a device that keeps the address
// because its RemoveMAC failed. The kernel is asked each time; nothing about a bridge is
// remembered, and no descriptor is open between calls.
//
// Callers: cmd. All functions may be called from any goroutine, none from the hot path.
package steer
