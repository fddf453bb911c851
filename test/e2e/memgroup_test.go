package e2e_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// memoryGroup is a control group of the test's own, of version 1 or 2, that limits memory.
type memoryGroup struct {
	t     *testing.T
	dir   string
	limit string // file names
	swap  string // of the limit of swapped memory; of version 1 of both together
	event string
}

// newMemoryGroup makes one, which goes with the test; it skips the test where that cannot be.
func newMemoryGroup(t *testing.T) *memoryGroup {
	t.Helper()
	name := fmt.Sprintf("baton-test-%d", os.Getpid())
	v1 := &memoryGroup{t: t, dir: filepath.Join("/sys/fs/cgroup/memory", name), limit: "memory.limit_in_bytes", swap: "memory.memsw.limit_in_bytes", event: "memory.oom_control"}
	v2 := &memoryGroup{t: t, dir: filepath.Join("/sys/fs/cgroup", name), limit: "memory.max", swap: "memory.swap.max", event: "memory.events"}
	var why error
	for _, g := range []*memoryGroup{v1, v2} {
		err := os.Mkdir(g.dir, 0o755)
		if err == nil {
			if _, err = os.Stat(filepath.Join(g.dir, g.limit)); err == nil {
				t.Cleanup(g.remove)
				return g
			}
			_ = os.Remove(g.dir) // the kernel's answer is in err
		}
		why = errors.Join(why, err)
	}
	t.Skipf("no control group that limits memory can be made: %v", why)
	return nil
}

// remove takes the group away; its processes, which are dead or about to be, go first.
func (g *memoryGroup) remove() {
	parent := filepath.Join(filepath.Dir(g.dir), "cgroup.procs")
	for _, pid := range strings.Fields(g.read("cgroup.procs")) {
		_ = os.WriteFile(parent, []byte(pid), 0) // it may be gone
	}
	if err := os.Remove(g.dir); err != nil {
		g.t.Errorf("control group %s: %v", g.dir, err)
	}
}

// hold puts a process into the group, which may take as many bytes more from then on.
func (g *memoryGroup) hold(pid int, bytes int) {
	g.t.Helper()
	g.write(g.limit, strconv.Itoa(bytes))
	// There may be none on this kernel; of version 1 it counts memory too.
	swap := strconv.Itoa(bytes)
	if g.swap == "memory.swap.max" {
		swap = "0"
	}
	if err := os.WriteFile(filepath.Join(g.dir, g.swap), []byte(swap), 0); err != nil && !errors.Is(err, unix.ENOENT) {
		g.t.Fatal(err)
	}
	g.write("cgroup.procs", strconv.Itoa(pid))
}

// kills is how many of its processes the kernel has killed for want of memory.
func (g *memoryGroup) kills() (n int) {
	g.t.Helper()
	_, after, ok := strings.Cut("\n"+g.read(g.event), "\noom_kill ")
	if _, err := fmt.Sscan(after, &n); !ok || err != nil {
		g.t.Fatalf("%s has no oom_kill: %v", filepath.Join(g.dir, g.event), err)
	}
	return n
}

func (g *memoryGroup) write(file, text string) {
	g.t.Helper()
	must(g.t, os.WriteFile(filepath.Join(g.dir, file), []byte(text), 0))
}

func (g *memoryGroup) read(file string) string {
	g.t.Helper()
	text, err := os.ReadFile(filepath.Join(g.dir, file))
	must(g.t, err)
	return string(text)
}
