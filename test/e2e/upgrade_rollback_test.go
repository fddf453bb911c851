package e2e_test

import (
	"strings"
	"syscall"
	"testing"

	"baton/hostapi"
)

// inDead bounds what may be lost or come twice with a process that dies, of a stream of one
// datagram each handEvery: bursts under way, and 200 ms until that process is known to be gone.
const inDead = 75

// TestUpgradeStreams hands a host over five times, while streams run between its VMs and to and
// from the wire: each datagram comes once and in order, and no session ends.
func TestUpgradeStreams(t *testing.T) {
	for name, cfg := range map[string]handConfig{
		"client": {}, "server": {server: true},
		"two workers": {idle: 3, more: []string{"workers: {cpus: [0, 1]}"}}, // of which each has some of the ports
	} {
		t.Run(name, func(t *testing.T) {
			r := newHandRig(t, cfg)
			r.flow()
			for range 5 {
				for _, p := range r.upgrade(hostapi.UpgradeRequest{}).Ports {
					if p.Lost == nil || *p.Lost != 0 || p.Phase != hostapi.UpgradePortMoved {
						t.Errorf("port %+v", p)
					}
				}
				eachMore(r.streams, 50)
			}
			r.sessions()
			r.whole()
			checkBooks(t, r.h1, r.h2)
		})
	}
}

// TestUpgradeAbort has upgrades rolled back by an operator, one with some ports moved and one in
// its canaries' time: nothing is lost, and the next one succeeds.
func TestUpgradeAbort(t *testing.T) {
	for name, cfg := range map[string]handConfig{"client": {idle: 4}, "server": {idle: 4, server: true}} {
		t.Run(name, func(t *testing.T) {
			r := newHandRig(t, cfg)
			r.flow()
			r.begin()
			must(t, r.h1.API.AbortUpgrade(t.Context(), "it is late"))
			for i, p := range r.rolledBack("aborted by an operator: it is late").Ports {
				if p.Relayed == nil || p.Lost == nil || *p.Lost != 0 || p.Phase != hostapi.UpgradePortBack || i == 0 && p.InterruptionUs == nil {
					t.Errorf("port %d: %+v", i, p)
				}
			}
			r.alone()
			r.canary(60, "vm2", "vm1")
			eachMore(r.streams, 50)
			must(t, r.h1.API.AbortUpgrade(t.Context(), "it is late"))
			back := r.rolledBack("aborted by an operator").Ports[1] // vm1, which streams run to and from
			if back.Relayed == nil || *back.Relayed == 0 || back.Lost == nil || *back.Lost != 0 || back.InterruptionUs == nil {
				t.Errorf("port %+v", back)
			}
			r.upgrade(hostapi.UpgradeRequest{})
			eachMore(r.streams, 50)
			r.sessions()
			r.whole()
			checkBooks(t, r.h1, r.h2)
			checkStreamsCounted(t, r)
		})
	}
}

// TestUpgradeAbortSteer calls upgrades off when the wire's traffic has been sent to the new
// process: it comes back, and nothing is lost.
func TestUpgradeAbortSteer(t *testing.T) {
	r := newHandRig(t, handConfig{})
	r.flow()
	for hit, try := 0, 0; hit < 3; try++ {
		if try == 30 {
			t.Fatalf("of %d upgrades %d were called off in the step steer: want 3", try, hit)
		}
		must(t, r.h1.API.StartUpgrade(t.Context(), hostapi.UpgradeRequest{}))
		for phase := ""; phase != "steer" && phase != "commit" && phase != "done"; {
			if v, err := r.h1.API.Upgrade(t.Context()); err == nil {
				phase = v.Phase
			}
		}
		_ = r.h1.API.AbortUpgrade(t.Context(), "") // it may be too late
		switch v := r.ended(); {
		case v.State != hostapi.UpgradeRolledBack:
			if v.PID != r.h1.Proc.Pid() {
				must(t, r.h1.Adopt(v.PID))
			}
		case !strings.Contains(v.Error, "after port"):
			hit++
		}
		must(t, r.h1.WaitPorts(r.ports...))
		eachMore(r.streams, 50)
	}
	r.sessions()
	r.whole()
	checkBooks(t, r.h1, r.h2)
	checkStreamsCounted(t, r)
}

// TestUpgradeNewDies ends or stops the new process while it has some of the ports: the old one
// has all of them again, and the next upgrade succeeds.
func TestUpgradeNewDies(t *testing.T) {
	for name, how := range map[string]syscall.Signal{"killed": syscall.SIGKILL, "hangs": syscall.SIGSTOP, "aborts": syscall.SIGABRT} {
		t.Run(name, func(t *testing.T) {
			r := newHandRig(t, handConfig{idle: 4})
			r.flow()
			r.begin()
			signal(t, child(t, r.h1, "--takeover="), how)
			most := uint64(inDead)
			if how != syscall.SIGKILL {
				most = 700 // it has its ports for up to 2 s, when the old process gives it up
			}
			if back := r.rolledBack("the new process").Ports[0]; back.Relayed == nil || back.Lost != nil || back.InterruptionUs != nil {
				t.Errorf("the new process has told nothing, and this is told: %+v", back)
			}
			r.alone()
			r.sessions()
			r.crashed(most)
			r.flow()
			r.upgrade(hostapi.UpgradeRequest{})
			eachMore(r.streams, 50)
			r.whole()
			checkBooks(t, r.h1, r.h2)
		})
	}
}

// TestUpgradeOldDies kills or stops the old process while the new one has some of the ports: the
// new one goes on with all.
func TestUpgradeOldDies(t *testing.T) {
	for name, how := range map[string]struct {
		cfg  handConfig
		sig  syscall.Signal
		most uint64 // packets in what died, and what came until it was known
	}{
		"client": {handConfig{idle: 4}, syscall.SIGKILL, inDead},
		"server": {handConfig{idle: 4, server: true}, syscall.SIGKILL, inDead},
		"hangs":  {handConfig{idle: 4}, syscall.SIGSTOP, 5000},
	} {
		t.Run(name, func(t *testing.T) {
			r := newHandRig(t, how.cfg)
			r.flow()
			r.begin()
			must(t, r.h1.Proc.Signal(how.sig))
			if v := r.succeeded(); v.State != hostapi.UpgradeDone || len(v.Ports) != len(r.ports) || v.Error == "" || v.Started == "" || v.TotalS == 0 || v.Binary == "" || v.Ports[0].Lost != nil {
				t.Errorf("the new process tells of %+v", v)
			}
			r.sessions()
			r.crashed(how.most)
			r.flow()
			r.upgrade(hostapi.UpgradeRequest{})
			r.whole()
			checkBooks(t, r.h1, r.h2)
		})
	}
}
