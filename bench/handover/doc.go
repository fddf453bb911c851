// Package handover measures what packets notice of a new batond taking a host over, as an
// upgrade, or because the one that was here died.
//
//	                            bin/batond --upgrade--> the next one
//	VM 1 .. VM N                 |  by vhost-user        |
//	(vhost/guest)  <------------>+-----------------------+
//	   ^                        eth0                    eth1      in a network namespace
//	   |                         |        Linux bridge   |        of the run's own
//	 load: one thread            +-----------+-----------+
//	   |                                    eth2
//	   +-- frames in Geneve -----------------+   a raw socket: the host "far"
//
// Everything is simulated but batond, which is the built program. Its rules are those that the
// controller's compiler makes, from a checkpoint file: there is no controller.
//
// Flows: each VM sends to the next one, to the far host, and gets from there. The packets of
// a flow are numbered and come at a steady rate, far below what batond can do; a Track per
// flow tells what was lost, came twice or out of order, and for how long nothing came.
//
// One goroutine, locked to a thread, drives all VMs and the wire (load); another one orders the
// run. They share the clock, and what is told before and after the load runs.
package handover
