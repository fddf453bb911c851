// Package parse reads a frame's headers into a flow.Key, in one pass, for the
// worker's first stage; and finds where the headers lie, for whoever edits them.
//
//	eth | [vlan] | arp
//	             | ipv4 [options]    | tcp, udp, icmp
//	             | ipv6 [extensions] | tcp, udp, icmpv6
//
// Burst does so for the frames of a burst that are what nearly all are; Frame for any.
//
// Frames are hostile: no length in them is believed before it was compared with
// the frame's end, and at most MaxExtensions IPv6 extension headers are walked.
// A frame that lies is dropped with a reason; a frame of an unknown protocol is
// not, it has the zero in the fields that do not exist.
//
// All functions are called by workers; they hold no state and allocate nothing.
package parse
