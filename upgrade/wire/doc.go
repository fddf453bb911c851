// Package wire carries state from one process of a host to the next: sections of bytes and
// file descriptors over a Unix socket of packets.
//
// The giver first offers what it will give: the tags of all sections. The taker answers
// whether it can take them, before anything else is done: it must know each mandatory
// section in its version, and skips optional ones that it does not know. So a new
// program takes from an old one and an old from a new one, or nothing happens.
//
//	giver                                   taker
//	  | hello: format, program, tags  ------> |
//	  | <------ answer: takes it, or why not  |
//	  | section, section, ...         ------> |
//
// A section's version is raised when what is in it is no longer what the former reader
// understands; what can be left out is an optional section of its own. Sections are larger
// than packets, so that each is a first frame and more behind it (frame.go), descriptors
// in portions of what the kernel takes at a time.
//
// Invariants: what a peer sends is bounded before it is believed; descriptors that came are
// closed unless a section that was returned has them; after an error the connection is of
// no more use. A Conn is used by one goroutine at a time.
package wire
