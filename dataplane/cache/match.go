package cache

import (
	"unsafe"

	"baton/dataplane/buf"
)

// The functions of this file have twins in assembly that look at all ways of a
// bucket at once and start loading the entry of the first candidate.

// The assembly relies on these sizes.
var (
	_ [entrySize]byte     = [unsafe.Sizeof(Entry{})]byte{}
	_ [2 * megaWays]byte  = [unsafe.Sizeof(megaBucket{})]byte{}
	_ [8 * microWays]byte = [unsafe.Sizeof(microBucket{})]byte{}
)

// plainMega sets ways[i], for each of n hashes, to the ways of its bucket with its tag.
func plainMega(buckets *megaBucket, hashes *[buf.Burst]uint64, ways *[buf.Burst]uint32, n int, shift uint) {
	for i := range n {
		// SAFETY: a hash shifted by shift is the number of a bucket.
		b := (*megaBucket)(unsafe.Add(unsafe.Pointer(buckets), hashes[i]>>shift*uint64(unsafe.Sizeof(*buckets))))
		ways[i] = 0
		for w, t := range b {
			if t == tagOf(hashes[i]) {
				ways[i] |= 1 << w
			}
		}
	}
}

// plainMicro sets ways[i], for each of n hashes, to the ways of its bucket with its signature.
func plainMicro(buckets *microBucket, hashes *[buf.Burst]uint64, ways *[buf.Burst]uint32, n int, shift uint) {
	for i := range n {
		// SAFETY: a hash shifted by shift is the number of a bucket.
		b := (*microBucket)(unsafe.Add(unsafe.Pointer(buckets), hashes[i]>>shift*uint64(unsafe.Sizeof(*buckets))))
		ways[i] = 0
		for w, s := range &b.sig {
			if s == uint32(hashes[i]) {
				ways[i] |= 1 << w
			}
		}
	}
}
