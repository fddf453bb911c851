// Package peer runs DPDK's testpmd in processes of its own, as what baton is measured
// beside: a back end, or the VM in front of one.
package peer
