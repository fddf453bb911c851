package proto

import (
	"encoding/binary"
	"errors"
	"fmt"

	"baton/vhost/peerfd"
)

// Sizes and bounds of messages, in bytes unless said otherwise.
const (
	HeaderSize = 12 // request, flags, size: three 32-bit words
	// MaxPayload bounds the size field before anything is read. The largest
	// payload that baton understands has 264 bytes; 4 KiB leaves room to skip the
	// payload of an unknown request and stay in step.
	MaxPayload = 4096
	// MaxFDs is the most file descriptors a message may bring: one for each region
	// of SET_MEM_TABLE.
	MaxFDs = 8
	// MaxRegions is the most regions of SET_MEM_TABLE.
	MaxRegions = 8
)

// Header flags. The low two bits are the version, always 1.
const (
	FlagVersion     uint32 = 0x1
	FlagVersionMask uint32 = 0x3
	FlagReply       uint32 = 1 << 2 // set in every reply, never in a request
	FlagNeedReply   uint32 = 1 << 3 // the sender wants an acknowledgement
	// ReplyFlags is what a reply carries: QEMU and virtio_user compare for equality.
	ReplyFlags = FlagVersion | FlagReply
)

// VringNoFD, in the 64-bit payload of SET_VRING_KICK, SET_VRING_CALL and
// SET_VRING_ERR, says that the message brings no descriptor: poll. The other bits are
// the ring's index.
const VringNoFD uint64 = 1 << 8

// Sizes of payloads in bytes.
const (
	sizeU64        = 8
	sizeVringState = 8
	sizeVringAddr  = 40
	sizeRegion     = 32
	sizeTableHead  = 8
	sizeMemReg     = 8 + sizeRegion
	sizeLog        = 16
)

// Protocol errors. They end a session: after one of them nobody knows where the
// next message begins.
var (
	ErrVersion    = errors.New("header: version is not 1")
	ErrNotRequest = errors.New("header: reply flag set in a request")
	ErrTooLong    = errors.New("header: payload larger than 4096 bytes")
	ErrStrayFDs   = errors.New("file descriptors outside the first byte of a message")
	ErrTooManyFDs = errors.New("more than 8 file descriptors in one message")
	ErrPartial    = errors.New("connection ended inside a message")
	ErrHeldUp     = errors.New("a file descriptor takes time to close: its sender holds it up")
)

// ErrPayload is wrapped by every decoder's error.
var ErrPayload = errors.New("malformed payload")

// Header is the head of each message in both directions, in native byte order.
type Header struct {
	Request Request
	Flags   uint32
	Size    uint32 // payload bytes
}

// AppendHeader appends h as it goes over the wire.
func AppendHeader(dst []byte, h Header) []byte {
	dst = binary.NativeEndian.AppendUint32(dst, uint32(h.Request))
	dst = binary.NativeEndian.AppendUint32(dst, h.Flags)
	return binary.NativeEndian.AppendUint32(dst, h.Size)
}

// DecodeHeader reads the header in the first HeaderSize bytes of p and checks
// version and size.
//
//	error: ErrPayload (p too short), ErrVersion, ErrTooLong; the header is zero then
func DecodeHeader(p []byte) (Header, error) {
	if len(p) < HeaderSize {
		return Header{}, fmt.Errorf("%w: header has %d bytes", ErrPayload, len(p))
	}
	h := Header{
		Request: Request(binary.NativeEndian.Uint32(p)),
		Flags:   binary.NativeEndian.Uint32(p[4:]),
		Size:    binary.NativeEndian.Uint32(p[8:]),
	}
	if h.Flags&FlagVersionMask != FlagVersion {
		return Header{}, ErrVersion
	}
	if h.Size > MaxPayload {
		return Header{}, ErrTooLong
	}
	return h, nil
}

// Message is one message as it was received. Payload and FDs are valid until the
// next Read into the same Message; the holder of the Message owns the
// descriptors that nobody took.
type Message struct {
	Header
	Payload []byte
	FDs     []int // -1 where one was taken

	space [MaxPayload]byte
	fds   [MaxFDs]int
	late  peerfd.Late // of the descriptors that were closed last
}

// TakeFD hands over descriptor i; -1 if there is none or it was taken already.
func (m *Message) TakeFD(i int) int {
	if i >= len(m.FDs) {
		return -1
	}
	fd := m.FDs[i]
	m.FDs[i] = -1
	return fd
}

// CloseFDs closes the descriptors that nobody took.
func (m *Message) CloseFDs() {
	if len(m.FDs) > 0 {
		m.late = peerfd.Close(m.FDs...)
	}
	m.FDs = m.fds[:0]
}

// VringState is the payload of SET_VRING_NUM, SET_VRING_BASE, GET_VRING_BASE and
// SET_VRING_ENABLE. Both numbers are the peer's and unchecked.
type VringState struct {
	Index uint32
	Num   uint32
}

// DecodeU64 reads a payload that is one 64-bit word.
//
//	error: ErrPayload
func DecodeU64(p []byte) (uint64, error) {
	if len(p) != sizeU64 {
		return 0, sizeError(len(p), sizeU64)
	}
	return binary.NativeEndian.Uint64(p), nil
}

