// Package table is the classifier: the rules of one pipeline table, found by
// the fields of a packet.
//
//	Table: tuples, highest priority first     (a tuple = all rules with one mask)
//	 mask A, top 300 --> registers --> link layer --> IP addresses --> rest --> rules
//	 mask B, top 200 --> ...
//
// A lookup asks one tuple after the other and stops when no later one can win.
// It reports which bits it depended on. Within a tuple it goes in stages and
// stops at the first that no rule agrees with: rules for another datapath cost
// no bit of the packet (registers hold nothing of it but what rules copied
// there), rules for ARP cost an IP packet no more than its type.
//
// A Table never changes, so that workers read it without a lock. An Editor makes
// a new one that shares all but the touched paths with the old one; a small edit
// costs the same in a table of ten rules and in one of a million.
package table
