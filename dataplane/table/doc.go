// Package table is the classifier: the rules of one pipeline table, found by
// the fields of a packet.
//
//	Table: tuples, highest priority first     (a tuple = all rules with one mask)
//	 mask A, top 300 --> groups: registers under mask A --> rules: key under mask A
//	 mask B, top 200 --> ...
//
// A lookup asks one tuple after the other and stops when no later one can win.
// It reports which bits it depended on. Within a tuple it asks for the registers
// first: they hold nothing of the packet but what rules copied there before, so
// a tuple without a rule for this datapath costs no bit of the packet.
//
// A Table never changes, so that workers read it without a lock. An Editor makes
// a new one that shares all but the touched paths with the old one; a small edit
// costs the same in a table of ten rules and in one of a million.
package table
