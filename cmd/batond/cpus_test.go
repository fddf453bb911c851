package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// cpusEnv has the test binary be the process whose threads are moved.
const cpusEnv = "BATON_TEST_CPUS"

// Threads keep off the workers' CPUs, those that come later too; a program that is started may
// use all again. Where there is no other CPU, or workers are not pinned, all stays as it is.
func TestKeepOff(t *testing.T) {
	for _, c := range []string{"pinned", "free", "all"} {
		t.Run(c, func(t *testing.T) {
			if os.Getenv(cpusEnv) == c {
				keptOff(t, c)
				return
			}
			if os.Getenv(cpusEnv) != "" {
				return
			}
			cmd := exec.Command(os.Args[0], "-test.run=^TestKeepOff$/^"+c+"$", "-test.v")
			cmd.Env = append(os.Environ(), cpusEnv+"="+c)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// keptOff runs in a process of its own.
func keptOff(t *testing.T, how string) {
	var all unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		t.Fatal(err)
	}
	s := &settings{}
	s.Workers.Pin = how != "free"
	for cpu := range 1024 {
		if all.IsSet(cpu) && (how == "all" || len(s.Workers.CPUs) == 0) {
			s.Workers.CPUs = append(s.Workers.CPUs, cpu)
		}
	}
	want := all
	if how == "pinned" && all.Count() > 1 {
		want.Clear(s.Workers.CPUs[0])
	}
	c, err := keepOff(s)
	if err != nil {
		t.Fatal(err)
	}
	if c.all != all || !want.IsSet(c.lcore) {
		t.Errorf("%+v: want all %v, and an lcore among %v", c, all, want)
	}
	for n, set := range threads(t) {
		if set != want {
			t.Errorf("thread %s may use %v, want %v", n, set, want)
		}
	}
	status := ""
	err = c.start(func() error {
		out, err := exec.Command("grep", "Cpus_allowed:", "/proc/self/status").Output()
		status = string(out)
		return err
	})
	own, bad := os.ReadFile("/proc/self/status")
	if err != nil || bad != nil {
		t.Fatal(err, bad)
	}
	same := strings.Contains(string(own), status)
	if same != (want == all) {
		t.Errorf("a program that was started has %q; this process the same: %v", status, same)
	}
	if set := threads(t)["self"]; set != want {
		t.Errorf("afterwards this thread may use %v, want %v", set, want)
	}
}

// threads are the CPUs of all threads of the process, and of "self", the calling one, while 16 of
// them are busy.
func threads(t *testing.T) map[string]unix.CPUSet {
	var started, done sync.WaitGroup
	end := make(chan struct{})
	for range 16 {
		started.Add(1)
		done.Go(func() {
			runtime.LockOSThread()
			started.Done()
			<-end
		})
	}
	started.Wait()
	defer done.Wait()
	defer close(end)
	tids, err := filepath.Glob("/proc/self/task/*")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]unix.CPUSet{}
	for _, path := range append(tids, "self") {
		var set unix.CPUSet
		tid := 0
		if path != "self" {
			_, _ = fmt.Sscan(filepath.Base(path), &tid)
		}
		if err := unix.SchedGetaffinity(tid, &set); err == nil { // else it has ended
			all[filepath.Base(path)] = set
		}
	}
	return all
}

// A thread works on other CPUs for a while, where it may, and then where it did before.
func TestAmong(t *testing.T) {
	runtime.LockOSThread() // and its thread ends with the test
	affinity := func() (set unix.CPUSet) {
		if err := unix.SchedGetaffinity(0, &set); err != nil {
			t.Fatal(err)
		}
		return set
	}
	was := affinity()
	var want unix.CPUSet
	for cpu := range 1024 {
		if was.IsSet(cpu) {
			want.Set(cpu)
			end, err := among(&want)
			if got := affinity(); err != nil || got != want {
				t.Errorf("among CPU %d: %v, %v", cpu, got, err)
			}
			if err := end(); err != nil {
				t.Error(err)
			}
			break
		}
	}
	var none, absent unix.CPUSet
	absent.Set(1023)
	for _, set := range []*unix.CPUSet{&none, &absent} {
		if _, err := among(set); err == nil {
			t.Error("among CPUs that are not there")
		}
	}
	if got := affinity(); got != was {
		t.Errorf("afterwards %v, want %v", got, was)
	}
}
