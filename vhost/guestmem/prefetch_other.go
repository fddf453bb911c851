//go:build !amd64 || purego

package guestmem

// Prefetch starts loading spans that are about to be used, where the platform has an
// instruction for it.
func Prefetch([]Span, bool) {}
