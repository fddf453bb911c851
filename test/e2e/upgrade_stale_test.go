package e2e_test

import (
	"strings"
	"syscall"
	"testing"

	"baton/vhost/guest"
)

// TestStandbyStale has a process die when its standby has not been told of what a VM's front end
// said last: the standby goes on with the other VMs, and that one's session begins anew.
func TestStandbyStale(t *testing.T) {
	for name, server := range map[string]bool{"client": false, "server": true} {
		t.Run(name, func(t *testing.T) {
			r := newHandRig(t, handConfig{idle: 2, server: server, more: standbyLines})
			r.ready()
			r.flow()
			standby := child(t, r.h1, "--standby-of=")
			signal(t, standby, syscall.SIGSTOP)
			v := r.idle[0]
			must(t, v.do(func(g *guest.Guest) error { return g.Enable(0, false) }))
			must(t, v.do(func(g *guest.Guest) error { return g.Enable(0, true) }))
			r.h1.Proc.MayEnd(true)
			must(t, r.h1.Proc.Signal(syscall.SIGKILL))
			signal(t, standby, syscall.SIGCONT)
			waitFor(t, r.c, "the standby's answer", func() bool {
				now, err := r.h1.API.Upgrade(t.Context())
				return err == nil && now.PID == standby
			})
			back := v.reconnect()
			r.succeeded()
			must(t, <-back)
			for _, v := range r.idle {
				v.ping("10.0.1.13", v.resolve("10.0.1.13"), 3)
			}
			eachMore(r.streams, 50)
			r.sessions()
			r.crashed(inDead)
			const line = "its session begins anew: port="
			if log := r.h1.Proc.Log(); strings.Count(log, line) != 1 || !strings.Contains(log, line+v.Name) {
				t.Errorf("not once %q and only of %s in\n%s", line, v.Name, r.h1.Proc.LogTail(60))
			}
			r.ready() // which has the last state of all of them
			r.h1.Proc.MayEnd(true)
			must(t, r.h1.Proc.Signal(syscall.SIGKILL))
			r.succeeded()
			if n := strings.Count(r.h1.Proc.Log(), line); n != 1 {
				t.Errorf("%d sessions began anew, want that one alone", n)
			}
			checkBooks(t, r.h1, r.h2)
		})
	}
}
