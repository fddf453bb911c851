package main

import (
	"path/filepath"
	"testing"

	"baton/cmd/internal/cli/unitfile"
)

// The unit that the package installs starts this program by a command line that it takes.
func TestUnit(t *testing.T) {
	u, err := unitfile.Read("../../packaging/systemd/baton-controller.service")
	if err != nil {
		t.Fatal(err)
	}
	line := u.Command()
	if len(line) == 0 || filepath.Base(line[0]) != "baton-controller" || !filepath.IsAbs(line[0]) {
		t.Fatalf("it starts %q", line)
	}
	if err := newRoot().ParseFlags(line[1:]); err != nil {
		t.Error(err)
	}
}
