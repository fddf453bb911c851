package lab_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"baton/test/lab"

	"go.uber.org/goleak"
)

// childEnv makes the test binary play the lab's owner in TestKilledOwner and
// TestInterruptedOwner.
const childEnv = "BATON_LAB_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		ownLabForEver()
	}
	os.Exit(m.Run())
}

// ownLabForEver makes a lab with a namespace and a process, says so and waits
// for a signal.
func ownLabForEver() {
	l, err := lab.New(lab.Options{Signals: true})
	if err == nil {
		var n *lab.Netns
		if n, err = l.Netns("host1"); err == nil {
			var p *lab.Proc
			p, err = l.Start(lab.ProcConfig{Name: "sleeper", Path: "sleep", Args: []string{"600"}, Netns: n})
			if err == nil {
				os.Stdout.WriteString(strings.Join([]string{n.FullName(), l.Dir(), strconv.Itoa(p.Pid())}, " ") + "\n")
				<-l.Context().Done()
				err = errors.Join(errors.New("interrupted"), l.Close())
			}
		}
	}
	os.Stderr.WriteString(err.Error())
	os.Exit(1)
}

// startOwner runs ownLabForEver in a child.
func startOwner(t *testing.T) (owner *exec.Cmd, namespace, dir, pid string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: network namespaces")
	}
	owner = exec.Command(os.Args[0])
	owner.Env = append(os.Environ(), childEnv+"=1")
	owner.Stderr = os.Stderr
	out, err := owner.StdoutPipe()
	must(t, err)
	must(t, owner.Start())
	t.Cleanup(func() { _ = owner.Process.Kill(); _ = owner.Wait() })
	b := make([]byte, 4096)
	n, err := out.Read(b)
	must(t, err)
	words := strings.Fields(string(b[:n]))
	if len(words) != 3 {
		t.Fatalf("the owner said %q", b[:n])
	}
	return owner, "/run/netns/" + words[0], words[1], "/proc/" + words[2]
}

// exists is false also for a process that is a zombie: it runs no more.
func exists(path string) bool {
	if stat, err := os.ReadFile(filepath.Join(path, "stat")); err == nil && bytes.Contains(stat, []byte(") Z ")) {
		return false
	}
	_, err := os.Stat(path)
	return err == nil
}

func TestKilledOwner(t *testing.T) {
	owner, namespace, dir, proc := startOwner(t)
	living := lab.ForTest(t) // cleans up the dead, and must leave the living alone
	for _, path := range []string{namespace, dir, proc} {
		if !exists(path) {
			t.Fatalf("%s is gone while its owner lives", path)
		}
	}
	must(t, owner.Process.Kill())
	_ = owner.Wait()
	must(t, living.WaitFor("death of the owner's process", 5*time.Second, func() bool { return !exists(proc) }))
	if !exists(namespace) || !exists(dir) {
		t.Fatal("a killed owner cannot have cleaned up: the test proves nothing")
	}
	lab.ForTest(t)
	for _, path := range []string{namespace, dir} {
		if exists(path) {
			t.Errorf("%s is left of a dead owner", path)
		}
	}
}

func TestInterruptedOwner(t *testing.T) {
	owner, namespace, dir, proc := startOwner(t)
	must(t, owner.Process.Signal(syscall.SIGINT))
	var exit *exec.ExitError
	if err := owner.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 128+int(syscall.SIGINT) {
		t.Fatalf("ended with %v, want exit code 130", err)
	}
	for _, path := range []string{namespace, dir, proc} {
		if exists(path) {
			t.Errorf("%s is left after SIGINT", path)
		}
	}
}

func TestCloseUndoesInReverseOrder(t *testing.T) {
	leak := goleak.IgnoreCurrent()
	l, err := lab.New(lab.Options{})
	if err != nil {
		t.Skip(err)
	}
	var order []string
	boom := errors.New("boom")
	l.Defer("first", func() error { order = append(order, "first"); return nil })
	l.Defer("second", func() error { order = append(order, "second"); return boom })
	if err := l.Close(); !errors.Is(err, boom) || !strings.Contains(err.Error(), "close second") {
		t.Errorf("Close = %v", err)
	}
	if err := l.Close(); !errors.Is(err, boom) {
		t.Errorf("second Close = %v", err)
	}
	if strings.Join(order, " ") != "second first" {
		t.Errorf("order %v", order)
	}
	l.Defer("late", func() error { order = append(order, "late"); return nil })
	if order[len(order)-1] != "late" {
		t.Error("what is registered after Close is never undone")
	}
	if _, err := l.Start(lab.ProcConfig{Name: "x", Path: "sleep", Args: []string{"600"}}); err == nil {
		t.Error("a closed lab starts processes")
	}
	goleak.VerifyNone(t, leak)
}

