// Command interop is the program behind `make interop`: the virtio drivers of
// others against baton's vhost-user back end, every combination of what they can
// negotiate, as a table.
//
//	 guest A (QEMU, Linux)        guest B
//	  eth0        eth1          eth0        eth1
//	   |           |             |           |
//	+--a0----------a1------------b0--+    +--b1-----------+
//	|            host1    pmd  gen   | == |    host2      |   eth0: one host; eth1: across hosts, Geneve
//	+----------------------|----|----+    +---------------+
//	                  testpmd  generator (vhost/guest, in this process)
//
// A cell of QEMU boots two Linux guests whose cards are as the cell says: ping,
// bulk TCP both ways with its hash, and datagrams of many flows, each of which
// comes or was counted as dropped, on one host and across hosts. A cell of virtio_user asks for the MAC of DPDK's testpmd,
// pings it, and has it give back numbered packets, which must come in order and
// unchanged. Each cell asks `batonctl vhost
// show -o json` whether what it says was really negotiated, so that none passes
// by accident. The hosts stay for all cells.
//
//	cell.go      the matrix, and its short form
//	network.go   hosts and ports that all cells use
//	negotiated.go  what batond says of a port against what the cell says
//	qemu.go      cells with Linux guests
//	flows.go     their datagrams, and the count of what was dropped
//	pmd.go       cells with testpmd
//	numbered.go  numbered packets and pings: what comes back
//	frames.go    the frames of those, and ARP
//	report.go    the table and the JSON
//
// It ends with 0 only if every cell passed, and undoes all it did, also on Ctrl-C.
package main
