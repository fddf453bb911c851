// Package stats has the dataplane's counters and the reasons for which it drops
// packets.
//
// A counter has one writer, the worker that owns it, and any number of readers.
// Every packet that enters and does not leave is counted under one DropReason,
// so that
//
//	received + generated = sent + sum of drops + held
//
// holds for a host at any quiet moment. Generated are the packets that the switch
// itself made: the segments of a super-segment that it cut, less one, and the ICMP
// messages that tell a sender of a packet that was too big.
package stats
