package e2e_test

import (
	"fmt"

	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"baton/hostapi"
	"baton/test/cluster"
)

// soakDeaths are the steps in which the process that forwards dies, or its standby.
var soakDeaths = []soakStep{
	{"crash", (*soak).crash},
	{"stuck", (*soak).stuck},
	{"standby killed", (*soak).standbyDies},
	{"old process killed", (*soak).oldDies},
	{"crash without standby", (*soak).crashAlone},
	{"old process killed without standby", func(s *soak) { s.without((*soak).oldDies) }},
}

func (s *soak) crash() {
	s.t.Helper()
	all := []syscall.Signal{syscall.SIGKILL, syscall.SIGSEGV, syscall.SIGABRT}
	s.takenOver(all[s.random.IntN(len(all))], 2*inDead) // runtimes write stacks first
}

func (s *soak) stuck() {
	s.t.Helper()
	s.takenOver(syscall.SIGSTOP, 14*inDead) // the watchdog's time, and that of a busy machine
}

func (s *soak) takenOver(how syscall.Signal, most uint64) {
	s.t.Helper()
	must(s.t, s.h1.Proc.Signal(how))
	s.succeeded()
	s.origin = "takeover"
	s.done[doneCrashes]++
	s.crashed(most)
	s.connected(s.live()...)
}

func (s *soak) standbyDies() {
	s.t.Helper()
	was := child(s.t, s.h1, "--standby-of=")
	signal(s.t, was, syscall.SIGKILL)
	waitFor(s.t, s.c, "another standby", func() bool {
		all := children(s.h1, "--standby-of=")
		return len(all) == 1 && all[0] != was
	})
	s.planned()
}

// oldDies kills the old process at any moment of an upgrade. What its new process has of it goes
// on; if that is nothing, who starts batond starts it anew. VMs whose session is gone connect
// again.
func (s *soak) oldDies() {
	s.t.Helper()
	s.ask(slowly)
	s.pause(3 * time.Second)
	// Stopped first: it is not to start a process between the look at those and its death.
	must(s.t, s.h1.Proc.Signal(syscall.SIGSTOP))
	heirs := slices.Concat(children(s.h1, "--takeover="), children(s.h1, "--standby-of="))
	must(s.t, s.h1.Proc.Signal(syscall.SIGKILL))
	was, heir := s.h1.Proc.Pid(), 0
	waitFor(s.t, s.c, "another process' answer, or the end of all", func() bool {
		if now, err := s.h1.API.Upgrade(s.t.Context()); err == nil && now.PID != was {
			heir = now.PID
		}
		return heir != 0 || ended(heirs)
	})
	if heir == 0 {
		s.restart()
		return
	}
	s.done[doneCrashes]++
	must(s.t, s.h1.Adopt(heir))
	s.origin = "takeover"
	s.again()
	s.lost()
}

// ended reports whether all processes have ended; their parent is dead, and nobody may ask for
// their exit codes.
func ended(pids []int) bool {
	for _, pid := range pids {
		exe, err := os.ReadFile(procFile(pid, "cmdline")) // of a zombie empty
		if err == nil && len(exe) > 0 {
			return false
		}
	}
	return true
}

// crashAlone kills a process that has no standby, and starts batond anew.
func (s *soak) crashAlone() {
	s.t.Helper()
	s.without(func(s *soak) {
		must(s.t, s.h1.Proc.Signal(syscall.SIGKILL))
		s.restart()
	})
}

// without has f done while host1 has no standby, which it has again afterwards, by an upgrade
// each. f ends the streams.
func (s *soak) without(f func(*soak)) {
	s.t.Helper()
	s.configure(false)
	s.handOver(hostapi.UpgradeRequest{})
	s.standby = false
	s.quiet()
	s.look()
	s.flow()
	f(s)
	s.quiet()
	s.look()
	s.flow()
	s.configure(true)
	s.handOver(hostapi.UpgradeRequest{})
	s.standby = true
}

// configure gives the next process of host1 a standby, or none.
func (s *soak) configure(standby bool) {
	s.t.Helper()
	must(s.t, s.h1.Rewrite(func(cfg *cluster.HostConfig) {
		for i, line := range cfg.More {
			if strings.HasPrefix(line, "standby:") {
				cfg.More[i] = fmt.Sprintf("standby: %v", standby)
			}
		}
	}))
}

// restart starts host1's batond, which is dead, from nothing.
func (s *soak) restart() {
	s.t.Helper()
	_, err := s.h1.Proc.WaitExit(waitLimit)
	must(s.t, err)
	var back []<-chan error
	for _, v := range s.live() {
		back = append(back, v.reconnect())
	}
	must(s.t, s.h1.Start())
	s.origin = "start"
	s.done[doneStarted]++
	for _, r := range back {
		must(s.t, <-r)
	}
	s.lost()
}

// again has VMs connect again whose sessions are gone.
func (s *soak) again() {
	s.t.Helper()
	for _, v := range s.live() {
		if v.session() == nil {
			continue
		}
		s.done[doneConnects]++
		must(s.t, <-v.reconnect())
	}
}

// lost ends streams of which anything may be lost, but that go on.
func (s *soak) lost() {
	s.t.Helper()
	must(s.t, s.h1.WaitPorts(s.names()...))
	eachMore(s.streams, 20)
	for _, x := range s.streams {
		x.stop()
	}
	s.streams = nil
}
