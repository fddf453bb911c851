// Package flow is the vocabulary of OpenFlow-lite: the key of a packet, fields
// and masks over it, rules with matches and actions, and what a host is given
// besides rules (port bindings, underlay neighbours).
//
//	Rule = table, priority, cookie, Match (value under mask), Actions
//
// A Match covers Fields: the packet's Key, which the fast path extracts and
// caches by, and the Regs, which exist only while the slow path walks the
// pipeline. Controllers build rules of these types, openflow carries them, the
// pipeline runs them. All types are plain comparable data without pointers,
// except that Rule holds its actions in a slice.
package flow
