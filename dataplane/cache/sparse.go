package cache

import (
	"math/bits"

	"baton/dataplane/buf"
	"baton/dataplane/flow"
)

// sparse is a mask as the list of its words that are not zero, of which there
// are few: hashing and comparing go over these only.
type sparse struct {
	num  uint                      // words in use
	at   [flow.KeyWords + 1]uint8  // which word of a key; 0 where not in use
	bits [flow.KeyWords + 1]uint64 // the mask's word; 0 where not in use
}

// sparseOf is the list of m's words.
func sparseOf(m *flow.Key) (s sparse) {
	for i, w := range m.Words() {
		if w != 0 {
			s.at[s.num], s.bits[s.num] = uint8(i), w
			s.num++
		}
	}
	return s
}

// packed is what a key has in the bits of a mask: the words in the order of its sparse.
type packed [flow.KeyWords]uint64

// pack is what k has in the bits of s.
func (s *sparse) pack(k *flow.Key) (p packed) {
	w := k.Words()
	for i := range s.num {
		p[i] = w[s.at[i]] & s.bits[i]
	}
	return p
}

// unpack is p as a key.
func (s *sparse) unpack(p *packed) (k flow.Key) {
	w := k.Words()
	for i := range s.num {
		w[s.at[i]] = p[i]
	}
	return k
}

// equal reports whether k has p in the bits of s.
func (s *sparse) equal(k *flow.Key, p *packed) bool {
	w := k.Words()
	var diff uint64
	for i := range min(s.num, uint(flow.KeyWords)) {
		diff |= w[s.at[i]]&s.bits[i] ^ p[i]
	}
	return diff == 0
}

// differAll finds out in what the first n keys differ from p in the bits of s: it goes
// through them once for each pair of words, without any branch that depends on a key.
//
//	out: diff[:n], 0 where equal says true
func (s *sparse) differAll(keys *[buf.Burst]flow.Key, n int, p *packed, diff *[buf.Burst]uint64) {
	n = min(n, buf.Burst)
	if s.num == 0 {
		clear(diff[:])
	}
	for i := uint(0); i < s.num && i < uint(flow.KeyWords)-1; i += 2 {
		ia, ib := uint(s.at[i]), uint(s.at[i+1])
		if ia >= uint(flow.KeyWords) || ib >= uint(flow.KeyWords) { // never: it spares the loops the check
			return
		}
		ma, mb, pa, pb := s.bits[i], s.bits[i+1], p[i], p[i+1] // an odd one's partner is 0 in both
		if i == 0 {
			for j := range n {
				w := keys[j].Words()
				diff[j] = (w[ia]&ma ^ pa) | (w[ib]&mb ^ pb)
			}
			continue
		}
		for j := range n {
			w := keys[j].Words()
			diff[j] |= (w[ia]&ma ^ pa) | (w[ib]&mb ^ pb)
		}
	}
}

// Odd constants with about half of their bits set, a pair for each pair of words,
// so that equal words at different places do not cancel out.
var mix = [flow.KeyWords + 2]uint64{
	0x9e3779b97f4a7c15, 0xd1b54a32d192ed03, 0x8cb92ba72f3d8dd7, 0xaaaaaaaaa5a5a5a7, 0xf1357aea2e62a9c5, 0x2545f4914f6cdd1d,
	0xbf58476d1ce4e5b9, 0x94d049bb133111eb, 0xe7037ed1a0b428db, 0x589965cc75374cc3, 0x1d8e4e27c47d124f, 0xeb44accab455d165,
}

// hash is a hash of what k has in the bits of s: the words in pairs, each pair
// multiplied and folded, with seed (random for each process) in both factors, so
// that a guest cannot compute collisions beforehand.
func (s *sparse) hash(k *flow.Key, seed uint64) (h uint64) {
	w, turned := k.Words(), bits.RotateLeft64(seed, 32)
	for i := uint(0); i < s.num; i += 2 {
		a, b := w[s.at[i]]&s.bits[i], w[s.at[i+1]]&s.bits[i+1]
		hi, lo := bits.Mul64(a^mix[i]^seed, b^mix[i+1]^turned)
		h ^= hi ^ lo
	}
	return finish(h, seed)
}

// finish spreads what differs over all bits: without it, keys that differ in a few bits of
// one word only, as neighbouring addresses do, share few buckets.
func finish(h, seed uint64) uint64 {
	hi, lo := bits.Mul64(h^mix[0], seed|mix[1])
	return hi ^ lo
}

// hashAll is hash of the keys with the numbers list[:n]; it goes through them once
// for each pair of words, without any branch that depends on a key.
//
//	out: h[:n]
func (s *sparse) hashAll(keys *[buf.Burst]flow.Key, list *[buf.Burst]uint8, n int, seed uint64, h *[buf.Burst]uint64) {
	turned := bits.RotateLeft64(seed, 32)
	n = min(n, buf.Burst)
	if s.num == 0 {
		clear(h[:])
	}
	for p := uint(0); p < s.num && p < uint(flow.KeyWords); p += 2 {
		ia, ib := uint(s.at[p]), uint(s.at[p+1])
		if ia >= uint(flow.KeyWords) || ib >= uint(flow.KeyWords) { // never: it spares the loops the check
			return
		}
		ma, mb, xa, xb := s.bits[p], s.bits[p+1], mix[p]^seed, mix[p+1]^turned
		if p == 0 {
			for j := range n {
				w := keys[list[j]&(buf.Burst-1)].Words()
				hi, lo := bits.Mul64(w[ia]&ma^xa, w[ib]&mb^xb)
				h[j] = hi ^ lo
			}
			continue
		}
		for j := range n {
			w := keys[list[j]&(buf.Burst-1)].Words()
			hi, lo := bits.Mul64(w[ia]&ma^xa, w[ib]&mb^xb)
			h[j] ^= hi ^ lo
		}
	}
	for j := range n {
		h[j] = finish(h[j], seed)
	}
}
