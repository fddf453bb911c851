// Package suite makes the trials of a comparison, of systems that it knows by an interface
// only, and says which are disturbed and which the generator limits.
//
// Two systems take turns (A B A B ...), so that what changes with time hits both. A
// ratio compares trials of one machine state only.
package suite
