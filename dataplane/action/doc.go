// Package action has the datapath's actions: what the walk of the pipeline comes
// to for a packet (List), and the plain code that edits a frame accordingly
// (Execute).
//
//	rules --pipeline.Walk--> List --cache--> Execute(frame) --> output, tunnel or drop
//
// A List is a net effect, not a program: a router that sets the source MAC and a
// second one that sets it again leave one edit. Checksums are updated
// incrementally (RFC 1624) and never validated: a frame that came with a wrong
// checksum leaves with a wrong one. Where the sender left the checksum to its network
// card, the pseudo header's sum in its place follows the addresses.
//
// Sending is the worker's: Execute neither encapsulates nor outputs.
package action
