package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// A section on the wire, little endian:
//
//	first frame                                    each further one
//	0  u8  1                                       0  u8  2
//	1  u8  flags: 1 mandatory                      1  ... bytes of the payload
//	2  u16 kind
//	4  u16 version
//	6  u16 descriptors, in all
//	8  u32 payload length, in all
//	12 ... bytes of the payload
const (
	frameFirst = 1
	frameMore  = 2

	flagMandatory = 1

	firstSize = 12
	moreSize  = 1
	maxFrame  = 32 << 10 // well below a socket's buffer
	maxRights = 250      // of the kernel's 253 (SCM_MAX_FD)
)

// Limits of a section.
const (
	MaxPayload = 64 << 20
	MaxFiles   = 1024
)

// Kind names what a section is about.
type Kind uint16

// Tag is what is known of a section before it comes.
type Tag struct {
	Kind      Kind   `json:"kind"`
	Version   uint16 `json:"version"`
	Mandatory bool   `json:"mandatory"` // who does not know it must not take over
}

func (t Tag) String() string { return fmt.Sprintf("section %d version %d", t.Kind, t.Version) }

// Section is a piece of state.
type Section struct {
	Tag
	Payload []byte
	Files   []int // descriptors
}

// ErrFormat is the error for a peer that speaks something else.
var ErrFormat = errors.New("wire: not a frame of a section")

// first is the head of a section's first frame.
func (s *Section) first() []byte {
	b := make([]byte, firstSize, maxFrame)
	b[0] = frameFirst
	if s.Mandatory {
		b[1] = flagMandatory
	}
	binary.LittleEndian.PutUint16(b[2:], uint16(s.Kind))
	binary.LittleEndian.PutUint16(b[4:], s.Version)
	binary.LittleEndian.PutUint16(b[6:], uint16(len(s.Files)))
	binary.LittleEndian.PutUint32(b[8:], uint32(len(s.Payload)))
	return b
}

// size is what a section's first frame promises.
type size struct{ payload, files int }

// parseFirst reads a first frame; rest is what it has of the payload.
//
//	error: ErrFormat
func parseFirst(b []byte) (t Tag, n size, rest []byte, err error) {
	if len(b) < firstSize || b[0] != frameFirst || b[1]&^flagMandatory != 0 {
		return t, n, nil, ErrFormat
	}
	t = Tag{Kind: Kind(binary.LittleEndian.Uint16(b[2:])), Version: binary.LittleEndian.Uint16(b[4:]), Mandatory: b[1] == flagMandatory}
	n = size{files: int(binary.LittleEndian.Uint16(b[6:])), payload: int(binary.LittleEndian.Uint32(b[8:]))}
	if n.payload > MaxPayload || n.files > MaxFiles || len(b)-firstSize > n.payload {
		return t, n, nil, fmt.Errorf("%w: %v with %d bytes and %d descriptors", ErrFormat, t, n.payload, n.files)
	}
	return t, n, b[firstSize:], nil
}

// parseMore reads a further frame.
//
//	error: ErrFormat
func parseMore(b []byte) (rest []byte, err error) {
	if len(b) < moreSize || b[0] != frameMore {
		return nil, ErrFormat
	}
	return b[moreSize:], nil
}
