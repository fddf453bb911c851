//go:build !purego

package guestmem

// prefetch starts loading the first two cache lines of the n spans at s, for a write
// if so.
//
//go:noescape
func prefetch(s *Span, n int, write bool)

// Prefetch starts loading the spans' first 128 bytes, which are about to be read, or
// written if write. It is one call for all, since each alone would cost more than it
// gives.
func Prefetch(spans []Span, write bool) {
	if len(spans) > 0 {
		prefetch(&spans[0], len(spans), write)
	}
}
