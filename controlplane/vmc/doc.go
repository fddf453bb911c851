// Package vmc turns changes of the logical network into what each host must
// have. It watches the store, and feeds ofe through the incremental compiler.
//
//	store.Watch ──► State ──► queue of network A ─┐
//	                      ├─► queue of network B ─┼─ round robin, a slice each ─► Compiler ─► Sink (ofe)
//	                      └─► queue of hosts ─────┘
//
// A virtual network is a set of switches and routers that ports join. Each has a
// queue of its own, and the queues take turns with a bounded slice of work, so
// that one tenant's churn delays another's change by at most one slice for each
// network that is busy.
//
// A queue holds names, not values: an object is read when its turn comes. So
// many changes of one object cost one compilation, an object may stand in two
// queues (its network changed), and the order between queues does not matter.
//
// Invariants: one goroutine owns the compiler; what the sink has been told is
// what the compiler has; Processed(r) means that every change up to revision r
// was told to the sink.
//
// Later: ownership of networks by several controllers narrows which queues a
// controller serves; nothing else in here knows how many controllers there are.
package vmc
