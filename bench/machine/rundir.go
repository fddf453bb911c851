package machine

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// What a run has on disk while it runs: a folder, and in it which threads it moved.
const (
	dirPrefix = "baton-bench-"
	movedFile = "moved-threads"
)

// RunDir makes the folder of a run, which the caller removes.
func RunDir() (string, error) { return os.MkdirTemp("", dirPrefix) }

// ClearUp does what runs that were killed did not: processes that their children made in their
// own stead end, threads of the kernel that they moved may run where they might before, and
// their folders go. The caller is Alone.
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
		EndIn(d)
		moveBack(filepath.Join(d, movedFile))
		_ = os.RemoveAll(d) // what stays is in nobody's way
	}
}

// EndIn kills what runs with a file in a run's folder as its argument: those processes of a
// run that do not end with it, since another one than the run started them.
func EndIn(dir string) {
	all, _ := filepath.Glob("/proc/[0-9]*/cmdline") // a pattern that is right
	for _, path := range all {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil || pid == os.Getpid() {
			continue
		}
		raw, err := os.ReadFile(path)
		if err != nil { // it has ended
			continue
		}
		for _, arg := range bytes.Split(raw, []byte{0}) {
			if bytes.HasPrefix(arg, []byte(dir+"/")) {
				_ = syscall.Kill(pid, syscall.SIGKILL) // a stranger's refuses
				break
			}
		}
	}
}
