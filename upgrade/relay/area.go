package relay

import (
	"errors"
	"fmt"
	"math/bits"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Side is one of the two processes.
type Side uint8

// The sides: First had all ports when the hand-over began, Second was started for it.
const (
	First Side = iota
	Second
)

// Other is the other side.
func (s Side) Other() Side { return s ^ 1 }

func (s Side) String() string {
	if s == First {
		return "the process that was here first"
	}
	return "the new process"
}

// Limits and defaults of a Shape.
const (
	MaxPorts   = 1024
	MaxWorkers = 64
	// DefaultRing holds some 700 full-sized frames, or 40 that are cut on the other side.
	DefaultRing = 1 << 20
	minRing     = 1 << 18 // holds four of the largest frames
	maxRing     = 1 << 26
)

// Shape says how large an Area is. Both sides must use the same.
type Shape struct {
	Workers [2]int `json:"workers"` // of each side
	Ports   int    `json:"ports"`
	Ring    int    `json:"ring"` // bytes of a ring: a power of two; 0 = DefaultRing
}

// check is s with defaults.
//
//	error: what is out of range
func (s Shape) check() (Shape, error) {
	if s.Ring == 0 {
		s.Ring = DefaultRing
	}
	for _, n := range s.Workers {
		if n < 1 || n > MaxWorkers {
			return s, fmt.Errorf("relay: %d workers: want 1 to %d", n, MaxWorkers)
		}
	}
	if s.Ports < 0 || s.Ports > MaxPorts {
		return s, fmt.Errorf("relay: %d ports: want at most %d", s.Ports, MaxPorts)
	}
	if s.Ring < minRing || s.Ring > maxRing || bits.OnesCount(uint(s.Ring)) != 1 {
		return s, fmt.Errorf("relay: rings of %d bytes: want a power of two, %d to %d", s.Ring, minRing, maxRing)
	}
	return s, nil
}

// size is the area's, in bytes: batons, then the rings of First, then those of Second.
func (s Shape) size() int {
	return s.Ports*batonSize + 2*s.Workers[0]*s.Workers[1]*(ringHeader+s.Ring)
}

// Area is the memory that the two processes share, and a descriptor for each worker by
// which the other side's workers wake it.
//
//	conc: safe
type Area struct {
	shape Shape
	mem   []byte
	file  int
	wakes [2][]int // eventfds by side and worker
}

// New makes an area.
//
//	error: shape out of range; no memory or descriptors
func New(shape Shape) (*Area, error) {
	shape, err := shape.check()
	if err != nil {
		return nil, err
	}
	fd, err := unix.MemfdCreate("baton-relay", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, fmt.Errorf("relay: memfd_create: %w", err)
	}
	a := &Area{shape: shape, file: fd}
	if err := a.make(); err != nil {
		return nil, errors.Join(err, a.Close())
	}
	return a, nil
}

func (a *Area) make() error {
	if err := unix.Ftruncate(a.file, int64(a.shape.size())); err != nil {
		return fmt.Errorf("relay: %w", err)
	}
	// Nobody can take the memory away from under those who have it mapped.
	if _, err := unix.FcntlInt(uintptr(a.file), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL); err != nil {
		return fmt.Errorf("relay: seal: %w", err)
	}
	for side, n := range a.shape.Workers {
		for range n {
			fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
			if err != nil {
				return fmt.Errorf("relay: eventfd: %w", err)
			}
			a.wakes[side] = append(a.wakes[side], fd)
		}
	}
	return a.mapIt()
}

// mapIt maps the area and has its pages made, so that no worker waits for one.
func (a *Area) mapIt() (err error) {
	if a.mem, err = unix.Mmap(a.file, 0, a.shape.size(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE); err != nil {
		return fmt.Errorf("relay: map %d bytes: %w", a.shape.size(), err)
	}
	return nil
}

// Files are what the other side Opens; they stay the area's.
func (a *Area) Files() []int {
	return append(append([]int{a.file}, a.wakes[0]...), a.wakes[1]...)
}

// ErrArea is the error of Open for files that are no area of that shape.
var ErrArea = errors.New("relay: these are not the files of such an area")

// Open maps an area that the other side made. The files are the area's from the call on.
//
//	error: ErrArea; not mappable
func Open(shape Shape, files []int) (*Area, error) {
	shape, err := shape.check()
	a := &Area{shape: shape, file: -1}
	if len(files) > 0 {
		a.file = files[0]
		n := min(max(shape.Workers[0], 0), len(files)-1)
		a.wakes = [2][]int{files[1 : 1+n], files[1+n:]}
	}
	if err == nil {
		err = a.open()
	}
	if err != nil {
		return nil, errors.Join(err, a.Close())
	}
	return a, nil
}

func (a *Area) open() error {
	if len(a.wakes[0]) != a.shape.Workers[0] || len(a.wakes[1]) != a.shape.Workers[1] {
		return ErrArea
	}
	var st unix.Stat_t
	if err := unix.Fstat(a.file, &st); err != nil {
		return fmt.Errorf("relay: %w", err)
	}
	seals, err := unix.FcntlInt(uintptr(a.file), unix.F_GET_SEALS, 0)
	if err != nil || seals&unix.F_SEAL_SHRINK == 0 || st.Size != int64(a.shape.size()) {
		return ErrArea
	}
	return a.mapIt()
}

// Close unmaps the area and closes its files. No worker uses a gate or an inbox of it
// any more.
func (a *Area) Close() (err error) {
	if a.mem != nil {
		err = unix.Munmap(a.mem)
		a.mem = nil
	}
	for _, fd := range a.Files() {
		if fd >= 0 {
			err = errors.Join(err, unix.Close(fd))
		}
	}
	a.file, a.wakes = -1, [2][]int{}
	return err
}

// Shape is the area's.
func (a *Area) Shape() Shape { return a.shape }

// baton is that of port i, 0 <= i < Ports.
func (a *Area) baton(i int) *baton {
	// SAFETY: the slice checks i against the mapping, which lives until Close; batons are a
	// multiple of 64 bytes from its start.
	return (*baton)(unsafe.Pointer(&a.mem[i*batonSize : (i+1)*batonSize : a.shape.Ports*batonSize][0]))
}

// ring is that from worker w of a side to worker r of the other.
func (a *Area) ring(from Side, w, r int) ring {
	n := int(from)*a.shape.Workers[0]*a.shape.Workers[1] + w*a.shape.Workers[from.Other()] + r
	at := a.shape.Ports*batonSize + n*(ringHeader+a.shape.Ring)
	return newRing(a.mem[at:at+ringHeader+a.shape.Ring], a.wakes[from.Other()][r])
}
