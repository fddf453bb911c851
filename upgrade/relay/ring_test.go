package relay

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"golang.org/x/sys/unix"

	"baton/dataplane/buf"
	"baton/dataplane/buf/buftest"
)

// fresh is a ring in memory of its own, with its reader's eventfd.
func fresh(t testing.TB, size int) *ring {
	t.Helper()
	mem, err := unix.Mmap(-1, 0, ringHeader+size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		unix.Close(fd)
		_ = unix.Munmap(mem)
	})
	r := newRing(mem, fd)
	return &r
}

// signalled reports whether the reader was woken since the last call.
func (r *ring) signalled() bool {
	var b [8]byte
	n, _ := unix.Read(r.wake, b[:])
	return n == 8
}

// frame is random bytes in a buffer, or in several where it is longer.
func frame(t testing.TB, c *buf.Cache, n int) *buf.Buf {
	t.Helper()
	data := make([]byte, n)
	for i := range data {
		data[i] = byte(rand.Uint32())
	}
	b := load(c, &record{frame: data, flags: uint64(n), tx: uint64(n) * 3})
	if b == nil {
		t.Fatal("no buffers")
	}
	return b
}

// What is written comes out, in order and whole, however long and wherever the ring ends.
func TestRing(t *testing.T) {
	c := buftest.NewCache(t, 1024)
	r := fresh(t, minRing)
	type sent struct {
		data        []byte
		port, queue uint16
		flags, tx   uint64
	}
	var under []sent
	full, moved := 0, 0
	for step := range 30000 {
		if rand.IntN(2) == 0 {
			var v buf.Vec
			n := 1 + rand.IntN(4)
			for i := range n {
				size := rand.IntN(1600)
				if rand.IntN(40) == 0 {
					size = rand.IntN(maxFrame + 1)
				}
				v[i] = frame(t, c, size)
			}
			port, queue := uint16(step), uint16(step>>3)
			took := r.push(port, queue, &v, n)
			for _, b := range v[:took] {
				under = append(under, sent{buftest.Frame(b), port, queue, b.OlFlags, b.TxOffload})
			}
			if took < n {
				full++
			}
			c.FreeAll(&v, n)
			continue
		}
		for range rand.IntN(6) {
			rec, ok, err := r.next()
			if err != nil || ok != (len(under) > 0) {
				t.Fatalf("step %d: %v, there is one: %v, want %v", step, err, ok, len(under) > 0)
			}
			if !ok {
				break
			}
			want := under[0]
			under = under[1:]
			if rec.port != want.port || rec.queue != want.queue || rec.flags != want.flags || rec.tx != want.tx || !bytes.Equal(rec.frame, want.data) {
				t.Fatalf("step %d: another frame of %d bytes, want %d", step, len(rec.frame), len(want.data))
			}
			b := load(c, &rec)
			if b == nil || !bytes.Equal(buftest.Frame(b), want.data) || b.OlFlags != want.flags {
				t.Fatalf("step %d: loaded otherwise", step)
			}
			c.Free(b)
			moved++
		}
		r.done()
	}
	if full == 0 || moved < 1000 {
		t.Errorf("the ring was full %d times, %d frames went through", full, moved)
	}
}

// A reader that sleeps is woken once by what comes; one that looks first does not sleep.
func TestRing_wakes(t *testing.T) {
	c := buftest.NewCache(t, 64)
	r := fresh(t, minRing)
	var v buf.Vec
	push := func() {
		v[0] = frame(t, c, 60)
		if r.push(0, 0, &v, 1) != 1 {
			t.Fatal("no room")
		}
		c.FreeAll(&v, 1)
	}
	push()
	if r.signalled() || r.arm() {
		t.Error("woken while it does not sleep, or it sleeps with a frame in the ring")
	}
	if _, ok, err := r.next(); !ok || err != nil {
		t.Fatal(ok, err)
	}
	r.done()
	if !r.arm() {
		t.Fatal("not armed")
	}
	push()
	push()
	if !r.signalled() || r.signalled() {
		t.Error("not woken once")
	}
}

// Whatever a process that died has left in a ring: the reader reads nothing beyond it, ends,
// and takes no frame longer than there are.
func FuzzRing(f *testing.F) {
	c := buftest.NewCache(f, 64)
	r := fresh(f, minRing)
	f.Add(uint64(0), uint64(0), []byte{})
	f.Add(uint64(64), uint64(0), []byte{255, 255, 255, 255, 0, 0, 0, 0})
	f.Add(uint64(minRing+40), uint64(minRing-24), bytes.Repeat([]byte{16, 0, 0, 0, 1, 0, 2, 0}, 8))
	f.Add(uint64(24), uint64(8), bytes.Repeat([]byte{255}, 64))
	f.Add(uint64(1<<40), uint64(3), []byte{1})
	f.Fuzz(func(t *testing.T, head, tail uint64, data []byte) {
		clear(r.data)
		for i := range data {
			r.data[(tail+uint64(i))&(minRing-1)] = data[i]
		}
		r.state.head.Store(head)
		r.state.tail.Store(tail)
		r.at = 0
		for range minRing/recordHeader + 2 {
			rec, ok, err := r.next()
			if err != nil || !ok {
				return
			}
			if len(rec.frame) > maxFrame {
				t.Fatalf("a frame of %d bytes", len(rec.frame))
			}
			c.Free(load(c, &rec))
			r.done()
		}
		t.Fatal("the reader does not come to an end")
	})
}
