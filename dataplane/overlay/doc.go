// Package overlay is the tunnel end point (VTEP) of a host: it puts frames into
// Geneve (RFC 8926) for another host, and takes them out of it.
//
//	to the wire                                   from the wire
//	frame                                         outer frame
//	  | Push, PushBurst                             | Receive
//	  v                                             +--> Deliver: inner frame, metadata in flow.Key
//	outer Ethernet IPv4 UDP Geneve option | frame   +--> Reply:   ARP or echo reply, made in place
//	     14    +   20 + 8 +   8   +  12   = 62      +--> Drop:    with a reason
//
// The Geneve option (class 0xffee, type 0x80) has the four 16-bit numbers that
// the logical network needs beside the VNI: source port, destination port,
// frame flags, command.
//
// Invariants: only frames that a NIC received come to Receive, so that nothing
// a guest sends is ever taken for a tunnel packet; one header is taken off and
// no more, however often a frame is wrapped; no length in an outer header is
// believed before it was compared with the frame's end; everything that is
// neither delivered nor answered has a drop reason.
//
// An Endpoint never changes once made. Workers call Push and Receive
// concurrently, each on buffers and with Peers of its own; both allocate nothing.
package overlay
