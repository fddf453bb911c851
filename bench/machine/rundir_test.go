package machine

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// What a killed run left goes; what is nobody's run stays.
func TestClearUp(t *testing.T) {
	dir := t.TempDir()
	elsewhere := filepath.Join(dir, "elsewhere")
	for _, d := range []string{dirPrefix + "1/dpdk", dirPrefix + "2", "other", "elsewhere"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range []string{dirPrefix + "1/" + movedFile, dirPrefix + "3", "elsewhere/file"} {
		if err := os.WriteFile(filepath.Join(dir, f), []byte("no JSON"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(elsewhere, filepath.Join(dir, dirPrefix+"4")); err != nil {
		t.Fatal(err)
	}
	clearUp(dir)
	for name, there := range map[string]bool{
		dirPrefix + "1": false, dirPrefix + "2": false, dirPrefix + "3": true, dirPrefix + "4": true, "other": true, "elsewhere/file": true,
	} {
		if _, err := os.Lstat(filepath.Join(dir, name)); (err == nil) != there {
			t.Errorf("%s is there: %v, want %v", name, err == nil, there)
		}
	}
}

// A process that has a file of a run's as its argument ends; one with a file beside it, not.
func TestEndIn(t *testing.T) {
	dir := t.TempDir()
	start := func(file string) *exec.Cmd {
		c := exec.Command("/bin/sh", "-c", "echo; cat", file)
		in, err := c.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := c.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { in.Close() })
		out.Read(make([]byte, 1)) // it runs with its own arguments
		return c
	}
	its, other := start(filepath.Join(dir, "file")), start(dir+"2/file")
	EndIn(dir)
	if err := its.Wait(); err == nil || its.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Errorf("the run's: %v", err)
	}
	if err := syscall.Kill(other.Process.Pid, 0); err != nil {
		t.Errorf("the other one: %v", err)
	}
	other.Process.Kill()
	other.Wait()
}
