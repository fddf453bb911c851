package e2e_test

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"baton/hostapi"
)

// TestUpgradeWrongInput asks for upgrades that cannot be: each is refused, or rolled back before
// a port has moved, in a line that says what is wrong, and the traffic goes on.
func TestUpgradeWrongInput(t *testing.T) {
	r := newHandRig(t, handConfig{})
	r.flow()
	config := r.c.Lab.Path("host1.yaml")
	asItWas, err := os.ReadFile(config)
	must(t, err)
	text := r.c.Lab.Path("no-program")
	must(t, os.WriteFile(text, []byte("no program"), 0o600))
	hangs, silent := r.c.Lab.Path("hangs"), r.c.Lab.Path("silent")
	must(t, os.WriteFile(hangs, []byte("#!/bin/sh\nexec sleep 600\n"), 0o700))
	must(t, os.WriteFile(silent, []byte("#!/bin/sh\n[ \"$1\" = --version ] && exec echo batond version 9\nexec sleep 600\n"), 0o700))
	for _, k := range []struct {
		name     string
		req      hostapi.UpgradeRequest
		old, new string // what the new process' configuration has instead
		want     []string
	}{
		{"another program", hostapi.UpgradeRequest{Binary: "/bin/true"}, "", "", []string{"/bin/true", "is no batond"}},
		{"a folder", hostapi.UpgradeRequest{Binary: "/usr"}, "", "", []string{"/usr", "is no batond"}},
		{"not executable", hostapi.UpgradeRequest{Binary: text}, "", "", []string{text, "is no batond", "permission denied"}},
		{"not there", hostapi.UpgradeRequest{Binary: "/usr/no/batond"}, "", "", []string{"/usr/no/batond", "no such file"}},
		{"hangs", hostapi.UpgradeRequest{Binary: hangs}, "", "", []string{hangs, "no answer to --version within 5s"}},
		{"starts and says nothing", hostapi.UpgradeRequest{Binary: silent}, "", "", []string{silent, "it has not answered within 10s", "the log"}},
		{"relative path", hostapi.UpgradeRequest{Binary: "bin/batond"}, "", "", []string{"bin/batond", "absolute path"}},
		{"unknown canary", hostapi.UpgradeRequest{Canary: []string{"vm1", "vm9"}}, "", "", []string{`canary "vm9"`, "no such port"}},
		{"canaries' time", hostapi.UpgradeRequest{Canary: []string{"vm1"}, CanaryS: -1}, "", "", []string{"canary_s -1"}},
		{"rate", hostapi.UpgradeRequest{Rate: -1}, "", "", []string{"rate -1"}},
		{"rate of a port in years", hostapi.UpgradeRequest{Rate: 1e-9}, "", "", []string{"rate 1e-09", "at least one a day"}},
		{"no configuration", hostapi.UpgradeRequest{}, "host: host1", "hots: host1", []string{"it ended (exit status 2)", "the log"}},
		{"another host", hostapi.UpgradeRequest{}, "host: host1", "host: host7", []string{"host7 is configured, and host1 runs"}},
		{"more workers", hostapi.UpgradeRequest{}, "cpus: [0]", "cpus: [0, 1]", []string{"workers.cpus", "2 workers are configured, and 1"}},
		{"more queues", hostapi.UpgradeRequest{}, "queue_pairs: 1", "queue_pairs: 2", []string{"port vm1", "vhost.queue_pairs"}},
		{"other device", hostapi.UpgradeRequest{}, "iface=eth1", "iface=eth7", []string{"eth7"}},
		{"no second device", hostapi.UpgradeRequest{}, "alternate: ", "# ", []string{"the log"}},
		{"too little memory", hostapi.UpgradeRequest{}, "buffers: 4096", "buffers: 1048576, huge_pages: require", []string{"huge pages of 2 MiB are needed"}},
		{"too little, dry run", hostapi.UpgradeRequest{DryRun: true}, "buffers: 4096", "buffers: 1048576, huge_pages: require", []string{"huge pages of 2 MiB are needed"}},
	} {
		t.Run(k.name, func(t *testing.T) {
			changed := strings.ReplaceAll(string(asItWas), k.old, k.new)
			if k.old != "" && changed == string(asItWas) {
				t.Fatalf("%q is not in\n%s", k.old, asItWas)
			}
			if k.old != "" {
				must(t, os.WriteFile(config, []byte(changed), 0o600))
				defer func() { must(t, os.WriteFile(config, asItWas, 0o600)) }()
			}
			v, err := r.h1.Upgrade(t.Context(), k.req)
			line := v.Error
			if err != nil {
				line = err.Error()
			} else if v.State != hostapi.UpgradeRolledBack {
				t.Errorf("upgrade: %+v", v)
			}
			t.Log(line)
			for _, w := range k.want {
				if !strings.Contains(line, w) {
					t.Errorf("%q does not say %q", line, w)
				}
			}
			if strings.Contains(line, "\n") {
				t.Errorf("more than one line: %q", line)
			}
		})
	}
	r.alone()
	r.sessions()
	eachMore(r.streams, 50)
	r.dryRun()
	r.upgrade(hostapi.UpgradeRequest{})
	r.whole()
	checkBooks(t, r.h1, r.h2)
}

