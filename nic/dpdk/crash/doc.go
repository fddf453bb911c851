// Package crash has ways for a process to die in C code. It is empty but in a build with the tag
// faults, which tests make, see cmd/batond.
package crash
