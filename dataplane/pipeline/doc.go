// Package pipeline has the ordered tables that a packet walks on a cache miss,
// and the slow path that walks them.
//
//	Apply(Change) --> Snapshot: tables, bindings, neighbours, generation
//	                     |
//	      key --Walk-----+--> action.List, mask of the bits it depends on, rules used
//
// A Snapshot never changes; Apply makes the next one and publishes it by one
// store of a pointer. A worker loads the pointer once a burst. Cached results
// carry the generation of their snapshot: one of another generation must be
// walked again before it is used.
//
// Invariants: packets that agree in the bits of Result.Mask get the same result
// in the same snapshot. A failed Apply changes nothing. A walk ends within
// MaxSteps tables.
package pipeline
