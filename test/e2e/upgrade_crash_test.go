package e2e_test

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	"baton/hostapi"
)

// Lines of host1's configuration for a standby: one that finds out soon that the process which
// forwards is stuck, and one that is patient on a machine that others use too.
var (
	hastyStandby = []string{"standby: true", "watchdog: 1s"}
	standbyLines = []string{"standby: true", "watchdog: 5s"}
)

// TestStandbyCrashes ends the process that forwards in each way that there is, twice: its standby
// goes on and has a standby of its own, no session ends, and nothing but what was in the dead
// process is lost.
func TestStandbyCrashes(t *testing.T) {
	for _, k := range []struct {
		name   string
		signal syscall.Signal
		most   uint64 // datagrams of a stream, in two crashes
		server bool
	}{
		{"killed", syscall.SIGKILL, 2 * inDead, false}, {"server killed", syscall.SIGKILL, 2 * inDead, true},
		// The runtime writes all stacks first.
		{"fault", syscall.SIGSEGV, 4 * inDead, false}, {"abort", syscall.SIGABRT, 4 * inDead, false}, {"quit", syscall.SIGQUIT, 4 * inDead, false},
		// The watchdog's time, and that of a busy machine.
		{"stuck", syscall.SIGSTOP, 14 * inDead, false}, {"server stuck", syscall.SIGSTOP, 14 * inDead, true},
	} {
		t.Run(k.name, func(t *testing.T) {
			cfg := handConfig{more: standbyLines, server: k.server}
			if k.signal == syscall.SIGSTOP {
				cfg.more = hastyStandby
			}
			r := newHandRig(t, cfg)
			r.crashTwice(k.most, func() { must(t, r.h1.Proc.Signal(k.signal)) })
		})
	}
}

// crashTwice has the process that forwards end by what crash does, and then the one that took
// over, and checks what TestStandbyCrashes says; most is how many datagrams of a stream the two
// may cost.
func (r *handRig) crashTwice(most uint64, crash func()) {
	t := r.t
	t.Helper()
	r.flow()
	for range 2 {
		r.ready()
		was := usedDevice(t, r)
		r.h1.Proc.MayEnd(true)
		crash()
		v := r.succeeded()
		t.Logf("went on in %.1f ms", 1e3*v.TotalS)
		if v.State != hostapi.UpgradeDone || v.Phase != hostapi.UpgradeTakeover || v.Error == "" || len(v.Ports) == 0 || v.Ports[0].Lost != nil || v.Started == "" || v.Binary == "" {
			t.Errorf("the new process tells of %+v", v)
		}
		if now := usedDevice(t, r); now == was {
			t.Errorf("the wire is reached by %s as before", now)
		}
		eachMore(r.streams, 50)
	}
	r.ready()
	r.sessions()
	r.crashed(most)
	r.flow()
	r.whole()
	checkBooks(t, r.h1, r.h2)
}

// usedDevice is what the host's batond reaches the wire by.
func usedDevice(t *testing.T, r *handRig) string {
	t.Helper()
	name, _, _ := strings.Cut(portOf(t, r.h1, "underlay").Detail, ",")
	return name
}

// TestStandbyDies ends a standby in each way: the process that forwards goes on as if nothing
// were, and has another one soon.
func TestStandbyDies(t *testing.T) {
	r := newHandRig(t, handConfig{more: standbyLines})
	r.flow()
	for _, s := range []syscall.Signal{syscall.SIGKILL, syscall.SIGSTOP} {
		r.ready()
		was := child(t, r.h1, "--standby-of=")
		signal(t, was, s)
		waitFor(t, r.c, "another standby", func() bool {
			all := children(r.h1, "--standby-of=")
			return len(all) == 1 && all[0] != was
		})
	}
	r.ready()
	r.sessions()
	r.whole()
	checkBooks(t, r.h1, r.h2)
}

// TestStandbyUpgrade hands a host over that has a standby: that one ends for it, and the new
// process has one of its own, with which it survives a crash.
func TestStandbyUpgrade(t *testing.T) {
	for name, cfg := range map[string]handConfig{"client": {more: standbyLines}, "server": {more: standbyLines, server: true}} {
		t.Run(name, func(t *testing.T) {
			r := newHandRig(t, cfg)
			r.flow()
			for range 2 {
				r.ready()
				r.upgrade(hostapi.UpgradeRequest{})
				r.ready()
			}
			r.dryRun()
			r.ready()
			r.sessions()
			r.whole()
			r.flow()
			must(t, r.h1.Proc.Signal(syscall.SIGKILL))
			r.succeeded()
			r.sessions()
			r.crashed(inDead)
		})
	}
}

// TestStandbyFollows gives a host new ports and rules, by a controller that dies before batond
// does: the standby goes on with all of them.
func TestStandbyFollows(t *testing.T) {
	r := newHandRig(t, handConfig{more: standbyLines})
	r.ready()
	var all []*liveVM
	for i := range 3 {
		e := endpointOf(fmt.Sprintf("vm%d", 60+i), fmt.Sprintf("10.0.1.%d", 60+i))
		must(t, r.c.ApplyWait(fmt.Sprintf("{kind: Port, name: %s, switch: blue, ip: %v, host: host1, id: %d}", e.Name, e.IP, 60+i)))
		v := startVM(t, r.c, r.h1, e)
		v.waitReady()
		r.ports, all = append(r.ports, e.Name), append(all, v)
	}
	must(t, r.h1.WaitPorts(r.ports...))
	for _, v := range all {
		v.ping("10.0.1.13", v.resolve("10.0.1.13"), 3)
	}
	was := stats(t, r.h1)
	r.c.Controller().Proc.Kill()
	must(t, r.h1.Proc.Signal(syscall.SIGKILL))
	r.succeeded()
	r.sessions()
	for _, v := range append(all, r.a) {
		v.ping("10.0.1.13", v.resolve("10.0.1.13"), 10)
	}
	if now := stats(t, r.h1); now.Rules != was.Rules || now.Bindings != was.Bindings || now.Neighbours != was.Neighbours {
		t.Errorf("%d rules, %d bindings, %d neighbours; the process that died had %d, %d, %d",
			now.Rules, now.Bindings, now.Neighbours, was.Rules, was.Bindings, was.Neighbours)
	}
	if n := strings.Count(r.h1.Proc.Log(), "no standby:"); n != 0 {
		t.Errorf("%d standbys ended", n)
	}
}

// TestStandbyEnds ends batond as an operator does, with its standby ready, and while it is just
// starting: all processes end, none takes over.
func TestStandbyEnds(t *testing.T) {
	for _, ready := range []bool{true, false} {
		r := newHandRig(t, handConfig{more: standbyLines})
		if ready {
			r.ready()
		}
		var kids []int
		waitFor(t, r.c, "a standby's process", func() bool {
			kids = children(r.h1, "--standby-of=")
			return len(kids) > 0
		})
		must(t, r.h1.Proc.Signal(syscall.SIGTERM))
		code, err := r.h1.Proc.WaitExit(waitLimit)
		must(t, err)
		if code != 0 || !gone(kids) {
			t.Errorf("ready %v: batond ended with %d, its standby %v is gone: %v", ready, code, kids, gone(kids))
		}
		if strings.Contains(r.h1.Proc.Log(), "[ERROR]") {
			t.Errorf("ready %v: an error in\n%s", ready, r.h1.Proc.LogTail(20))
		}
	}
}

// gone reports whether none of the processes is there any more.
func gone(pids []int) bool {
	for _, pid := range pids {
		if syscall.Kill(pid, 0) == nil {
			return false
		}
	}
	return true
}
