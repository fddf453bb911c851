package guestmem

import (
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// What a guest has used is mapped, what it has not is not made.
func TestPopulate(t *testing.T) {
	page := os.Getpagesize()
	const pages = 8000 // in two portions
	fd, err := unix.MemfdCreate("guest", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Ftruncate(fd, int64(pages*page)); err != nil {
		t.Fatal(err)
	}
	used := map[int]bool{0: true, 1: true, 77: true, 4095: true, 4096: true, 5000: true, pages - 1: true}
	for i := range used {
		if _, err := unix.Pwrite(fd, []byte{1}, int64(i*page)); err != nil {
			t.Fatal(err)
		}
	}
	m, err := Map(Region{Size: uint64(pages * page)}, fd)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	runtime.LockOSThread() // whose faults are counted
	defer runtime.UnlockOSThread()
	before := faults(t)
	m.Populate()
	populated := faults(t)
	for i := range used {
		if m.mem[i*page] != 1 {
			t.Errorf("page %d is another one", i)
		}
	}
	if n := faults(t) - populated; n >= int64(len(used)) {
		t.Errorf("%d faults for %d pages that were populated, %d while they were", n, len(used), populated-before)
	}
	var st unix.Stat_t
	if err := unix.Fstat(m.FD, &st); err != nil {
		t.Fatal(err)
	}
	if got := st.Blocks * 512 / int64(page); got != int64(len(used)) {
		t.Errorf("the guest has %d pages, and used %d", got, len(used))
	}
}

// faults is the number of page faults of this process without I/O.
func faults(t *testing.T) int64 {
	t.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_THREAD, &u); err != nil {
		t.Fatal(err)
	}
	return u.Minflt
}

func TestPopulate_runs(t *testing.T) {
	var got [][2]int
	eachRun([]byte{1, 0, 0, 1, 3, 0, 1}, func(from, to int) { got = append(got, [2]int{from, to}) })
	if len(got) != 3 || got[0] != [2]int{0, 1} || got[1] != [2]int{3, 5} || got[2] != [2]int{6, 7} {
		t.Errorf("runs %v", got)
	}
}
