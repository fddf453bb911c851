package cache

import (
	"math/rand/v2"
	"testing"

	"baton/dataplane/buf"
	"baton/dataplane/flow"
)

// TestMatchIsPlain: the ways that the assembly finds are those that the plain code finds.
func TestMatchIsPlain(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	const buckets, shift = 16, 60
	mega, micro := make([]megaBucket, buckets), make([]microBucket, buckets)
	entries := make([]Entry, buckets*megaWays)
	for range 2000 {
		var hashes [buf.Burst]uint64
		for i := range hashes {
			hashes[i] = r.Uint64()
			// Few tags and signatures, so that they agree now and then, in several ways too.
			hashes[i] = hashes[i]&^0xffffffff | r.Uint64()&3<<1 | r.Uint64()&1<<31
			mega[hashes[i]>>shift][r.IntN(megaWays)] = uint16(r.Uint32()) & 7
			b := &micro[hashes[i]>>shift]
			way := r.IntN(microWays)
			b.sig[way], b.entry[way] = uint32(r.Uint64()&3<<1|r.Uint64()&1<<31), uint32(r.IntN(len(entries)))
		}
		n := r.IntN(buf.Burst + 1)
		var got, want [2][buf.Burst]uint32
		prefetchMega(&mega[0], &hashes, n, shift)
		matchMega(&mega[0], &entries[0], &hashes, &got[0], n, shift)
		plainMega(&mega[0], &hashes, &want[0], n, shift)
		prefetchMicro(&micro[0], &hashes, n, shift)
		matchMicro(&micro[0], &entries[0], &hashes, &got[1], n, shift)
		plainMicro(&micro[0], &hashes, &want[1], n, shift)
		if got != want {
			t.Fatalf("%d hashes %x: ways\n%x, plain\n%x", n, hashes, got, want)
		}
	}
}

// TestDifferAllIsEqual: comparing keys with one at once finds those that equal finds, at
// whatever bit they differ.
func TestDifferAllIsEqual(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	same, other := 0, 0
	for range 500 {
		var keys [buf.Burst]flow.Key
		var m flow.Key
		for w := range m.Words() {
			if r.IntN(2) == 0 {
				m.Words()[w] = r.Uint64()
			}
			keys[0].Words()[w] = r.Uint64()
		}
		for i := range keys {
			keys[i] = keys[0]
			for range r.IntN(3) {
				keys[i].Words()[r.IntN(flow.KeyWords)] ^= 1 << r.IntN(64)
			}
		}
		s := sparseOf(&m)
		p := s.pack(&keys[0])
		var diff [buf.Burst]uint64
		for i := range diff {
			diff[i] = r.Uint64()
		}
		n := r.IntN(buf.Burst + 1)
		s.differAll(&keys, n, &p, &diff)
		for j := range n {
			if (diff[j] == 0) != s.equal(&keys[j], &p) {
				t.Fatalf("mask %x: %x and %x differ in %x", m, keys[j], p, diff[j])
			}
			if diff[j] == 0 {
				same++
			} else {
				other++
			}
		}
	}
	if same < 1000 || other < 1000 {
		t.Fatalf("%d equal, %d not", same, other)
	}
}

// TestHashAllIsHash: hashing a list of keys at once gives the hash of each, and what is
// hashed is what the mask covers.
func TestHashAllIsHash(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 500 {
		var keys [buf.Burst]flow.Key
		for i := range keys {
			for w := range keys[i].Words() {
				keys[i].Words()[w] = r.Uint64() & 0xff
			}
		}
		var m flow.Key
		for w := range m.Words() {
			if r.IntN(2) == 0 {
				m.Words()[w] = r.Uint64()
			}
		}
		var list [buf.Burst]uint8
		n := r.IntN(buf.Burst + 1)
		for j := range n {
			list[j] = uint8(r.IntN(buf.Burst))
		}
		s, seed := sparseOf(&m), r.Uint64()
		var h [buf.Burst]uint64
		s.hashAll(&keys, &list, n, seed, &h)
		for j := range n {
			k := &keys[list[j]]
			masked := k.Masked(&m)
			p := s.pack(k)
			if h[j] != s.hash(k, seed) || h[j] != s.hash(&masked, seed) {
				t.Fatalf("mask %x: hashes %x and %x of %x", m, h[j], s.hash(k, seed), *k)
			}
			if u := s.unpack(&p); *u.Words() != *masked.Words() || !s.equal(k, &p) {
				t.Fatalf("mask %x: key %x packs to %x", m, *k, s.unpack(&p))
			}
			other := *k
			other.Words()[r.IntN(flow.KeyWords)] ^= 1 << r.IntN(64)
			if o := other.Masked(&m); s.equal(&other, &p) != (*o.Words() == *masked.Words()) {
				t.Fatalf("mask %x: %x is taken for %x", m, other, *k)
			}
		}
	}
}

// TestHashSpreads: keys that differ as neighbouring addresses do fill all buckets alike.
func TestHashSpreads(t *testing.T) {
	all := [16]byte{255, 255, 255, 255}
	for _, m := range []flow.Key{{EthType: 0xffff, IPDst: all, L4Dst: 0xffff}, {EthType: 0xffff, IPSrc: [16]byte{0x80}, IPDst: all, L4Dst: 0xffff}} {
		s := sparseOf(&m)
		for seed := range uint64(20) {
			spreads(t, &s, seed)
		}
	}
}

// spreads puts sets of keys under a mask into buckets.
func spreads(t *testing.T, s *sparse, seed uint64) {
	for shape, key := range map[string]func(n int) flow.Key{
		"addresses": func(n int) flow.Key {
			return flow.Key{EthType: 0x800, IPDst: [16]byte{10, byte(n >> 16), byte(n >> 8), byte(n)}}
		},
		"ports": func(n int) flow.Key { return flow.Key{EthType: 0x800, L4Dst: uint16(n)} },
		"both": func(n int) flow.Key {
			return flow.Key{EthType: 0x800, IPDst: [16]byte{10, 0, 0, byte(n)}, L4Dst: uint16(n >> 8)}
		},
	} {
		const num, buckets, shift = 16384, 2048, 64 - 11
		var fill [buckets]int
		most := 0
		for n := range num {
			k := key(n)
			b := &fill[s.hash(&k, seed)>>shift]
			*b++
			most = max(most, *b)
		}
		if most > 30 { // 8 on average; above 30 at random: one in a million
			t.Errorf("seed %d, %s: %d of %d keys in one of %d buckets", seed, shape, most, num, buckets)
		}
	}
}
