//go:build !amd64 || purego

package guestmem

import "unsafe"

// Prefetch starts loading spans that are about to be used, where the platform has an
// instruction for it.
func Prefetch([]Span, bool) {}

func prefetchRange(unsafe.Pointer, uintptr, bool) {}
