// Package eventfd signals eventfds that a peer shares with us, and cannot be made to
// wait by that peer.
//
// write(2) can: whether it waits when the counter is full is a flag of the open file
// description, which the peer's process holds too and may change at any moment. The
// kernel itself signals eventfds without that flag (eventfd_signal: a full counter
// stays full), and does so for whoever submits an asynchronous request that names
// the eventfd as the one to tell of its completion:
//
//	Signal(fd) --io_submit(2)--> poll of a descriptor that is always ready:
//	                             complete at once --eventfd_signal--> fd
//	                             event in the context's ring: passed over before the
//	                             next request, in memory that is mapped
//
// A process has few AIO contexts (all processes of a host share fs.aio-max-nr), so
// they are shared by all who signal: whoever finds one taken takes the next.
//
// Where the kernel gives no context (a seccomp filter, the limit used up), Signal
// falls back to write(2), and says so by Err.
//
// Invariants: a context has one user at a time and at most one event in its ring; no
// call allocates or hands work to another goroutine. Callers: workers, and the
// control side, from any goroutine.
package eventfd
