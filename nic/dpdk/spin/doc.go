// Package spin is a bare loop in C that does nothing but read the time stamp counter: what
// a poll loop of Go's is held against. What interrupts it is the machine and its kernel,
// never Go's runtime: a thread in C is none of its business.
//
// Callers: benchmarks.
package spin
