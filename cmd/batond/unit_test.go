package main

import (
	"path/filepath"
	"testing"

	"baton/cmd/internal/cli/unitfile"
)

// The unit that the package installs starts this program by a command line that it takes.
func TestUnit(t *testing.T) {
	u, err := unitfile.Read("../../packaging/systemd/batond.service")
	if err != nil {
		t.Fatal(err)
	}
	line := u.Command()
	if len(line) == 0 || filepath.Base(line[0]) != "batond" || !filepath.IsAbs(line[0]) {
		t.Fatalf("it starts %q", line)
	}
	if err := newRoot().ParseFlags(line[1:]); err != nil {
		t.Error(err)
	}
	// Without these an upgrade, a takeover or a process out of memory ends the service, or an end does not
	// reach all.
	for key, want := range map[string]string{"ExitType": "cgroup", "KillMode": "control-group", "LimitMEMLOCK": "infinity", "Restart": "on-failure", "OOMPolicy": "continue"} {
		if got := u["Service."+key]; got != want {
			t.Errorf("%s=%s, want %s", key, got, want)
		}
	}
}
