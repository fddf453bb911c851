// Package suite keeps the trials of a comparison: which are disturbed, which the
// generator limits, and what the others say about two systems.
//
// Two systems take turns (A B A B ...), so that what changes with time hits both. A
// ratio compares trials of one machine state only.
package suite
