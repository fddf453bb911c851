package buftest

import (
	"fmt"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"baton/dataplane/buf"
)

// edgeRoom is the memory of an Edge, headroom included: a Buf's largest data room fits.
const edgeRoom = 1 << 16

// Edge is a buffer whose frames end where memory does: the page behind them may not be
// touched. In other buffers what is read or written behind a frame is tailroom, and no
// test notices.
type Edge struct {
	b   buf.Buf
	mem []byte // edgeRoom, and a page that is not there
}

// NewEdge is an Edge whose memory goes when the test ends.
func NewEdge(t testing.TB) *Edge {
	t.Helper()
	mem, err := unix.Mmap(-1, 0, edgeRoom+unix.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Munmap(mem); err != nil {
			t.Error(err)
		}
	})
	if err := unix.Mprotect(mem[edgeRoom:], unix.PROT_NONE); err != nil {
		t.Fatal(err)
	}
	return &Edge{mem: mem}
}

// Lay is the buffer with a copy of frame at the end of its memory, behind the default
// headroom; it is valid until the next Lay, and belongs to no pool. nil if frame does not
// fit.
func (e *Edge) Lay(frame []byte) *buf.Buf {
	room := buf.Headroom + len(frame)
	if room >= edgeRoom {
		return nil
	}
	// SAFETY: room bytes lie between Addr and the end of what may be touched.
	e.b = buf.Buf{Addr: unsafe.Pointer(&e.mem[edgeRoom-room]), BufLen: uint16(room), RefCnt: 1}
	e.b.SetFrame(frame)
	return &e.b
}

// Inside runs f, and fails the test if f touches memory behind one of the edges' frames.
// The process lives on, and the message says which line it was.
func Inside(t rapid.TB, f func(), edges ...*Edge) {
	t.Helper()
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		for _, e := range edges {
			if n, ok := e.behind(p); ok {
				t.Fatalf("%s touches byte %d behind a frame of %d bytes", faulted(), n, e.b.Len())
				return
			}
		}
		panic(p)
	}()
	f()
}

// behind says how many bytes behind the edge's memory the fault was that p tells of; false
// if p is something else.
func (e *Edge) behind(p any) (n uintptr, ok bool) {
	fault, ok := p.(interface {
		runtime.Error
		Addr() uintptr
	})
	if !ok {
		return 0, false
	}
	n = fault.Addr() - uintptr(unsafe.Pointer(&e.mem[edgeRoom]))
	return n, n < uintptr(len(e.mem)-edgeRoom)
}

// faulted is baton's line whose fault is being recovered from.
func faulted() string {
	var pcs [32]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(0, pcs[:])])
	for signalled := false; ; {
		f, more := frames.Next()
		if signalled && strings.HasPrefix(f.Function, "baton/") {
			return fmt.Sprintf("%s:%d", filepath.Base(f.File), f.Line)
		}
		if signalled = signalled || f.Function == "runtime.sigpanic"; !more {
			return "something"
		}
	}
}
