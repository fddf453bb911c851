package main

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"baton/bench/dut"
	"baton/bench/gen"
	"baton/bench/report"
)

func TestMain(m *testing.M) {
	dut.RunChild()
	gen.RunChild()
	os.Exit(m.Run())
}

func TestRun_usage(t *testing.T) {
	for _, args := range [][]string{
		{"run"}, {"run", "nothing"}, {"run", "encap", "--set", "quick"}, {"run", "--set", "all"}, {"run", "encap", "--flows", "1x"}, {"run", "encap", "--flows", "-1"},
		{"run", "encap", "--size", "big"}, {"run", "encap", "--size", "63"}, {"run", "encap", "--peer", "nobody"}, {"run", "encap", "--dut-cpu", "1", "--load-cpu", "1"},
		{"run", "encap", "--nothing"}, {"nothing"}, {"run", "encap", "--duration", "long"}, {"run", "encap", "--duration", "0"}, {"run", "encap", "--runs", "0"},
		{"run", "encap", "--json", "/proc/none/x.json"}, {"run", "encap", "--report", "/proc/none"}, {"run", "encap", "--profile", "/proc/none/x"},
		{"run", "rules", "--flows", "1M", "--peer", ""}, {"run", "decap", "--flows", "1M", "--peer", ""}, {"run", "encap", "--load-cpu", "1000", "--peer", ""},
		{"run", "upgrade", "--vms", "0"}, {"run", "upgrade", "--vms", "many"}, {"run", "upgrade", "--queues", "9"}, {"run", "upgrade", "--rate", "0"},
		{"run", "upgrade", "--batond", "/nowhere"}, {"run", "upgrade", "--peer", ""}, {"run", "upgrade", "encap"}, {"run", "encap", "upgrade"},
		{"run", "upgrade", "--batond", "/bin/true", "--json", "/proc/none/x.json"}, {"run", "crash", "--guest-mem", "-1"}, {"run", "crash", "--batond", "/bin/true"},
	} {
		if code := run(t.Context(), args); code != exitUsage {
			t.Errorf("%v: exit code %d", args, code)
		}
	}
	if code := run(t.Context(), []string{"list"}); code != exitDone {
		t.Errorf("list: exit code %d", code)
	}
}

func TestParseCount(t *testing.T) {
	for s, want := range map[string]int{"1": 1, "10k": 10_000, "2M": 2_000_000} {
		if n, err := parseCount(s); n != want || err != nil {
			t.Errorf("%s: %d, %v", s, n, err)
		}
	}
	for _, s := range []string{"", "k", "1kk", "-1", "1.5k"} {
		if n, err := parseCount(s); err == nil {
			t.Errorf("%s: %d", s, n)
		}
	}
}

// needsLoad skips a test that starts a system with its load where that cannot be.
func needsLoad(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 || runtime.NumCPU() < 2 {
		t.Skip("needs root and two CPUs")
	}
	if _, err := exec.LookPath("dpdk-testpmd"); err != nil {
		t.Skip("no dpdk-testpmd: make packages-lab")
	}
}

// A whole run of baton alone, with its checked pass: short, and no figure matters.
func TestRun(t *testing.T) {
	needsLoad(t)
	file := filepath.Join(t.TempDir(), "out.json")
	args := []string{"run", "encap", "--flows", "1,1k", "--peer", "", "--runs", "1", "--duration", "50ms", "--json", file}
	if code := run(t.Context(), args); code != exitDone && code != exitThin {
		t.Fatalf("exit code %d", code)
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var r report.Report
	if err := json.Unmarshal(raw, &r); err != nil {
		t.Fatal(err)
	}
	if len(r.Trials) < 2 || r.Host.TSCHz == 0 {
		t.Fatalf("%s", raw)
	}
	for _, tr := range r.Trials {
		if tr.System != report.Baton || tr.Mpps <= 0 || tr.Cycles <= 0 || tr.C2CPre <= 0 {
			t.Errorf("%+v", tr)
		}
	}
}

// Who is told to end twice at once, as timeout does it, is told once: else it would end before
// it has cleaned up.
func TestInterruptible(t *testing.T) {
	ctx := interruptible()
	for begin := time.Now(); time.Since(begin) < echo/10; { // with no one to take it one of these ends this test
		if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(10 * time.Second):
			t.Fatal("not interrupted")
		}
	}
}

// An interrupted run leaves nothing behind.
func TestRun_interrupted(t *testing.T) {
	needsLoad(t)
	tmp, err := os.MkdirTemp("", "b") // sockets are in it: their paths are short
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(tmp)
	t.Setenv("TMPDIR", tmp)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() { // in the middle: when a system runs
		for ctx.Err() == nil {
			if dirs, _ := filepath.Glob(filepath.Join(tmp, "*", "*", "vm1.sock")); len(dirs) > 0 {
				cancel()
			}
			time.Sleep(5 * time.Millisecond)
		}
	}()
	if code := run(ctx, []string{"run", "ndr", "--flows", "1", "--peer", "", "--duration", "300ms"}); code != exitFailed {
		t.Errorf("exit code %d", code)
	}
	if left, _ := os.ReadDir(tmp); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	children, _ := filepath.Glob("/proc/self/task/*/children")
	for _, c := range children {
		if raw, _ := os.ReadFile(c); len(raw) > 0 {
			t.Errorf("still runs: %s", raw)
		}
	}
}
