package e2e_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"baton/hostapi"
)

// TestStandbyFaults has the process that forwards fail by itself in each way that a program
// can, as a build with the tag faults does when it is told to, twice: its standby goes on.
func TestStandbyFaults(t *testing.T) {
	faulty := buildFaulty(t)
	for _, k := range []struct {
		name string
		told string // see cmd/batond/faults.go
		log  string // what the process' last lines have
	}{
		{"C code, called by a worker", "worker c", "signal arrived during cgo execution"},
		{"C code, called elsewhere", "control c", "signal arrived during cgo execution"},
		{"C code, on a thread of its own", "thread c", "failing as told"}, // the runtime says nothing,
		{"nil in a worker", "worker nil", "nil pointer dereference"},
		{"nil elsewhere", "control nil", "nil pointer dereference"},
		{"panic in a worker", "worker panic", "panic: told to"},
		{"panic elsewhere", "control panic", "panic: told to"},
		{"worker that stands still", "worker endless", "is stuck: it is killed"},
	} {
		t.Run(k.name, func(t *testing.T) {
			// The runtime writes stacks before the process ends.
			cfg, most := handConfig{more: standbyLines}, uint64(4*inDead)
			if strings.Contains(k.told, "endless") {
				cfg.more, most = hastyStandby, 14*inDead // as in TestStandbyCrashes
			}
			r := newHandRig(t, cfg)
			r.upgrade(hostapi.UpgradeRequest{Binary: faulty})
			r.crashTwice(most, func() { r.fail(k.told) })
			for _, line := range []string{fmt.Sprintf("failing as told: what=%q", k.told), k.log} {
				if n := strings.Count(r.h1.Proc.Log(), line); n != 2 {
					t.Errorf("%q is in the log %d times, not once for each crash:\n%s", line, n, r.h1.Proc.LogTail(400))
				}
			}
		})
	}
}

// TestStandbyOutOfMemory has the kernel kill the process that forwards because its control
// group is out of memory, twice: its standby goes on.
func TestStandbyOutOfMemory(t *testing.T) {
	group := newMemoryGroup(t)
	r := newHandRig(t, handConfig{more: standbyLines})
	r.upgrade(hostapi.UpgradeRequest{Binary: buildFaulty(t)})
	r.crashTwice(4*inDead, func() {
		group.hold(r.h1.Proc.Pid(), 64<<20)
		r.fail("control memory")
	})
	if n := group.kills(); n != 2 {
		t.Errorf("the kernel has killed %d processes for want of memory, want 2:\n%s", n, r.h1.Proc.LogTail(400))
	}
}

// TestFaultsAreNotBuilt wants that no other build can be told to fail.
func TestFaultsAreNotBuilt(t *testing.T) {
	for path, want := range map[string]bool{filepath.Join(binDir(t), "batond"): false, buildFaulty(t): true} {
		program, err := os.ReadFile(path)
		must(t, err)
		if has := strings.Contains(string(program), "failing as told"); has != want {
			t.Errorf("%s can be told to fail: %v, want %v", path, has, want)
		}
	}
}

// buildFaulty builds a batond that fails as it is told.
func buildFaulty(t *testing.T) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "batond")
	build := exec.Command("go", "build", "-tags", "faults", "-o", path, "./cmd/batond")
	build.Dir = repoRoot(t)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", build, err, out)
	}
	return path
}

// fail tells host1's batond, which is a faulty one, how to fail.
func (r *handRig) fail(how string) {
	r.t.Helper()
	path := filepath.Join(r.h1.StateDir(), fmt.Sprintf("faults-%d", r.h1.Proc.Pid()))
	var c net.Conn
	waitFor(r.t, r.c, "the process to listen on "+path, func() (ok bool) {
		var err error
		c, err = net.Dial("unix", path)
		return err == nil
	})
	_, err := c.Write([]byte(how))
	must(r.t, err)
	must(r.t, c.Close())
}
