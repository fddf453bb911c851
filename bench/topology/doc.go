// Package topology is the network that all systems under test have: what baton's model
// says of it, and the addresses, numbers and frames that load and peers need.
//
//	 host "dut" 192.168.100.1                 host "far" 192.168.100.2
//	+--------------------------+             +------------------------+
//	| vm1 (1.11)   vm2 (1.12)  |   Geneve    |  far1 (1.13)           |
//	|   |            |         | ==========  |    |                   |
//	|  -+---- blue --+------- -|-------------|----+-  10.0.0.0/15     |
//	|           r1             |             |                        |
//	|  ------- green --+-------|-------------|----+-  10.2.0.0/15     |
//	|                vm3 (1.14)|             |  far2 (1.15)           |
//	+--------------------------+             +------------------------+
//
// The far host is load: packets for it leave by the NIC, packets from it come from there.
package topology
