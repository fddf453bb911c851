// Package stats has the dataplane's counters and the reasons for which it drops
// packets.
//
// A counter has one writer, the worker that owns it, and any number of readers.
// Every packet that enters and does not leave is counted under one DropReason,
// so that
//
//	received = sent + sum of drops + held
//
// holds for a host at any quiet moment.
package stats
