package table

import (
	"math/bits"

	"baton/dataplane/flow"
)

// stages are the words of flow.Fields in the order in which they are looked at,
// what says most about the rest first: registers, link layer with ingress and
// tunnel, IP addresses, then protocol and ports.
var stages = [...]struct{ from, to int }{
	{flow.KeyWords, flow.FieldWords}, {0, 5}, {5, 9}, {9, flow.KeyWords},
}

const (
	numStages  = 4
	stageWords = 6                          // words of the longest stage
	wordBits   = uint8(flow.FieldWords - 1) // for indices of words: there is a power of two of them
)

var _ [0]byte = [flow.FieldWords & (flow.FieldWords - 1)]byte{}

// words are a mask as the list of its words that are not zero, stage after stage.
// Stages without any are left out; a mask of nothing has one stage of no words.
type words struct {
	num  uint8                   // stages, 1 to numStages
	ends [numStages]uint8        // where in the list the words of each end
	at   [flow.FieldWords]uint8  // which word of the fields
	bits [flow.FieldWords]uint64 // the mask's word
}

// wordsOf is the list of m's words.
func wordsOf(m *flow.Fields) (k words) {
	w, n := m.Words(), uint8(0)
	for _, s := range stages {
		before := n
		for i := s.from; i < s.to; i++ {
			if w[i] != 0 {
				k.at[n], k.bits[n] = uint8(i), w[i]
				n++
			}
		}
		if n > before {
			k.ends[k.num] = n
			k.num++
		}
	}
	k.num = max(k.num, 1)
	return k
}

// stage is the part of the list that belongs to a stage.
func (k *words) stage(n uint8) (from, to uint8) {
	if n > 0 {
		from = k.ends[n-1]
	}
	return from, k.ends[n]
}

// hash is a hash of what f has in the words of a stage.
func (k *words) hash(f *flow.Fields, stage uint8) uint64 {
	h, w := hashSeed, f.Words()
	from, to := k.stage(stage)
	for i := from; i < to; i++ {
		h = mix(h, w[k.at[i&wordBits]&wordBits]&k.bits[i&wordBits])
	}
	return h
}

const hashSeed = uint64(0x9e3779b97f4a7c15)

// mix is the hash h with one more word. Both of its halves of the product count, so
// that no bit of the word is lost.
func mix(h, word uint64) uint64 {
	hi, lo := bits.Mul64(h^word, 0xd1b54a32d192ed03)
	return hi ^ lo + h
}

// packed is what fields have in the words of a stage, in the order of the list.
type packed [stageWords]uint64

// pack is what f has in the words of a stage.
func (k *words) pack(f *flow.Fields, stage uint8) (p packed) {
	w := f.Words()
	from, to := k.stage(stage)
	for i := from; i < to; i++ {
		p[i-from] = w[k.at[i]] & k.bits[i]
	}
	return p
}

// has reports whether f has p in the words of a stage.
func (k *words) has(f *flow.Fields, p *packed, stage uint8) bool {
	w := f.Words()
	from, to := k.stage(stage)
	p2 := p[:]
	for i := from; i < to && len(p2) > 0; i++ {
		if w[k.at[i&wordBits]&wordBits]&k.bits[i&wordBits] != p2[0] {
			return false
		}
		p2 = p2[1:]
	}
	return true
}

// agree reports whether f has what v, which has no bit outside the mask, has in the
// words of a stage.
func (k *words) agree(f, v *flow.Fields, stage uint8) bool {
	w, x := f.Words(), v.Words()
	from, to := k.stage(stage)
	for i := from; i < to; i++ {
		at := k.at[i&wordBits] & wordBits
		if w[at]&k.bits[i&wordBits] != x[at] {
			return false
		}
	}
	return true
}
