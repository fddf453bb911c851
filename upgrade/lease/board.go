package lease

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Words is the number of leases of a Board.
const Words = 64

// cell is one lease in the shared page. The kernel finds the word by its distance from the
// node, which is the C library's choice, and the node is laid out as that library's are.
type cell struct {
	_    [32]byte
	word atomic.Uint32
	_    [20]byte
	prev uintptr // as all that follows, of the holder's process, and of no use to others
	node uintptr // what comes behind this one in the holder's robust list
	_    [56]byte
}

const (
	cellSize  = int(unsafe.Sizeof(cell{}))
	pulseSize = 64
	size      = Words*(cellSize+pulseSize) + 8*Marks
)

// Board is shared memory with leases, the pulses of those who hold them, and marks.
//
//	conc: safe
type Board struct {
	mem  []byte
	file *os.File
}

// ErrSize is the error of Open for a file that is no board.
var ErrSize = errors.New("lease: the file does not have a board's size: it is of another version")

// New makes a board in memory. It has a file, which other processes Open.
func New() (*Board, error) {
	fd, err := unix.MemfdCreate("baton-lease", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, fmt.Errorf("lease: memfd_create: %w", err)
	}
	f := os.NewFile(uintptr(fd), "baton-lease")
	if err := f.Truncate(int64(size)); err != nil {
		f.Close()
		return nil, fmt.Errorf("lease: %w", err)
	}
	// Nobody can take the page away from under those who have it mapped.
	if _, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL); err != nil {
		f.Close()
		return nil, fmt.Errorf("lease: seal: %w", err)
	}
	b, err := Open(f)
	if err != nil {
		f.Close()
	}
	return b, err
}

// Open maps a board that another process made, and owns f from then on.
//
//	error: ErrSize; not mappable. Then f is still the caller's
func Open(f *os.File) (*Board, error) {
	st, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("lease: %w", err)
	}
	seals, err := unix.FcntlInt(f.Fd(), unix.F_GET_SEALS, 0)
	if err != nil || seals&unix.F_SEAL_SHRINK == 0 || st.Size() != int64(size) {
		return nil, ErrSize
	}
	mem, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("lease: mmap: %w", err)
	}
	return &Board{mem: mem, file: f}, nil
}

// File is what another process Opens; it stays the board's.
func (b *Board) File() *os.File { return b.file }

// Close unmaps the board. No lease of it may be held by this process.
func (b *Board) Close() error { return errors.Join(unix.Munmap(b.mem), b.file.Close()) }

// Pulse is a word in which the holder of lease i counts what it does: while that goes on it is not
// stuck. It is valid until Close.
func (b *Board) Pulse(i int) *atomic.Uint64 {
	at := Words*cellSize + i*pulseSize
	// SAFETY: i < Words is checked by the slice; the page lives until Close, and is aligned.
	return (*atomic.Uint64)(unsafe.Pointer(&b.mem[:Words*(cellSize+pulseSize)][at : at+8][0]))
}

func (b *Board) cell(i int) *cell {
	// SAFETY: i < Words is checked by the slice; the page lives until Close, and cells, whose
	// size is a multiple of 8, are aligned as the page is.
	return (*cell)(unsafe.Pointer(&b.mem[i*cellSize : (i+1)*cellSize][0]))
}
