// Package mem has ports in memory, for tests of the switch without guests and
// NICs.
//
//	test ── Inject ──> [ in  ] ── Rx ──> worker        NewPair: a's out is b's in
//	test <── Sent ──── [ out ] <── Tx ── worker
//
// Invariants: each direction of each queue pair is a bounded queue of frames;
// what does not fit is refused, never lost. Frames are copied at both ends, so a
// port holds no buffers. The worker's side allocates nothing.
//
// Callers: a worker calls the queues, a test's goroutine Inject, Sent and the
// rest, at the same time.
package mem
