package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"baton/hostapi"
	"baton/upgrade/handover"
	"baton/upgrade/relay"
)

// What a process that died has not told is absent; what is known of the others is told.
func TestFill(t *testing.T) {
	v := hostapi.Upgrade{Ports: []hostapi.UpgradePort{{Name: "back"}, {Name: "partly"}, {Name: "never went"}}}
	stood := 310 * time.Microsecond
	c := relay.Counts{Sent: 7, Waited: 2, Lost: 1}
	fill(&v, map[string]handover.PortReport{"back": {Interruption: &stood, Counts: c}, "partly": {Counts: c, Partly: true}})
	p := v.Ports[0]
	if *p.InterruptionUs != 310 || *p.Relayed != 7 || *p.Waited != 2 || *p.Lost != 1 {
		t.Errorf("%+v", p)
	}
	if p = v.Ports[1]; p.InterruptionUs != nil || *p.Relayed != 7 || p.Waited != nil || p.Lost != nil {
		t.Errorf("%+v", p)
	}
	if p = v.Ports[2]; p.InterruptionUs != nil || *p.Relayed != 0 || *p.Waited != 0 || *p.Lost != 0 {
		t.Errorf("%+v", p)
	}
}

func TestInheritance(t *testing.T) {
	v := inheritance(hostapi.UpgradeTakeover, "batond 0.1.0", time.Now().Add(-time.Second), []hostapi.UpgradePort{{Name: "vm1"}})
	_, err := time.Parse(time.RFC3339, v.Started)
	if err != nil || v.TotalS < 1 || v.Binary == "" || v.Error == "" || v.State != hostapi.UpgradeDone || v.Ports[0].Lost != nil {
		t.Errorf("%v, %+v", err, v)
	}
}

// While an upgrade is under way no other one's program is started, and who calls it off may say why.
func TestUpgrader_UnderWay(t *testing.T) {
	ran := filepath.Join(t.TempDir(), "ran")
	path := filepath.Join(t.TempDir(), "batond")
	if err := os.WriteFile(path, []byte("#!/bin/sh\ntouch "+ran+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	s := &settings{}
	s.Underlay.Alternate = "somewhere"
	u := newUpgrader(&host{settings: s})
	if err := u.StartUpgrade(hostapi.UpgradeRequest{Binary: path}); err == nil || !strings.Contains(err.Error(), "is no batond") {
		t.Errorf("none under way: %v", err)
	}
	if err := os.Remove(ran); err != nil {
		t.Fatalf("the program was not started: %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	u.cancel, u.last.Binary = cancel, "/usr/sbin/batond"
	if err := u.StartUpgrade(hostapi.UpgradeRequest{Binary: path}); err == nil || !strings.Contains(err.Error(), "another upgrade, to /usr/sbin/batond, is under way") {
		t.Errorf("one under way: %v", err)
	}
	if _, err := os.Stat(ran); err == nil {
		t.Error("the second one's program was started")
	}
	if err := u.AbortUpgrade("it is late"); err != nil {
		t.Fatal(err)
	}
	if why := context.Cause(ctx); !errors.Is(why, errAborted) || why.Error() != "aborted by an operator: it is late" {
		t.Errorf("called off: %v", why)
	}
}
