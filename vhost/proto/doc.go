// Package proto speaks vhost-user: it frames and checks messages, and runs the
// session between a front end (QEMU, virtio_user) and the device behind it.
//
//	front end ==socket== Conn --> Session --> Backend (the device)
//	                      ^          |
//	                      |          v
//	                  Connector   message table: sizes, descriptors, reply
//
// Conn reads and writes single messages with their file descriptors, in both
// roles. Session serves one connection; what a message may look like, and what
// becomes of one that is refused, stands in one table (table.go). Connector
// makes connections, as client of the front end's socket or as its server, and
// makes them again.
//
// A message is refused when its size, its number of descriptors or its ring
// index is wrong, or when the device says so. The front end learns it by the
// reply-ack if it asked for one; else the session ends where the front end would
// go on with a wrong idea of the device, and goes on where it would not. What
// breaks the framing (version, size above 4 KiB, descriptors in the wrong place)
// ends the session.
//
// Invariants:
//   - Every descriptor that arrives is owned by exactly one: the Message, then
//     the Backend, or it is closed.
//   - Backend methods are called one at a time, from the session's goroutine.
//   - Backend.Disconnected is called once when a session ends, and not when its
//     connection is handed over.
//   - A reply is written in one piece; its flags are exactly 5.
//   - Nothing here is called by a worker or waits for one, except through Backend.
//
// Specification: QEMU docs/interop/vhost-user.rst.
package proto
