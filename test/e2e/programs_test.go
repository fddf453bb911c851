package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"baton/test/cluster"
)

// programLimit bounds a run of a program that must end by itself.
const programLimit = 60 * time.Second

// outcome is how a program ended.
type outcome struct {
	command        string
	stdout, stderr string
	code           int
}

// program runs one of ours from bin/, in this process's namespace, to its end.
func program(t testing.TB, name string, args ...string) outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), programLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(binDir(t), name), args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	o := outcome{command: strings.Join(append([]string{name}, args...), " "), stdout: out.String(), stderr: errs.String(), code: cmd.ProcessState.ExitCode()}
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
		t.Fatalf("%s: %v", o.command, err)
	}
	if ctx.Err() != nil {
		t.Fatalf("%s: still running after %v:\n%s", o.command, programLimit, o.stderr)
	}
	return o
}

// complaints are the lines with which the program says why it ended, without a
// daemon's log lines.
func (o outcome) complaints() []string {
	name, _, _ := strings.Cut(o.command, " ")
	var all []string
	for line := range strings.Lines(o.stderr) {
		if text, ok := strings.CutPrefix(line, name+": "); ok {
			all = append(all, strings.TrimSpace(text))
		}
	}
	return all
}

// refused checks that the program ended with code, nothing on standard output
// and one line of complaint, which has all parts.
func (o outcome) refused(t testing.TB, code int, parts ...string) {
	t.Helper()
	if o.code != code || o.stdout != "" {
		t.Errorf("%s: exit code %d, want %d; standard output %q, want none; standard error:\n%s", o.command, o.code, code, o.stdout, o.stderr)
	}
	if strings.Contains(o.stderr, "goroutine ") {
		t.Fatalf("%s: it crashed:\n%s", o.command, o.stderr)
	}
	said := o.complaints()
	if len(said) != 1 {
		t.Fatalf("%s: %d lines of complaint, want one:\n%s", o.command, len(said), o.stderr)
	}
	for _, part := range parts {
		if !strings.Contains(said[0], part) {
			t.Errorf("%s: said %q, lacks %q", o.command, said[0], part)
		}
	}
}

// ok fails the test unless the program ended well, and returns what it printed.
func (o outcome) ok(t testing.TB) string {
	t.Helper()
	if o.code != 0 || o.stderr != "" {
		t.Fatalf("%s: exit code %d, standard error:\n%s", o.command, o.code, o.stderr)
	}
	return o.stdout
}

// site is a controller and one host with two VMs that talk through the router,
// all the time, while the test does its worst.
type site struct {
	c     *cluster.Cluster
	h     *cluster.Host
	talk  *stream
	model string // what the controller has stored
	rules string // what the host forwards by
}

// newSite starts network and more documents on host1. The end of the test checks
// that no datagram of the VMs' talk was lost.
func newSite(t testing.TB, more ...string) *site {
	t.Helper()
	s := &site{c: newCluster(t)}
	startController(t, s.c, append([]string{network}, more...)...)
	s.h = startHost(t, s.c, host1())
	must(t, s.c.WaitInStep("host1"))
	a, b := startVM(t, s.c, s.h, vm1), startVM(t, s.c, s.h, vm2)
	a.waitReady()
	b.waitReady()
	must(t, s.h.WaitPorts("vm1", "vm2"))
	s.talk = a.stream(b, gwBlue.MAC, 5*time.Millisecond)
	t.Cleanup(s.talk.checkWhole)
	s.mark(t)
	return s
}

// ctl runs batonctl against the controller and the host.
func (s *site) ctl(t testing.TB, args ...string) outcome {
	t.Helper()
	return program(t, "batonctl", append([]string{"--server", s.c.Controller().API, "--host-socket", s.h.Socket}, args...)...)
}

// mark takes what is stored and in force as what must stay.
func (s *site) mark(t testing.TB) {
	t.Helper()
	s.model, s.rules = s.stored(t), s.inForce(t)
}

// stored is the network without the hosts' status, which comes and goes with them.
func (s *site) stored(t testing.TB) string {
	t.Helper()
	var objects []map[string]any
	decodeJSON(t, s.ctl(t, "get", "all", "-o", "json").ok(t), &objects)
	for _, o := range objects {
		if o["kind"] == "Host" {
			delete(o, "status")
		}
	}
	text, err := json.MarshalIndent(objects, "", " ")
	must(t, err)
	return string(text)
}

func decodeJSON(t testing.TB, text string, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), into); err != nil {
		t.Fatalf("%v in %q", err, text)
	}
}

// inForce is rules and ports of the host, without counts.
func (s *site) inForce(t testing.TB) string {
	t.Helper()
	rules, err := s.h.API.Rules(t.Context())
	must(t, err)
	for i := range rules {
		rules[i].Packets, rules[i].Bytes = 0, 0
	}
	ports, err := s.h.API.Ports(t.Context())
	must(t, err)
	text, err := json.MarshalIndent(rules, "", " ")
	must(t, err)
	for _, p := range ports {
		text = fmt.Appendf(text, "\n%s %s", p.Name, p.Number)
	}
	return string(text)
}

// unchanged checks that stored state and dataplane are as marked, and that the
// VMs still talk.
func (s *site) unchanged(t testing.TB) {
	t.Helper()
	if got := s.stored(t); got != s.model {
		t.Errorf("the stored network has changed (-was +is):\n%s", cmp.Diff(s.model, got))
	}
	if got := s.inForce(t); got != s.rules {
		t.Errorf("the host's rules have changed (-were +are):\n%s", cmp.Diff(s.rules, got))
	}
	s.talk.waitMore(3)
}

// file writes a file of this name into a folder of the test.
func file(t testing.TB, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	must(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}
