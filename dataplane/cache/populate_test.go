package cache_test

import (
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"baton/dataplane/buf"
	"baton/dataplane/cache"
)

// TestPopulate: after it no flow waits for memory, and what few flows would never use is
// not taken.
func TestPopulate(t *testing.T) {
	const size = 4096
	c, p := newCache(t, cache.Config{MegaFlows: size}, exactRule())
	if wide, rest, err := c.Resident(); err != nil || wide+rest != 0 {
		t.Fatalf("before: %d and %d bytes, %v", wide, rest, err)
	}
	c.Populate()
	wide, rest, err := c.Resident()
	if wide == 0 && mayNotPopulate() {
		t.Skip("the kernel does not populate memory")
	}
	if err != nil || wide < size*500 || rest != 0 {
		t.Fatalf("after: %d and %d bytes, %v", wide, rest, err)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var b cache.Burst
	insert := func(n uint32) {
		b.Num = buf.Burst
		for i := range b.Keys {
			b.Keys[i] = source(n + uint32(i))
		}
		run(c, p.Snapshot(), &b)
	}
	insert(0) // of the heap, too
	before := faults(t)
	for n := uint32(buf.Burst); n < size; n += buf.Burst {
		insert(n)
	}
	if n := faults(t) - before; n > size/100 { // hundreds at the least without, thousands in ordinary pages
		t.Errorf("%d page faults for %d flows", n, size)
	}
	if again, rest, err := c.Resident(); err != nil || again != wide || rest != 0 {
		t.Errorf("with flows: %d bytes, and %d besides, %v; it was %d", again, rest, err, wide)
	}
}

// faults is the page faults of this thread so far.
func faults(t *testing.T) int64 {
	t.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_THREAD, &u); err != nil {
		t.Fatal(err)
	}
	return u.Minflt
}

// mayNotPopulate reports whether the kernel refuses to (before 5.14).
func mayNotPopulate() bool {
	mem, err := unix.Mmap(-1, 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return true
	}
	defer unix.Munmap(mem)
	return unix.Madvise(mem, unix.MADV_POPULATE_WRITE) != nil
}
