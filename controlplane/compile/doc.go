// Package compile turns the logical network into what each host's pipeline runs.
//
//	model.State ──index──► one unit an object ──► rules, each with its scope:
//	                                               all hosts, one host, all but one
//	            ──index──► a host's bindings and neighbours
//
// Host does it once and from scratch. A Compiler keeps the result and, given
// changes, compiles again only the units that depend on what changed; it answers
// with a flow.Change for each host. Both give the same configuration: that is a
// property test.
//
// All networks are preprogrammed on all hosts: a host has the rules of every
// switch and router, and differs from the others only in what is local to it.
//
// A packet's way through the tables, same switch and over a router:
//
//	port ─► 0 ─► 1 ─► 3 ─► 4 ─► 6 ─► 7 ─┬─► 8 ─► 20..22 ─► 23 ─┬─► port
//	             ▲         └─ARP reply─►┘└─► 97 ─► 94 tunnel    │
//	             │                                              ▼
//	             └── 58 ◄─ 57 ◄─ 55 ◄─ 54..50 ◄─ 39 ◄─ 38 ◄─ 37 ◄─ 36..30
//	tunnel ─► 0 ─► 98 ─► 99 ─► 20
//
// Invariants: the result follows from the network alone, in a fixed order. A rule
// carries the cookie of its object, the same in every controller. No two rules of
// a host share an identity and no two bindings a number, even if the network is
// not valid: what the store holds is not trusted, and references to what is not
// there give no rules.
//
// vmc calls it: one Compiler, one goroutine at a time.
package compile
