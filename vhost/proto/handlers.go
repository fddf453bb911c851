package proto

import (
	"errors"
	"fmt"
)

// Why a well-formed message is refused. The peer learns it by a reply-ack other
// than zero, or, where the table says so, by the end of the session.
var (
	ErrUnknownBits = errors.New("features that were not offered")
	ErrRingIndex   = errors.New("no such ring")
	ErrFDs         = errors.New("wrong number of file descriptors")
	// ErrFDKind comes with QEMU's memory-backend-file on a disk, most of all.
	ErrFDKind = errors.New("want eventfds and memory that is in memory: use memory-backend-memfd, /dev/shm or huge pages")
)

func getFeatures(s *Session, _ *Message) ([]byte, error) {
	return s.replyU64(s.backend.Features()), nil
}

func setFeatures(s *Session, m *Message) ([]byte, error) {
	v, err := DecodeU64(m.Payload)
	if err != nil {
		return nil, err
	}
	if extra := v &^ s.backend.Features(); extra != 0 {
		return nil, fmt.Errorf("%w: %#x", ErrUnknownBits, extra)
	}
	return nil, s.backend.SetFeatures(v)
}

func getProtocolFeatures(s *Session, _ *Message) ([]byte, error) {
	return s.replyU64(s.backend.ProtocolFeatures()), nil
}

func setProtocolFeatures(s *Session, m *Message) ([]byte, error) {
	v, err := DecodeU64(m.Payload)
	if err != nil {
		return nil, err
	}
	if extra := v &^ s.backend.ProtocolFeatures(); extra != 0 {
		return nil, fmt.Errorf("%w: %#x", ErrUnknownBits, extra)
	}
	if err := s.backend.SetProtocolFeatures(v); err != nil {
		return nil, err
	}
	s.state.ProtocolFeatures = v
	return nil, nil
}

func setOwner(s *Session, _ *Message) ([]byte, error) { return nil, s.backend.SetOwner() }

// resetOwner does nothing, as the specification recommends: front ends that send it at a
// guest's reset go on with features, memory and rings as they are, and stop rings by
// GET_VRING_BASE.
func resetOwner(*Session, *Message) ([]byte, error) { return nil, nil }

func resetDevice(s *Session, _ *Message) ([]byte, error) { return nil, s.backend.Reset() }

func getQueueNum(s *Session, _ *Message) ([]byte, error) {
	return s.replyU64(uint64(s.backend.NumQueuePairs())), nil
}

func setMemTable(s *Session, m *Message) ([]byte, error) {
	regions, err := DecodeMemTable(m.Payload)
	if err != nil {
		return nil, err
	}
	if len(m.FDs) != len(regions) {
		return nil, fmt.Errorf("%w: %d for %d regions", ErrFDs, len(m.FDs), len(regions))
	}
	for i := range regions {
		regions[i].FD = m.TakeFD(i)
	}
	return nil, s.backend.SetMemTable(regions)
}

func getMaxMemSlots(s *Session, _ *Message) ([]byte, error) {
	return s.replyU64(uint64(s.backend.MaxMemSlots())), nil
}

func addMemReg(s *Session, m *Message) ([]byte, error) {
	r, err := DecodeMemReg(m.Payload)
	if err != nil {
		return nil, err
	}
	r.FD = m.TakeFD(0)
	return nil, s.backend.AddMemRegion(r)
}

// remMemReg leaves a descriptor that comes along to be closed: QEMU before 8.0
// sends one, the specification none.
func remMemReg(s *Session, m *Message) ([]byte, error) {
	r, err := DecodeMemReg(m.Payload)
	if err != nil {
		return nil, err
	}
	return nil, s.backend.RemMemRegion(r)
}

// ring checks a ring index in all its bits: cutting it to 16 first was a hole in
// another back end (CVE-2020-10723).
func (s *Session) ring(index uint64) (int, error) {
	if n := s.backend.NumRings(); index >= uint64(n) {
		return 0, fmt.Errorf("%w: %d of %d", ErrRingIndex, index, n)
	}
	return int(index), nil
}

// vringState decodes a ring state and checks its index.
func (s *Session) vringState(m *Message) (ring int, num uint32, err error) {
	v, err := DecodeVringState(m.Payload)
	if err != nil {
		return 0, 0, err
	}
	ring, err = s.ring(uint64(v.Index))
	return ring, v.Num, err
}

func setVringNum(s *Session, m *Message) ([]byte, error) {
	ring, num, err := s.vringState(m)
	if err != nil {
		return nil, err
	}
	return nil, s.backend.SetVringNum(ring, num)
}

