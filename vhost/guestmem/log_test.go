package guestmem_test

import (
	"bytes"
	"errors"
	"sync"
	"testing"

	"baton/vhost/guestmem"
	"baton/vhost/virtq/drivertest"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// 37: what NewLog refuses; it closes the descriptor every time.
func TestHostile37_LogRefuses(t *testing.T) {
	m := drivertest.NewMem(t, 1<<16)
	event := func() int { fd, _ := unix.Eventfd(0, 0); return fd }
	before := fds(t)
	for _, c := range []struct {
		name         string
		fd           func() int
		offset, size uint64
		want         error
	}{
		{"size_0", nil, 0, 0, guestmem.ErrRange},
		{"offset_plus_size_wraps", nil, ^uint64(0) - 100, 4096, guestmem.ErrRange},
		{"size_plus_offset_wraps", nil, 4096, ^uint64(0) - 100, guestmem.ErrRange},
		{"larger_than_any_guest", nil, 0, guestmem.MaxGuest + 1, guestmem.ErrTooMuch},
		{"file_too_short", nil, 0, 1<<16 + 1, guestmem.ErrFile},
		{"offset_past_end", nil, 1 << 16, 1, guestmem.ErrFile},
		{"no_descriptor", func() int { return -1 }, 0, 4096, guestmem.ErrFile},
		{"eventfd", event, 0, 4096, guestmem.ErrBacking},
	} {
		fd := -1
		if c.fd != nil {
			fd = c.fd()
		} else {
			fd = m.DupFD(t)
		}
		if l, err := guestmem.NewLog(fd, c.offset, c.size); !errors.Is(err, c.want) || l != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	l, err := guestmem.NewLog(m.DupFD(t), 8, 100)
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	l.Close()
	if after := fds(t); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

// Mark sets the bits of the pages that the range touches, and no other: held against
// a loop over addresses, at any offset of the log in its file, beyond its end too.
func TestLogMarkOracle(t *testing.T) {
	const room = 4096
	m := drivertest.NewMem(t, room)
	rapid.Check(t, func(rt *rapid.T) {
		clear(m.Bytes)
		off := rapid.IntRange(0, 300).Draw(rt, "offset")
		size := rapid.IntRange(1, 200).Draw(rt, "size")
		l, err := guestmem.NewLog(m.DupFD(t), uint64(off), uint64(size))
		if err != nil {
			rt.Fatal(err)
		}
		defer l.Close()
		want := make([]byte, room)
		for range rapid.IntRange(1, 5).Draw(rt, "marks") {
			gpa := rapid.Uint64Range(0, uint64(size+20)*8*guestmem.LogPage).Draw(rt, "gpa")
			n := rapid.Uint64Range(0, 70000).Draw(rt, "n")
			if rapid.IntRange(0, 9).Draw(rt, "odd") == 0 {
				gpa, n = ^uint64(0)-gpa, rapid.Uint64().Draw(rt, "huge")
			}
			l.Mark(gpa, n)
			if n == 0 || gpa+(n-1) < gpa {
				continue
			}
			for page := range uint64(size) * 8 {
				if gpa/4096 <= page && page <= (gpa+(n-1))/4096 {
					want[uint64(off)+page/8] |= 1 << (page % 8)
				}
			}
		}
		if !bytes.Equal(m.Bytes, want) {
			rt.Fatalf("log\n%x want\n%x", m.Bytes[:520], want[:520])
		}
	})
}

// Bits that several workers set in one word at once are all there.
func TestLogMarkTogether(t *testing.T) {
	m := drivertest.NewMem(t, 4096)
	l, err := guestmem.NewLog(m.DupFD(t), 0, 512)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for page := w; page < 512*8; page += 4 {
				l.Mark(uint64(page)*guestmem.LogPage, 1)
			}
		})
	}
	wg.Wait()
	if want := bytes.Repeat([]byte{0xff}, 512); !bytes.Equal(m.Bytes[:512], want) {
		t.Fatal("bits were lost")
	}
}

func TestLogCovers(t *testing.T) {
	m := drivertest.NewMem(t, 1<<20)
	table := m.Table(t, 1<<19)
	pages := (drivertest.Guest + 1<<20) / guestmem.LogPage
	for _, c := range []struct {
		size uint64
		want bool
	}{{pages / 8, true}, {pages/8 - 1, false}, {1, false}, {pages, true}} {
		l, err := guestmem.NewLog(m.DupFD(t), 0, c.size)
		if err != nil {
			t.Fatal(err)
		}
		if l.Covers(table) != c.want {
			t.Errorf("%d bytes: %v", c.size, !c.want)
		}
		if !l.Covers(&guestmem.Table{}) {
			t.Error("no memory needs no log")
		}
		l.Close()
	}
}

// 37: the log's file is cut short under us: a fault that is known as the log's.
func TestHostile37_LogTruncated(t *testing.T) {
	m := drivertest.NewMem(t, 8192)
	l, err := guestmem.NewLog(m.DupFD(t), 0, 8192)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := unix.Ftruncate(m.FD, 0); err != nil {
		t.Fatal(err)
	}
	err = guestmem.Guard(func() { l.Mark(0, 1) }, l.Fault)
	if !errors.Is(err, guestmem.ErrFault) {
		t.Fatal(err)
	}
	if (*guestmem.Log)(nil).Fault("anything") {
		t.Error("no log has no faults")
	}
}
