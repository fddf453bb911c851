package main

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"baton/upgrade/wire"
)

// hanging is a program that says nothing and does not end.
func hanging(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "hangs")
	if err := os.WriteFile(path, []byte("#!/bin/sh\nexec sleep 600\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestCheckBinary_Hangs(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err := checkBinary(ctx, hanging(t))
	if err == nil || !strings.HasSuffix(err.Error(), "/hangs: no answer to --version within 5s: it is no batond, or hangs") {
		t.Errorf("%v", err)
	}
}

// A program that was started and says nothing: people read what that means, not what the socket says.
func TestChild_SaysNothing(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fds[1])
	f := os.NewFile(uintptr(fds[0]), "ours")
	c, err := net.FileConn(f)
	f.Close()
	if err != nil {
		t.Fatal(err)
	}
	p := &child{cmd: exec.Command(hanging(t)), exited: make(chan struct{})}
	if p.conn, err = wire.NewConn(c.(*net.UnixConn)); err != nil {
		t.Fatal(err)
	}
	defer p.conn.Close()
	if err := p.conn.SetDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	_, silent := p.conn.Offer(offer(&settings{}))
	err = p.because(t.Context(), silent)
	if err == nil || !strings.HasSuffix(err.Error(), "/hangs: it has not answered within 10s: it is no batond, or hangs; what it printed is in the log") {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errAborted)
	if err := p.because(ctx, silent); !errors.Is(err, errAborted) {
		t.Errorf("called off meanwhile: %v", err)
	}
}
