package main

import (
	"os"
	"path/filepath"
	"syscall"

	"baton/bench/machine"
)

// What a run has on disk while it runs: a folder, and in it which threads it moved.
const (
	runDir    = "baton-bench-"
	movedFile = "moved-threads"
)

// clearUp does what runs that were killed did not: threads of the kernel that they moved may
// run where they might before, and their folders go. Nobody else measures meanwhile.
func clearUp(dir string) {
	old, _ := filepath.Glob(filepath.Join(dir, runDir+"*")) // a pattern that is right
	for _, d := range old {
		// Anybody may lay a folder into /tmp: only our own counts.
		st, err := os.Lstat(d)
		if err != nil || !st.IsDir() {
			continue
		}
		if sys, ok := st.Sys().(*syscall.Stat_t); !ok || int(sys.Uid) != os.Geteuid() {
			continue
		}
		machine.MoveBack(filepath.Join(d, movedFile))
		_ = os.RemoveAll(d) // what stays is in nobody's way
	}
}
