package relaytest

import (
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"baton/upgrade/relay"
)

// Area is a new area, closed when the test ends.
func Area(t *testing.T, shape relay.Shape) *relay.Area {
	t.Helper()
	a, err := relay.New(shape)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
	return a
}

// Copies are descriptors as another process gets them.
func Copies(t *testing.T, files []int) (all []int) {
	t.Helper()
	for _, fd := range files {
		dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, dup)
	}
	return all
}

// Opened is the other side's view of an area.
func Opened(t *testing.T, a *relay.Area) *relay.Area {
	t.Helper()
	b, err := relay.Open(a.Shape(), Copies(t, a.Files()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

// Patience is how long a test waits for what comes at once on a calm machine.
const Patience = 20 * time.Second

// Eventually waits until ok.
func Eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(Patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(what, "did not come")
		}
	}
}

// OpenFDs is the number of descriptors that the test has open.
func OpenFDs(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}