func TestKeptFolderOutlivesTheNextRun(t *testing.T) {
	var out bytes.Buffer
	l, err := lab.New(lab.Options{Keep: true, Out: &out})
	if err != nil {
		t.Skip(err)
	}
	must(t, os.WriteFile(l.Path("note"), []byte("x"), 0o600))
	must(t, l.Close())
	_, kept, found := strings.Cut(strings.TrimSpace(out.String()), " in ")
	if !found || exists(l.Dir()) {
		t.Fatalf("said %q; %s is there: %v", out.String(), l.Dir(), exists(l.Dir()))
	}
	t.Cleanup(func() { os.RemoveAll(kept) })
	lab.ForTest(t)
	if !exists(filepath.Join(kept, "note")) {
		t.Errorf("%s is gone", kept)
	}
}

func TestProcLifeCycle(t *testing.T) {
	l, err := lab.New(lab.Options{})
	if err != nil {
		t.Skip(err)
	}
	defer l.Close()
	start := func(name, script string, grace time.Duration) *lab.Proc {
		p, err := l.Start(lab.ProcConfig{Name: name, Path: "sh", Args: []string{"-c", script}, Grace: grace})
		must(t, err)
		return p
	}
	polite := start("polite", "trap 'exit 0' TERM; echo ready; while :; do sleep 0.05; done", 0)
	must(t, polite.WaitLine("ready", 5*time.Second))
	must(t, polite.Stop())

	stubborn := start("stubborn", "trap '' TERM; echo ready; while :; do sleep 0.05; done", 100*time.Millisecond)
	must(t, stubborn.WaitLine("ready", 5*time.Second))
	if err := stubborn.Stop(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("Stop of a process that ignores SIGTERM = %v", err)
	}
	if errs := l.Unexpected(); len(errs) != 0 {
		t.Errorf("processes that were stopped are unexpected: %v", errs)
	}

	dying := start("dying", "echo last words; exit 7", 0)
	err = dying.WaitLine("what never comes", 5*time.Second)
	if err == nil || !strings.Contains(err.Error(), "last words") || !strings.Contains(err.Error(), "exit status 7") {
		t.Errorf("waiting for a dead process = %v", err)
	}
	if errs := l.Unexpected(); len(errs) != 1 || !strings.Contains(errs[0].Error(), "dying ended by itself") {
		t.Errorf("Unexpected = %v", errs)
	}
	if _, err := l.Start(lab.ProcConfig{Name: "none", Path: "no-such-program"}); err == nil {
		t.Error("a program that does not exist was started")
	}
	if out, err := l.Run(100*time.Millisecond, nil, "sleep", "60"); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("Run over its time = %q, %v", out, err)
	}
}

// What a process started in the background goes with it.
func TestStopEndsTheGroup(t *testing.T) {
	l := lab.ForTest(t)
	p, err := l.Start(lab.ProcConfig{Name: "parent", Path: "sh", Args: []string{"-c", "sleep 600 & echo child $!; wait"}})
	must(t, err)
	must(t, p.WaitLine("child ", 5*time.Second))
	child := "/proc/" + strings.TrimSpace(strings.TrimPrefix(p.Log(), "child "))
	if !exists(child) {
		t.Fatalf("%s does not run", child)
	}
	must(t, p.Stop())
	must(t, l.WaitFor("end of the child", 5*time.Second, func() bool { return !exists(child) }))
}

func TestNamespacesAreApart(t *testing.T) {
	l := lab.ForTest(t)
	n, err := l.Netns("host1")
	must(t, err)
	links, err := l.Run(5*time.Second, n, "ip", "-o", "link")
	must(t, err)
	if strings.Count(links, "\n") != 1 || !strings.Contains(links, "lo:") {
		t.Errorf("links of a new namespace:\n%s", links)
	}
	if _, err := l.Netns("host1"); err == nil {
		t.Error("a namespace of a name in use was made")
	}
}