// AppendU64 appends a payload that is one 64-bit word.
func AppendU64(dst []byte, v uint64) []byte {
	return binary.NativeEndian.AppendUint64(dst, v)
}

// DecodeVringState reads a ring's state.
//
//	error: ErrPayload
func DecodeVringState(p []byte) (VringState, error) {
	if len(p) != sizeVringState {
		return VringState{}, sizeError(len(p), sizeVringState)
	}
	return VringState{
		Index: binary.NativeEndian.Uint32(p),
		Num:   binary.NativeEndian.Uint32(p[4:]),
	}, nil
}

// AppendVringState appends a ring's state.
func AppendVringState(dst []byte, s VringState) []byte {
	dst = binary.NativeEndian.AppendUint32(dst, s.Index)
	return binary.NativeEndian.AppendUint32(dst, s.Num)
}

// DecodeVringAddr reads SET_VRING_ADDR; the index is unchecked.
//
//	error: ErrPayload
func DecodeVringAddr(p []byte) (VringAddr, error) {
	if len(p) != sizeVringAddr {
		return VringAddr{}, sizeError(len(p), sizeVringAddr)
	}
	return VringAddr{
		Index: binary.NativeEndian.Uint32(p),
		Flags: binary.NativeEndian.Uint32(p[4:]),
		Desc:  binary.NativeEndian.Uint64(p[8:]),
		Used:  binary.NativeEndian.Uint64(p[16:]),
		Avail: binary.NativeEndian.Uint64(p[24:]),
		Log:   binary.NativeEndian.Uint64(p[32:]),
	}, nil
}

// AppendVringAddr appends SET_VRING_ADDR.
func AppendVringAddr(dst []byte, a VringAddr) []byte {
	dst = binary.NativeEndian.AppendUint32(dst, a.Index)
	dst = binary.NativeEndian.AppendUint32(dst, a.Flags)
	for _, v := range [...]uint64{a.Desc, a.Used, a.Avail, a.Log} {
		dst = binary.NativeEndian.AppendUint64(dst, v)
	}
	return dst
}

// DecodeMemTable reads SET_MEM_TABLE: 1 to MaxRegions regions, FD -1 in each.
//
//	error: ErrPayload
func DecodeMemTable(p []byte) ([]MemRegion, error) {
	if len(p) < sizeTableHead {
		return nil, sizeError(len(p), sizeTableHead)
	}
	num := binary.NativeEndian.Uint32(p)
	if num == 0 || num > MaxRegions {
		return nil, fmt.Errorf("%w: %d regions, not 1 to %d", ErrPayload, num, MaxRegions)
	}
	if want := sizeTableHead + int(num)*sizeRegion; len(p) != want {
		return nil, sizeError(len(p), want)
	}
	regions := make([]MemRegion, num)
	for i := range regions {
		regions[i] = decodeRegion(p[sizeTableHead+i*sizeRegion:])
	}
	return regions, nil
}

// AppendMemTable appends SET_MEM_TABLE; the regions' descriptors travel beside it.
func AppendMemTable(dst []byte, regions []MemRegion) []byte {
	dst = binary.NativeEndian.AppendUint32(dst, uint32(len(regions)))
	dst = binary.NativeEndian.AppendUint32(dst, 0)
	for _, r := range regions {
		dst = appendRegion(dst, r)
	}
	return dst
}

// DecodeMemReg reads ADD_MEM_REG and REM_MEM_REG; FD is -1.
//
//	error: ErrPayload
func DecodeMemReg(p []byte) (MemRegion, error) {
	if len(p) != sizeMemReg {
		return MemRegion{}, sizeError(len(p), sizeMemReg)
	}
	return decodeRegion(p[8:]), nil
}

// AppendMemReg appends ADD_MEM_REG and REM_MEM_REG.
func AppendMemReg(dst []byte, r MemRegion) []byte {
	return appendRegion(binary.NativeEndian.AppendUint64(dst, 0), r)
}

// DecodeLog reads SET_LOG_BASE: the log's size and where it starts in its file.
//
//	error: ErrPayload
func DecodeLog(p []byte) (size, offset uint64, err error) {
	if len(p) != sizeLog {
		return 0, 0, sizeError(len(p), sizeLog)
	}
	return binary.NativeEndian.Uint64(p), binary.NativeEndian.Uint64(p[8:]), nil
}

// AppendLog appends SET_LOG_BASE.
func AppendLog(dst []byte, size, offset uint64) []byte {
	return AppendU64(AppendU64(dst, size), offset)
}

func decodeRegion(p []byte) MemRegion {
	return MemRegion{
		GuestAddr:  binary.NativeEndian.Uint64(p),
		Size:       binary.NativeEndian.Uint64(p[8:]),
		UserAddr:   binary.NativeEndian.Uint64(p[16:]),
		MmapOffset: binary.NativeEndian.Uint64(p[24:]),
		FD:         -1,
	}
}

func appendRegion(dst []byte, r MemRegion) []byte {
	for _, v := range [...]uint64{r.GuestAddr, r.Size, r.UserAddr, r.MmapOffset} {
		dst = binary.NativeEndian.AppendUint64(dst, v)
	}
	return dst
}

func sizeError(got, want int) error {
	return fmt.Errorf("%w: %d bytes, not %d", ErrPayload, got, want)
}