func setVringAddr(s *Session, m *Message) ([]byte, error) {
	a, err := DecodeVringAddr(m.Payload)
	if err != nil {
		return nil, err
	}
	if _, err := s.ring(uint64(a.Index)); err != nil {
		return nil, err
	}
	return nil, s.backend.SetVringAddr(a)
}

func setVringBase(s *Session, m *Message) ([]byte, error) {
	ring, base, err := s.vringState(m)
	if err != nil {
		return nil, err
	}
	return nil, s.backend.SetVringBase(ring, base)
}

// getVringBase does not look at the number that comes along: virtio_user sends
// what it finds on its stack.
func getVringBase(s *Session, m *Message) ([]byte, error) {
	ring, _, err := s.vringState(m)
	if err != nil {
		return nil, err
	}
	base, err := s.backend.GetVringBase(ring)
	if err != nil {
		return nil, err
	}
	return AppendVringState(s.reply[:0], VringState{Index: uint32(ring), Num: base}), nil
}

// vringFD decodes the payload of the three messages that bring a ring's eventfd
// and takes the eventfd, -1 if the ring is to be polled.
func (s *Session) vringFD(m *Message) (ring, fd int, err error) {
	v, err := DecodeU64(m.Payload)
	if err != nil {
		return 0, -1, err
	}
	ring, err = s.ring(v &^ VringNoFD)
	if err != nil {
		return 0, -1, err
	}
	want := 1
	if v&VringNoFD != 0 {
		want = 0
	}
	if len(m.FDs) != want {
		return 0, -1, fmt.Errorf("%w: %d, not %d", ErrFDs, len(m.FDs), want)
	}
	return ring, m.TakeFD(0), nil
}

func setVringKick(s *Session, m *Message) ([]byte, error) {
	ring, fd, err := s.vringFD(m)
	if err != nil {
		return nil, err
	}
	return nil, s.backend.SetVringKick(ring, fd)
}

func setVringCall(s *Session, m *Message) ([]byte, error) {
	ring, fd, err := s.vringFD(m)
	if err != nil {
		return nil, err
	}
	return nil, s.backend.SetVringCall(ring, fd)
}

func setVringErr(s *Session, m *Message) ([]byte, error) {
	ring, fd, err := s.vringFD(m)
	if err != nil {
		return nil, err
	}
	return nil, s.backend.SetVringErr(ring, fd)
}

func setVringEnable(s *Session, m *Message) ([]byte, error) {
	ring, num, err := s.vringState(m)
	if err != nil {
		return nil, err
	}
	if num > 1 {
		return nil, fmt.Errorf("%w: enable is %d, not 0 or 1", ErrPayload, num)
	}
	return nil, s.backend.SetVringEnable(ring, num == 1)
}

func netSetMTU(s *Session, m *Message) ([]byte, error) {
	v, err := DecodeU64(m.Payload)
	if err != nil {
		return nil, err
	}
	if v > 0xffff {
		return nil, fmt.Errorf("%w: MTU %d", ErrPayload, v)
	}
	return nil, s.backend.SetMTU(uint16(v))
}

// sendRARP reads the MAC address from the low six bytes of the word, in memory order.
func sendRARP(s *Session, m *Message) ([]byte, error) {
	if len(m.Payload) != sizeU64 {
		return nil, sizeError(len(m.Payload), sizeU64)
	}
	return nil, s.backend.SendRARP([6]byte(m.Payload[:6]))
}

func setBackendReqFD(s *Session, m *Message) ([]byte, error) {
	err := s.backend.SetBackendReqFD(m.FDs[0])
	if err == nil {
		m.TakeFD(0)
	}
	return nil, err
}

// setStatus leaves it to the device that status 0 is a reset (virtio 1.2, 2.1.2).
func setStatus(s *Session, m *Message) ([]byte, error) {
	v, err := DecodeU64(m.Payload)
	if err != nil {
		return nil, err
	}
	if v > 0xff {
		return nil, fmt.Errorf("%w: status %#x", ErrPayload, v)
	}
	return nil, s.backend.SetStatus(uint8(v))
}

func getStatus(s *Session, _ *Message) ([]byte, error) {
	return s.replyU64(uint64(s.backend.Status())), nil
}

// setLogBase answers with an empty payload: QEMU compares the request's number
// and nothing else.
func setLogBase(s *Session, m *Message) ([]byte, error) {
	size, offset, err := DecodeLog(m.Payload)
	if err != nil {
		return nil, err
	}
	return nil, s.backend.SetLogBase(size, offset, m.TakeFD(0))
}

func setLogFD(s *Session, m *Message) ([]byte, error) {
	return nil, s.backend.SetLogFD(m.TakeFD(0))
}
