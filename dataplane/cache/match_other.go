//go:build !amd64 || purego

package cache

import (
	"unsafe"

	"baton/dataplane/buf"
)

func prefetchLines(unsafe.Pointer, int)                         {}
func prefetchStamps(*stamps, *[buf.Burst]uint64, int, uint)     {}
func prefetchEntry(*Entry)                                      {}
func prefetchMega(*megaBucket, *[buf.Burst]uint64, int, uint)   {}
func prefetchMicro(*microBucket, *[buf.Burst]uint64, int, uint) {}

// matchMega is plainMega.
func matchMega(buckets *megaBucket, _ *Entry, hashes *[buf.Burst]uint64, ways *[buf.Burst]uint32, n int, shift uint) {
	plainMega(buckets, hashes, ways, n, shift)
}

// matchMicro is plainMicro.
func matchMicro(buckets *microBucket, _ *Entry, hashes *[buf.Burst]uint64, ways *[buf.Burst]uint32, n int, shift uint) {
	plainMicro(buckets, hashes, ways, n, shift)
}
