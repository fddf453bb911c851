package worker

import (
	"testing"

	"pgregory.net/rapid"

	"baton/dataplane/buf"
)

// TestRing holds a ring against a slice.
func TestRing(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		size := rapid.IntRange(1, 100).Draw(rt, "size")
		r := newRing(size)
		var twin []parcel
		next := uint32(0)
		for range rapid.IntRange(1, 60).Draw(rt, "steps") {
			if rapid.Bool().Draw(rt, "put") {
				var b batch
				b.begin(uint16(next))
				for range rapid.IntRange(0, buf.Burst).Draw(rt, "n") {
					b.add(nil, next)
					next++
				}
				n := r.put(&b, 7)
				if n != min(b.n, len(r.slots)-len(twin)) {
					rt.Fatalf("%d of %d taken with %d of %d places used", n, b.n, len(twin), len(r.slots))
				}
				for i := range n {
					twin = append(twin, parcel{in: b.in, hash: b.hash[i], out: 7})
				}
				continue
			}
			from, to := r.span()
			take := rapid.Uint64Range(0, to-from).Draw(rt, "take")
			for i := range take {
				if *r.at(from + i) != twin[i] {
					rt.Fatalf("parcel %d: %+v, want %+v", i, *r.at(from + i), twin[i])
				}
			}
			r.release(from + take)
			twin = twin[take:]
			if r.held() != len(twin) || r.empty() != (len(twin) == 0) {
				rt.Fatalf("%d held, want %d", r.held(), len(twin))
			}
		}
	})
}
