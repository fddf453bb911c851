// Package hostile is a test of the whole way from a guest's memory through ring,
// session, device, worker and rules: each input that no honest guest or front end makes
// is a test named by its number in the list of hostile inputs (docs/testing.md).
//
//	good pair: vm1 <--> vm2, numbered frames both ways, none may be missing
//	               |
//	       one worker, real rules
//	               |
//	offender: vm3, by vhost/guest, rings split and packed
//
// A test says what the offender gets: a broken ring with its reason, a dropped frame
// with its counter, a refused message, or that it is tolerated. Around it the harness
// checks that the pair loses nothing, that every packet is accounted for, and that
// buffers, file descriptors and goroutines are as before.
//
// Beside the numbered inputs: the share of a worker that a flood gets (fair_test.go), and
// VMs of eight queue pairs over two workers whose queues and memory come and go under
// traffic (queues_test.go).
package hostile
