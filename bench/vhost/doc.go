// Command baton-bench-vhost measures baton's vhost back end beside DPDK's own vhost
// library, in one run, with the same front end for both.
//
//	CPU a (back end)                      CPU b (the VM)
//	testpmd, net_vhost            <---->  testpmd, net_virtio_user    system "dpdk"
//	this program, vhost/netdev    <---->  testpmd, net_virtio_user    system "baton"
//
// dequeue: the VM sends, the back end receives and frees. enqueue: the back end
// allocates and sends, the VM receives. both: packets circle between the two.
//
// Both back ends count alike: cycles of polls that moved packets, from before the
// receive call to after the last free or send. Where testpmd generates it forwards from
// net_null, which allocates buffers and sets lengths; so does baton's. All four
// processes live through a run, and those not in a trial sleep.
//
// The front end is testpmd rather than vhost/guest: it is written by others, and it is
// the faster of the two. Every trial's packets are counted on both sides; a check
// before it all sends numbered frames around and compares their content.
package main
