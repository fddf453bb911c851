// Package cluster runs baton itself in a lab: a controller and hosts, from the
// programs in bin/, as the demo and the end-to-end tests need them.
//
//	Cluster ── Controller   baton-controller with its own etcd, on unix sockets
//	   |
//	   +────── Host         batond in a network namespace; eth0 is a veth leg on
//	                        the lab's bridge, opened through DPDK net_af_packet;
//	                        eth1, if wanted, another, for the next generation
//
// Unix sockets reach into every namespace, so that control traffic needs no
// network. Everything belongs to the Lab, whose Close ends it.
//
// All methods may be called from any goroutine, one at a time for one Host.
package cluster
