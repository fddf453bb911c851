//go:build !purego

package cache

import (
	"unsafe"

	"baton/dataplane/buf"
)

// prefetch starts loading the cache line of the bucket of each of n hashes: it lies
// hash>>shift&mask bytes behind base.
//
//go:noescape
func prefetch(base unsafe.Pointer, hashes *[buf.Burst]uint64, n int, shift uint, mask uint64)

// matchMega is plainMega; it starts loading the first and the third line of the
// entry in the first of the ways.
//
//go:noescape
func matchMega(buckets *megaBucket, entries *Entry, hashes *[buf.Burst]uint64, ways *[buf.Burst]uint32, n int, shift uint)

// matchMicro is plainMicro; it starts loading the first and the third line of the
// entry that the first of the ways leads to.
//
//go:noescape
func matchMicro(buckets *microBucket, entries *Entry, hashes *[buf.Burst]uint64, ways *[buf.Burst]uint32, n int, shift uint)

// prefetchEntry starts loading the lines of an entry that Sweep looks at.
//
//go:noescape
func prefetchEntry(e *Entry)

// prefetchLines starts loading num cache lines from p on.
//
//go:noescape
func prefetchLines(p unsafe.Pointer, num int)

// prefetchStamps starts loading the stamps of the buckets of n hashes.
func prefetchStamps(s *stamps, hashes *[buf.Burst]uint64, n int, shift uint) {
	prefetch(unsafe.Pointer(s), hashes, n, shift-6, ^uint64(63)) // 64 bytes a bucket
}

// prefetchMega starts loading the buckets of n hashes.
func prefetchMega(buckets *megaBucket, hashes *[buf.Burst]uint64, n int, shift uint) {
	prefetch(unsafe.Pointer(buckets), hashes, n, shift-5, ^uint64(31)) // a bucket is 32 bytes
}

// prefetchMicro starts loading the buckets of n hashes.
func prefetchMicro(buckets *microBucket, hashes *[buf.Burst]uint64, n int, shift uint) {
	prefetch(unsafe.Pointer(buckets), hashes, n, shift-6, ^uint64(63)) // a bucket is 64 bytes
}
