//go:build !faults

package main

// faulty does nothing: only a build for tests can be told to fail.
func (h *host) faulty() {}
