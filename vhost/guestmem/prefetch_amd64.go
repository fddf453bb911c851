//go:build !purego

package guestmem

import "unsafe"

// prefetch starts loading the first two cache lines of the n spans at s, for a write
// if so.
//
//go:noescape
func prefetch(s *Span, n int, write bool)

// prefetchRange starts loading the cache lines of the n bytes at p, for a write if so.
//
//go:noescape
func prefetchRange(p unsafe.Pointer, n uintptr, write bool)

// Prefetch starts loading the spans' first 128 bytes, which are about to be read, or
// written if write. It is one call for all, since each alone would cost more than it
// gives.
func Prefetch(spans []Span, write bool) {
	if len(spans) > 0 {
		prefetch(&spans[0], len(spans), write)
	}
}