// TestUpgradeTwice asks for an upgrade while another one is under way, and for an abort while none is.
func TestUpgradeTwice(t *testing.T) {
	r := newHandRig(t, handConfig{idle: 2})
	r.flow()
	if err := r.h1.API.AbortUpgrade(t.Context(), ""); err == nil || !strings.Contains(err.Error(), "no upgrade is under way") {
		t.Errorf("abort of none: %v", err)
	}
	r.h1.Proc.MayEnd(true)
	r.begin()
	for _, req := range []hostapi.UpgradeRequest{{}, {DryRun: true}} {
		if err := r.h1.API.StartUpgrade(t.Context(), req); err == nil || !strings.Contains(err.Error(), "is under way since") {
			t.Errorf("second upgrade: %v", err)
		}
	}
	r.succeeded()
	r.sessions()
	r.whole()
	checkBooks(t, r.h1, r.h2)
}

// TestUpgradeWithout asks hosts that have no second device for an upgrade.
func TestUpgradeWithout(t *testing.T) {
	c := newCluster(t)
	h := startHost(t, c, host1())
	err := h.API.StartUpgrade(t.Context(), hostapi.UpgradeRequest{})
	if err == nil || !strings.Contains(err.Error(), "underlay.alternate: not set") || !strings.Contains(err.Error(), "second device") {
		t.Errorf("upgrade: %v", err)
	}
}

// TestUpgradeTerm tells batond to end while it is handing over, by the signal that a service
// manager sends to all its processes and to it alone: all end, and leave nothing behind.
func TestUpgradeTerm(t *testing.T) {
	for _, all := range []bool{true, false} {
		t.Run(fmt.Sprint("all ", all), func(t *testing.T) {
			r := newHandRig(t, handConfig{idle: 2})
			r.begin()
			kid := child(t, r.h1, "--takeover=")
			if all {
				signal(t, kid, syscall.SIGTERM)
			}
			must(t, r.h1.Proc.Signal(syscall.SIGTERM))
			code, err := r.h1.Proc.WaitExit(waitLimit)
			must(t, err)
			if code != 0 || !gone([]int{kid}) {
				t.Errorf("batond ended with %d, its new process is gone: %v", code, gone([]int{kid}))
			}
			for _, want := range []string{"batond was told to end", "batond: ended"} {
				if !strings.Contains(r.h1.Proc.Log(), want) {
					t.Errorf("no %q in\n%s", want, r.h1.Proc.LogTail(20))
				}
			}
			must(t, r.h1.Start()) // the lock and the sockets are free
		})
	}
}
