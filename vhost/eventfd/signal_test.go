package eventfd_test

import (
	"bytes"
	"encoding/binary"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"baton/vhost/eventfd"
)

// most is the largest count that a write can make.
const most = 0xfffffffffffffffe

func newFD(t testing.TB, flags int) int {
	t.Helper()
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|flags)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	return fd
}

func add(t testing.TB, fd int, n uint64) {
	t.Helper()
	if _, err := unix.Write(fd, binary.LittleEndian.AppendUint64(nil, n)); err != nil {
		t.Fatal(err)
	}
}

func count(t testing.TB, fd int) uint64 {
	t.Helper()
	var b [8]byte
	if _, err := unix.Read(fd, b[:]); err != nil {
		t.Fatal(err)
	}
	return binary.LittleEndian.Uint64(b[:])
}

// contexts is the number of AIO contexts that this process has.
func contexts(t testing.TB) int {
	t.Helper()
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Count(maps, []byte("[aio]"))
}

// inTime fails the test if f does not end, which is what a blocked write does.
func inTime(t *testing.T, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatal("waits for the peer")
	}
}

func newSignaller(t testing.TB, num int) *eventfd.Signaller {
	t.Helper()
	s := eventfd.New(num)
	if s.Err() != nil {
		t.Skip("no AIO contexts here: ", s.Err())
	}
	t.Cleanup(s.Close)
	return s
}

func TestSignal(t *testing.T) {
	s := newSignaller(t, 2)
	fd := newFD(t, unix.EFD_NONBLOCK)
	for range 1000 { // far more than a context's ring holds
		if o := s.Signal(fd); o != eventfd.Sent {
			t.Fatal(o)
		}
	}
	if n := count(t, fd); n != 1000 {
		t.Errorf("counted %d of 1000", n)
	}
	null, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	for _, fd := range []int{-1, 1 << 20, int(null.Fd())} {
		if o := s.Signal(fd); o != eventfd.Bad {
			t.Errorf("descriptor %d: %d", fd, o)
		}
	}
}

// TestHostile22_CannotBlock: a peer took the non-blocking flag back and filled the
// counter. A write would wait for ever; the signal does not, and is there.
func TestHostile22_CannotBlock(t *testing.T) {
	s := newSignaller(t, 1)
	fd := newFD(t, 0)
	add(t, fd, most)
	inTime(t, func() {
		for range 100 {
			if o := s.Signal(fd); o != eventfd.Sent {
				t.Errorf("outcome %d", o)
			}
		}
	})
	ready := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	if n, err := unix.Poll(ready, 0); n != 1 || err != nil || ready[0].Revents&unix.POLLIN == 0 {
		t.Fatalf("no signal is pending: %v %v %x", n, err, ready[0].Revents)
	}
	if n := count(t, fd); n != 1<<64-1 {
		t.Errorf("count %x", n)
	}
	// Emptied, it works as before.
	if o := s.Signal(fd); o != eventfd.Sent || count(t, fd) != 1 {
		t.Errorf("outcome %d", o)
	}
}

// TestFlipping: a peer clears the flag, fills the counter and empties it all the time.
func TestFlipping(t *testing.T) {
	s := newSignaller(t, 4)
	fd := newFD(t, unix.EFD_NONBLOCK)
	var stop atomic.Bool
	var peer sync.WaitGroup
	peer.Go(func() {
		for full := binary.LittleEndian.AppendUint64(nil, most-1); !stop.Load(); {
			_ = unix.SetNonblock(fd, true) // it shall not block itself
			_, _ = unix.Write(fd, full)
			_ = unix.SetNonblock(fd, false)
		}
		_ = unix.SetNonblock(fd, true)
	})
	inTime(t, func() {
		for range 20000 {
			if o := s.Signal(fd); o != eventfd.Sent {
				t.Errorf("outcome %d", o)
				return
			}
		}
	})
	stop.Store(true)
	peer.Wait()
}

// TestParallel: more workers than contexts, each its own eventfd; every signal counts.
func TestParallel(t *testing.T) {
	s := newSignaller(t, 2)
	const workers, signals = 16, 3000
	var all sync.WaitGroup
	for range workers {
		fd := newFD(t, unix.EFD_NONBLOCK)
		all.Go(func() {
			for range signals {
				if o := s.Signal(fd); o != eventfd.Sent {
					t.Errorf("outcome %d", o)
					return
				}
			}
			if n := count(t, fd); n != signals {
				t.Errorf("counted %d of %d", n, signals)
			}
		})
	}
	all.Wait()
}

// TestFallback: without contexts it is write(2), and says so.
func TestFallback(t *testing.T) {
	s := eventfd.New(0)
	if s.Err() == nil {
		t.Fatal("no error")
	}
	fd := newFD(t, 0)
	if o := s.Signal(fd); o != eventfd.Sent || count(t, fd) != 1 {
		t.Errorf("outcome %d", o)
	}
	add(t, fd, most)
	_ = unix.SetNonblock(fd, false)
	inTime(t, func() {
		if o := s.Signal(fd); o != eventfd.Full {
			t.Errorf("outcome %d", o)
		}
	})
	if o := s.Signal(1 << 20); o != eventfd.Bad {
		t.Errorf("outcome %d", o)
	}
}

// TestNoLeak: Close gives contexts and descriptors back.
func TestNoLeak(t *testing.T) {
	newSignaller(t, 1).Close()
	fds := func() int {
		dir, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(dir)
	}
	before, beforeFDs := contexts(t), fds()
	for range 3 {
		s := eventfd.New(4)
		if n := contexts(t); n != before+4 {
			t.Fatalf("%d contexts, want %d", n, before+4)
		}
		s.Close()
	}
	if n, m := contexts(t), fds(); n != before || m != beforeFDs {
		t.Errorf("%d contexts and %d descriptors, were %d and %d", n, m, before, beforeFDs)
	}
}

func TestSignalAllocatesNothing(t *testing.T) {
	fd := newFD(t, unix.EFD_NONBLOCK)
	if n := testing.AllocsPerRun(200, func() {
		if eventfd.Signal(fd) != eventfd.Sent {
			t.Fatal("not sent")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// BenchmarkSignal is a signal beside the write(2) that a peer can make wait.
func BenchmarkSignal(b *testing.B) {
	b.Run("signal", func(b *testing.B) {
		fd := newFD(b, unix.EFD_NONBLOCK)
		for b.Loop() {
			eventfd.Signal(fd)
		}
	})
	b.Run("write", func(b *testing.B) {
		fd := newFD(b, unix.EFD_NONBLOCK)
		one := []byte{1, 0, 0, 0, 0, 0, 0, 0}
		for b.Loop() {
			_, _ = unix.Write(fd, one)
		}
	})
	b.Run("fallback", func(b *testing.B) {
		s, fd := eventfd.New(0), newFD(b, unix.EFD_NONBLOCK)
		for b.Loop() {
			s.Signal(fd)
		}
	})
}
