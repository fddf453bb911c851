package main

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"baton/controlplane/api"
)

// TestMain runs the program itself when a test starts this binary as it.
func TestMain(m *testing.M) {
	if os.Getenv("BATON_CONTROLLER_TEST") == "1" {
		os.Exit(run(os.Args[1:]))
	}
	os.Exit(m.Run())
}

func command(t *testing.T, args ...string) (*exec.Cmd, *bytes.Buffer) {
	t.Helper()
	c := exec.Command(os.Args[0], args...)
	c.Env = append(os.Environ(), "BATON_CONTROLLER_TEST=1")
	var out bytes.Buffer
	c.Stderr, c.Stdout = &out, &out
	return c, &out
}

func exit(t *testing.T, want int, text string, args ...string) {
	t.Helper()
	c, out := command(t, args...)
	timer := time.AfterFunc(30*time.Second, func() { _ = c.Process.Kill() })
	defer timer.Stop()
	_ = c.Run()
	last := lastLine(out.String())
	if got := c.ProcessState.ExitCode(); got != want || !strings.Contains(out.String(), text) || !strings.HasPrefix(last, "baton-controller: ") {
		t.Errorf("%v: exit code %d, want %d; want %q in\n%s", args, got, want, text, out)
	}
}

func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return lines[len(lines)-1]
}

func TestWrongInput(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "c.yaml")
	if err := os.WriteFile(file, []byte("api:\n  sockt: /x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(dir, "busy.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	notDir := filepath.Join(file, "etcd")
	sock := "--api.socket=" + filepath.Join(dir, "a.sock")
	none := "--openflow.listen="
	of := "--openflow.socket=" + filepath.Join(dir, "of.sock")
	exit(t, 2, file+":2: unknown key api.sockt", "--config", file)
	exit(t, 2, "no such file", "--config", filepath.Join(dir, "none.yaml"))
	exit(t, 2, "unknown flag", "--colour=red")
	exit(t, 2, "unknown command", "start")
	exit(t, 2, "no host could connect", none)
	exit(t, 2, "tls.insecure: true", "--openflow.listen=0.0.0.0:6640")
	exit(t, 2, "set all three or none", "--tls.ca=x")
	exit(t, 2, "not longer than echo_interval", "--openflow.echo_timeout=1s")
	exit(t, 2, "is no URL", "--etcd=nonsense")
	exit(t, 2, "etcd.listen: \"0.0.0.0:2379\" is no address of this machine alone", "--etcd.listen=0.0.0.0:2379")
	exit(t, 1, "another process serves this socket", "--api.socket="+filepath.Join(dir, "busy.sock"), none, of)
	exit(t, 1, "the path exists and is no socket", "--api.socket="+file, none, of)
	exit(t, 1, "etcd.data_dir", sock, none, of, "--etcd.data_dir="+notDir)
	exit(t, 1, "http://127.0.0.1:1", sock, none, of, "--etcd=http://127.0.0.1:1", "--etcd.timeout=300ms")
	if left, _ := filepath.Glob(filepath.Join(dir, "a.sock")); len(left) != 0 {
		t.Error("a socket is left behind")
	}
}

func TestServesAndStops(t *testing.T) {
	dir := t.TempDir()
	sock := filepath.Join(dir, "a.sock")
	c, out := command(t, "--api.socket="+sock, "--openflow.listen=127.0.0.1:0", "--etcd.data_dir="+filepath.Join(dir, "etcd"))
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	client, err := api.Dial("unix:"+sock, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	deadline := time.Now().Add(20 * time.Second)
	for tick := time.Tick(20 * time.Millisecond); ; <-tick {
		if _, err = client.Hosts(t.Context()); err == nil || time.Now().After(deadline) {
			break
		}
	}
	if err != nil {
		t.Errorf("no answer: %v", err)
	}
	if info, err := os.Stat(sock); err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("socket %v, error %v", info, err)
	}
	if err := client.SetLogLevel(t.Context(), "vmc", "debug"); err != nil {
		t.Error(err)
	}
	if err := client.SetLogLevel(t.Context(), "nothing", "debug"); err == nil || !strings.Contains(err.Error(), "want one of api, migrate, ofe") {
		t.Errorf("log level of nothing: %v", err)
	}
	if err := c.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := c.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v\n%s", err, out)
	}
	if _, err := os.Stat(sock); err == nil {
		t.Error("the socket is left behind")
	}
}

func TestConfigDoc_NamesEveryKey(t *testing.T) {
	c, out := command(t, "config", "doc")
	if err := c.Run(); err != nil || !strings.Contains(out.String(), "| `openflow.echo_timeout` | duration |") {
		t.Errorf("error %v, output\n%s", err, out)
	}
}
