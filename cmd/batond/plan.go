package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"baton/hostapi"
	"baton/upgrade/relay"
)

// plan checks what can be checked at once.
//
//	error: what is in the way, with the fix
func (u *upgrader) plan(req hostapi.UpgradeRequest) (*giving, error) {
	g := &giving{u: u, h: u.h, req: req, binary: req.Binary}
	if u.h.settings.Underlay.Alternate == "" {
		return nil, errors.New("underlay.alternate: not set: an upgrade needs a second device for the new process, such as another VF of the NIC")
	}
	if err := g.h.checkSteer(); err != nil {
		return nil, err
	}
	if g.binary == "" {
		path, err := ownBinary()
		if err != nil {
			return nil, fmt.Errorf("%w: name one with --binary", err)
		}
		g.binary = path
	}
	ctx, cancel := context.WithTimeout(context.Background(), versionLimit)
	defer cancel()
	if err := checkBinary(ctx, g.binary); err != nil {
		return nil, err
	}
	return g, g.order()
}

// order lists the ports that are there, the canaries first.
//
//	error: too many; a canary that is none of them
func (g *giving) order() error {
	g.ports = g.h.guests.list()
	if len(g.ports) > relay.MaxPorts {
		return fmt.Errorf("%d ports: an upgrade moves at most %d", len(g.ports), relay.MaxPorts)
	}
	for _, name := range slices.Backward(g.req.Canary) {
		i := slices.IndexFunc(g.ports, func(p *guestPort) bool { return p.binding.Name == name })
		if i < 0 {
			return fmt.Errorf("canary %q: this host has no such port", name)
		}
		p := g.ports[i]
		g.ports = slices.Insert(slices.Delete(g.ports, i, i+1), 0, p)
	}
	return nil
}

// versionLimit is how long a program may take to tell its version.
const versionLimit = 5 * time.Second

// checkBinary wants a batond, that says so before ctx ends.
func checkBinary(ctx context.Context, path string) error {
	if !filepath.IsAbs(path) {
		return fmt.Errorf("binary %s: give an absolute path", path)
	}
	if err := keepFDs(); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, path, "--version")
	cmd.WaitDelay = time.Second // what it has started may keep its output open
	out, err := cmd.Output()
	if ctx.Err() != nil {
		return fmt.Errorf("binary %s: no answer to --version within %v: it is no batond, or hangs", path, versionLimit)
	}
	if err == nil && !strings.HasPrefix(string(out), "batond version ") {
		err = fmt.Errorf("--version says %.60q", strings.TrimSpace(string(out)))
	}
	if err != nil {
		return fmt.Errorf("binary %s: is no batond: %w", path, err)
	}
	return nil
}
