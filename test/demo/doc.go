// Command demo is the program behind `make demo`: the main job of baton on one
// machine, with nothing simulated but the cables.
//
//	 host1 (netns)                  underlay (netns)                host2 (netns)
//	+-------------------+          +-----------------+          +-------------------+
//	| batond       eth0 =+==veth===+= bridge         =+==veth===+= eth0      batond |
//	+--^------^---------+          |   tcpdump       |          +--^------^---------+
//	  vm1    vm2 (QEMU)            +-----------------+            vm3    vm4
//	               baton-controller with its etcd, batonctl apply
//
// What hosts, VMs and addresses there are comes from the example network; what
// is checked comes from the example too: each pair of VMs is pinged, and its
// place in the network gives the row's name.
//
//	plan.go     what the example says must be there
//	network.go  starts it, in the order in which an operator would
//	checks.go   pings, transfers, counters
//	wire.go     what tshark saw on the underlay
//	report.go   the table and the JSON
//
// It ends with 0 only if every check passed, and undoes all it did, also on
// Ctrl-C.
package main
