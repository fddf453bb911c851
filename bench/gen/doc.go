// Package gen sends and receives packets, to measure a switch with: a process of its own
// whose one pinned thread polls DPDK devices, called its ends.
//
//	Process ── JSON lines ──> child: control ── engine ──┬── end "a"  net_virtio_user0 ── switch
//	 (this program                            (one thread, └── end "b"  net_virtio_user1 ── switch
//	  once more)                               one loop)
//
// A Stream is what one end sends: frames of given sizes from a set of flows, at a rate or
// as fast as the end takes them. The payload of each frame says which packet it is:
//
//	 0        6       8            16        20       22
//	+--------+-------+------------+---------+--------+------
//	| number | magic | time stamp | flow    | stream | pattern ...
//	+--------+-------+------------+---------+--------+------
//	  48 bits  16      64 (TSC)     32        4 id, 1 first packet of its flow, 8 epoch
//
// so that whoever receives it, at any end, at whatever place in the frame, with or without
// a tunnel's headers around it, can count loss, doubles and reordering, its latency in
// cycles, and look at all of its bytes.
//
// The loop is open: what is due by the rate is sent when the end takes it, and what it
// never took is told (Unsent); the rate that was achieved stands beside the one wished for.
// The time stamp is taken as the frame is made, just before it is given to the driver, so
// that delays of the generator itself do not count as the switch's.
//
// Frames are copied from templates and what differs written over; nothing allocates, and
// the calls into C are one for each 32 packets.
//
// A program that uses the package calls RunChild first thing in main (a test in TestMain).
package gen
