// Package lease proves life and death of threads across processes.
//
// A Board is a page that processes share. A worker's thread holds one of its words, a
// robust futex (get_robust_list(2), Documentation/locking/robust-futex-ABI.rst of the
// kernel): whatever the thread dies of, the kernel marks the word before it tears the
// thread's address space down, which takes as long as there is memory to unmap: 160 ms for
// 4 GiB of a guest's in small pages. Who waits for the process to be gone waits for that.
//
//	word: 0          nobody holds it
//	      tid        held by that thread, which is alive
//	      died       its holder has died, says the kernel
//	      | waiters  somebody sleeps until that happens
//
// Invariants: a word has one holder at most; only its holder's thread frees it, only the
// kernel marks it, and only one of those who compete for a dead or a free word takes it. A
// thread that is alive but stuck keeps what it holds: to end it is another's business.
//
// Each lease has a pulse beside it, by which others see that its holder is not stuck.
//
// Behind the leases a Board has marks, by which the one who goes on knows whether its copy of what
// the dead one kept is the last.
//
// Callers: the worker's own thread holds and frees; anybody watches, from any goroutine.
package lease
