package lease_test

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"baton/upgrade/lease"
)

// Another mapping of a board sees which copies are the last; marks and leases do not touch.
func TestMark(t *testing.T) {
	b, err := lease.New()
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	fd, err := unix.FcntlInt(b.File().Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	seen, err := lease.Open(os.NewFile(uintptr(fd), "board"))
	if err != nil {
		t.Fatal(err)
	}
	defer seen.Close()
	for i := range lease.Marks {
		m, its := b.Mark(i), seen.Mark(i)
		copied := m.Revision()
		want := func(when string, last bool) {
			t.Helper()
			if its.Last(copied) != last {
				t.Fatalf("mark %d, %s: the copy counts as the last: %v, want %v", i, when, !last, last)
			}
		}
		want("at first", true)
		m.Busy(true)
		want("in the middle of something", false)
		m.Busy(true)
		m.Busy(false)
		want("when it was nothing", true)
		m.Busy(true)
		m.Change()
		m.Busy(false)
		want("after a change", false)
		copied = m.Revision()
		want("copied anew", true)
	}
	for i := range lease.Words {
		if s := seen.State(i); s != (lease.State{}) {
			t.Errorf("lease %d: %v", i, s)
		}
	}
}
