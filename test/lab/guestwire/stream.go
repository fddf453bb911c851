package guestwire

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"io"
)

// Stream is an endless reader of pseudo-random bytes that depend on the seed
// alone (SplitMix64), so that a transfer is checked without sending it twice.
type Stream struct {
	state uint64
	rest  [8]byte
	have  int // bytes of rest not yet read
}

// NewStream starts the stream of seed.
func NewStream(seed uint64) *Stream { return &Stream{state: seed} }

// next is SplitMix64.
func (s *Stream) next() uint64 {
	s.state += 0x9e3779b97f4a7c15
	z := s.state
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// Read fills p and never fails.
func (s *Stream) Read(p []byte) (int, error) {
	n := copy(p, s.rest[8-s.have:])
	s.have -= n
	for len(p)-n >= 8 {
		binary.LittleEndian.PutUint64(p[n:], s.next())
		n += 8
	}
	if n < len(p) {
		binary.LittleEndian.PutUint64(s.rest[:], s.next())
		k := copy(p[n:], s.rest[:])
		s.have = 8 - k
		n += k
	}
	return n, nil
}

// Digest is the SHA-256, in hex, of the first n bytes of seed's stream.
func Digest(seed uint64, n int64) string {
	h := sha256.New()
	_, _ = io.CopyN(h, NewStream(seed), n) // neither side can fail
	return hex.EncodeToString(h.Sum(nil))
}
