package ealtest

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"baton/nic/dpdk/eal"
)

// env names the body that a child process is to run.
const env = "BATON_EALTEST"

// MemoryMiB is what tests start DPDK with.
const MemoryMiB = 64

// Case is one body and the process that it runs in.
type Case struct {
	Name    string
	Options eal.Options
	NoInit  bool         // the body calls eal.Init itself, if at all
	NewNet  bool         // a network namespace of its own
	NewMnt  bool         // a mount namespace of its own
	Before  func() error // runs before eal.Init, in the child
}

// Run runs body in a process of its own that has started DPDK.
func Run(t *testing.T, c Case, body func(t *testing.T)) {
	t.Helper()
	key := t.Name() + " " + c.Name
	switch os.Getenv(env) {
	case "":
		parent(t, c, key)
	case key:
		child(t, c, body)
	}
}

// Each runs body with huge pages and without.
func Each(t *testing.T, body func(t *testing.T)) {
	t.Helper()
	for _, mode := range []eal.HugeMode{eal.HugeOn, eal.HugeOff} {
		Run(t, Case{Name: "huge=" + mode.String(), Options: eal.Options{HugePages: mode, MemoryMiB: MemoryMiB}}, body)
	}
}

// Plain runs body without huge pages.
func Plain(t *testing.T, body func(t *testing.T)) {
	t.Helper()
	Run(t, Case{Name: "plain", Options: eal.Options{HugePages: eal.HugeOff, MemoryMiB: MemoryMiB}}, body)
}

func parent(t *testing.T, c Case, key string) {
	t.Helper()
	if (c.NewNet || c.NewMnt) && os.Geteuid() != 0 {
		t.Skip("needs root: makes a namespace")
	}
	parts := strings.Split(t.Name(), "/")
	for i, p := range parts {
		parts[i] = "^" + p + "$"
	}
	cmd := exec.Command("/proc/self/exe", "-test.run="+strings.Join(parts, "/"), "-test.count=1", "-test.timeout=60s", "-test.v")
	cmd.Env = append(os.Environ(), env+"="+key)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if c.NewNet {
		cmd.SysProcAttr.Unshareflags |= syscall.CLONE_NEWNET
	}
	if c.NewMnt {
		cmd.SysProcAttr.Unshareflags |= syscall.CLONE_NEWNS
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", c.Name, err, out)
	}
	if bytes.Contains(out, []byte("--- SKIP")) {
		t.Skipf("%s", out)
	}
	if !bytes.Contains(out, []byte("ealtest ran "+key)) {
		t.Fatalf("%s: the child did not run the body\n%s", c.Name, out)
	}
	if testing.Verbose() {
		t.Logf("%s:\n%s", c.Name, out)
	}
}

func child(t *testing.T, c Case, body func(t *testing.T)) {
	t.Helper()
	if c.Before != nil {
		if err := c.Before(); err != nil {
			t.Fatal(err)
		}
	}
	if !c.NoInit {
		if _, err := eal.Init(c.Options); err != nil {
			t.Fatal(err)
		}
	}
	body(t)
	t.Logf("ealtest ran %s", os.Getenv(env))
}
