package machine

import (
	"os"
	"path/filepath"
	"syscall"
)

// What a run has on disk while it runs: a folder, and in it which threads it moved.
const (
	dirPrefix = "baton-bench-"
	movedFile = "moved-threads"
)

// RunDir makes the folder of a run, which the caller removes.
func RunDir() (string, error) { return os.MkdirTemp("", dirPrefix) }

// ClearUp does what runs that were killed did not: threads of the kernel that they moved may
// run where they might before, and their folders go. The caller is Alone.
func ClearUp() { clearUp(os.TempDir()) }

func clearUp(dir string) {
	old, _ := filepath.Glob(filepath.Join(dir, dirPrefix+"*")) // a pattern that is right
	for _, d := range old {
		// Anybody may lay a folder into /tmp: only our own counts.
		st, err := os.Lstat(d)
		if err != nil || !st.IsDir() {
			continue
		}
		if sys, ok := st.Sys().(*syscall.Stat_t); !ok || int(sys.Uid) != os.Geteuid() {
			continue
		}
		moveBack(filepath.Join(d, movedFile))
		_ = os.RemoveAll(d) // what stays is in nobody's way
	}
}
