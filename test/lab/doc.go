// Package lab builds a small data centre on one machine, for the demo and for
// end-to-end tests: hosts as network namespaces, an underlay as a Linux bridge,
// VMs as QEMU guests with a real Linux kernel, daemons with their logs, packet
// captures, and Open vSwitch as another vendor's far end.
//
//	Lab -- owns everything below, undoes it in reverse order
//	 |
//	 |   +-- Netns host1 --+      +-- Netns underlay --+      +-- Netns host2 --+
//	 |   | Proc batond     |      |                    |      | Proc batond/OVS |
//	 |   |          eth0 ==+=veth=+== br0 (Bridge) ====+=veth=+== eth0          |
//	 |   +-----^-----------+      |    ^ Capture       |      +-----^-----------+
//	 |         | vhost-user       +----+---------------+            |
//	 |       Guest vm1                                          Guest vm2
//	 |         ^ JSON lines on a second serial port
//	 +---------+
//
// A guest runs a kernel that is not installed (BATON_CACHE/kernel, or
// BATON_GUEST_KERNEL and BATON_GUEST_MODULES) and an initramfs that the lab
// builds: busybox, the virtio modules, and guestinit, an agent that runs
// commands and makes traffic. Memory is a shared memfd, as vhost-user needs.
//
// Invariants:
//   - Names of namespaces and folders carry the pid and start time of their
//     owner. New removes those whose owner is dead, so a killed run leaves
//     nothing for ever. Processes die with their owner (PR_SET_PDEATHSIG).
//   - A process is stopped by its own pid and process group, never by name.
//   - Nothing is created in the namespace the lab runs in, and no service of
//     the machine (Open vSwitch, etcd) is touched.
//
// Callers: test/demo and the end-to-end tests in test/. All methods may be
// called from any goroutine. Needs root.
package lab
