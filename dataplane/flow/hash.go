package flow

import "math/bits"

// Odd constants with about half of their bits set, one for each pair of words,
// so that equal words at different places do not cancel out.
const (
	mix0 = 0x9e3779b97f4a7c15
	mix1 = 0xd1b54a32d192ed03
	mix2 = 0x8cb92ba72f3d8dd7
	mix3 = 0xaaaaaaaaa5a5a5a7
	mix4 = 0xf1357aea2e62a9c5
	mix5 = 0x2545f4914f6cdd1d
)

// fold is the 128-bit product of a and b, folded into 64 bits.
func fold(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

// Hash is a 64-bit hash of the whole key: multiply and mix over its ten words.
// It is not for cryptography, but seed (random for each process) goes into both
// factors of each product, so that a guest cannot make one of them zero or compute
// collisions beforehand.
//
//	alloc: 0
func Hash(k *Key, seed uint64) uint64 {
	w, turned := k.Words(), bits.RotateLeft64(seed, 32)
	h := fold(w[0]^mix0^seed, w[1]^mix1^turned)
	h ^= fold(w[2]^mix1^seed, w[3]^mix2^turned)
	h ^= fold(w[4]^mix2^seed, w[5]^mix3^turned)
	h ^= fold(w[6]^mix3^seed, w[7]^mix4^turned)
	h ^= fold(w[8]^mix4^seed, w[9]^mix5^turned)
	return fold(h^mix5, seed|mix0)
}

// HashMasked is Hash of k under mask m.
//
//	alloc: 0
func HashMasked(k, m *Key, seed uint64) uint64 {
	w, x, turned := k.Words(), m.Words(), bits.RotateLeft64(seed, 32)
	h := fold(w[0]&x[0]^mix0^seed, w[1]&x[1]^mix1^turned)
	h ^= fold(w[2]&x[2]^mix1^seed, w[3]&x[3]^mix2^turned)
	h ^= fold(w[4]&x[4]^mix2^seed, w[5]&x[5]^mix3^turned)
	h ^= fold(w[6]&x[6]^mix3^seed, w[7]&x[7]^mix4^turned)
	h ^= fold(w[8]&x[8]^mix4^seed, w[9]&x[9]^mix5^turned)
	return fold(h^mix5, seed|mix0)
}

// PathHash is a hash of what the packets of one flow have in common and those of others
// have not: MAC and IP addresses, protocol and ports. Where it comes in by, and DSCP and
// ECN, which may change on the way, do not count. It chooses among paths and queues.
//
//	alloc: 0
func PathHash(k *Key, seed uint64) uint64 {
	const class = 0xff00 // TOS
	w, turned := k.Words(), bits.RotateLeft64(seed, 32)
	h := fold(w[3]^w[5]^mix0^seed, w[4]^w[7]^mix1^turned) ^ fold(w[6]^w[9]&^class^mix2^seed, w[8]^mix3^turned)
	// Without it, flows that differ in a few bits of a port differ in a few bits of the
	// hash, and with one seed in a hundred not in those that choose a queue.
	return fold(h^mix5, seed|mix0)
}
