// Package pmtu tells the sender of a packet that was too big for the port or the
// tunnel that it was to leave by, so that path MTU discovery works through the switch
// (RFC 1191, RFC 8201).
//
//	packet as it came    Answer    the same Ethernet and IP addresses, turned round:
//	eth ip ....          ----->    eth ip ICMP 3/4 or ICMPv6 2, with the packet's head
//
// The message comes from the packet's own destination, as with Linux' tunnels
// (iptunnel_pmtud_build_icmp): the switch has no address of its own on the network.
//
// Not answered are packets about which no ICMP error may be sent (RFC 1122 3.2.2, RFC
// 4443 2.4 e): ICMP errors, fragments but the first, what was not from or to a single
// host; and what is not IP. An IPv4 packet that may be fragmented is answered too: RFC
// 1191 asks for it only where the router does not fragment, and the switch never does.
// So the sender learns the MTU, where silence would be a black hole.
//
// Callers: the worker, which sees to the rate.
package pmtu
