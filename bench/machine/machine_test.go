package machine_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"baton/bench/machine"
)

func TestLatency(t *testing.T) {
	if _, err := machine.Latency(0, 0); !errors.Is(err, machine.ErrOneCPU) {
		t.Errorf("one CPU: %v", err)
	}
	if _, err := machine.Latency(0, 1023); err == nil {
		t.Error("a CPU that is not there: no error")
	}
	if runtime.NumCPU() < 2 {
		t.Skip("one CPU")
	}
	d, err := machine.Latency(0, 1)
	if err != nil {
		t.Fatal(err)
	}
	if d <= 0 {
		t.Errorf("round trip of %v", d)
	}
}

func TestStateOf(t *testing.T) {
	for d, want := range map[time.Duration]machine.State{
		110 * time.Nanosecond: machine.Near, 500 * time.Nanosecond: machine.Far,
	} {
		if got := machine.StateOf(d); got != want {
			t.Errorf("%v is %s", d, got)
		}
	}
}

// A process of Start's has a session of its own, which Favour gives its place, where the
// kernel has such groups.
func TestFavour(t *testing.T) {
	cmd := exec.Command("sleep", "60")
	if err := machine.Start(cmd, 0); err != nil {
		t.Fatal(err)
	}
	defer func() { cmd.Process.Kill(); cmd.Wait() }()
	pid := cmd.Process.Pid
	if err := machine.Favour(pid, pid); err != nil {
		t.Skip(err)
	}
	if nice, err := unix.Getpriority(unix.PRIO_PROCESS, pid); err != nil || nice != 20+19 { // the system call's way to say -19
		t.Errorf("nice %d, %v", 20-nice, err)
	}
	group, err := os.ReadFile(fmt.Sprintf("/proc/%d/autogroup", pid))
	if err != nil || len(group) == 0 {
		t.Skip("no autogroups")
	}
	if !strings.HasSuffix(strings.TrimSpace(string(group)), "nice -20") {
		t.Errorf("%s", group)
	}
}

// What FavourSession does is undone.
func TestFavourSession(t *testing.T) {
	group := func() string {
		raw, err := os.ReadFile("/proc/self/autogroup")
		if err != nil || len(raw) == 0 {
			t.Skip("no autogroups")
		}
		return strings.TrimSpace(string(raw))
	}
	before := group()
	undo := machine.FavourSession()
	during := group()
	undo()
	if after := group(); after != before || os.Getuid() == 0 && !strings.HasSuffix(during, "nice -20") {
		t.Errorf("%q, %q, %q", before, during, after)
	}
}

func TestWaited(t *testing.T) {
	if _, err := machine.Waited(os.Getpid()); err != nil {
		t.Skip(err)
	}
	if _, err := machine.Waited(-1); err == nil {
		t.Error("no thread: no error")
	}
}

func TestFindThread(t *testing.T) {
	if _, err := machine.FindThread(os.Getpid(), "no such thread"); err == nil {
		t.Error("no error")
	}
	if _, err := machine.FindThread(os.Getpid(), ""); err != nil {
		t.Error(err)
	}
}

// RealTime is undone.
func TestRealTime(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	policy := func() uint32 {
		a, err := unix.SchedGetAttr(0, 0)
		if err != nil {
			t.Fatal(err)
		}
		return a.Policy
	}
	before := policy()
	undo := machine.RealTime()
	if now := policy(); now != unix.SCHED_FIFO && os.Geteuid() == 0 {
		t.Errorf("policy %d, want %d", now, unix.SCHED_FIFO)
	}
	if undo(); policy() != before {
		t.Errorf("policy %d afterwards, want %d", policy(), before)
	}
}
