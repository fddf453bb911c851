// Package offload finishes in software what a frame's sender left to the network
// card, for receivers that do not: checksums (Complete) and the cutting of TCP
// super-segments into packets (Cutter).
//
//	super-segment, one buffer or a chain            frames of one buffer each
//	[outer] eth ip tcp | payload ........   Cutter  [outer] eth ip tcp | SegSize bytes
//	                                        ----->  [outer] eth ip tcp | SegSize bytes
//	                                                [outer] eth ip tcp | the rest
//
// What is made is what Linux' GSO would send (tcp_gso_segment, inet_gso_segment,
// skb_checksum_help): sequence numbers go on, FIN and PSH stay on the last segment,
// CWR on the first, IPv4 identifications count up, inside a tunnel and outside.
//
// What is to be done is said by buf's Tx flags and Lengths; whoever sets them has
// parsed the headers. Lengths that do not fit the frame are refused all the same,
// never read beyond.
//
// Invariants: a frame that leaves this package has no Tx flags but those that it
// was made for; nothing allocates; buffers come from the caller's cache, and none
// is kept. Callers: the worker, before it gives frames to a queue.
package offload
