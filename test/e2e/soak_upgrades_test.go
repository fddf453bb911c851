package e2e_test

import (
	"strings"
	"syscall"
	"time"

	"baton/hostapi"
)

// soakUpgrades are the steps in which host1 is to be handed over, and nothing dies but what is
// killed.
var soakUpgrades = []soakStep{
	{"upgrade", func(s *soak) { s.handOver(hostapi.UpgradeRequest{}) }},
	{"upgrade with canary", func(s *soak) { s.handOver(hostapi.UpgradeRequest{Canary: []string{"vm2"}, CanaryS: 0.3}) }},
	{"upgrade with rate", func(s *soak) { s.handOver(hostapi.UpgradeRequest{Rate: float64(5 + s.random.IntN(20))}) }},
	{"dry run", (*soak).dryRun},
	{"upgrade aborted", (*soak).abort},
	{"new process killed", (*soak).newDies},
	{"new process stopped", (*soak).newHangs},
}

// slowly is an upgrade that takes seconds.
var slowly = hostapi.UpgradeRequest{Rate: 3}

func (s *soak) handOver(req hostapi.UpgradeRequest) {
	s.t.Helper()
	s.upgrade(req)
	s.origin = "upgrade"
	s.done[doneUpgrades]++
	s.planned()
}

func (s *soak) dryRun() {
	s.t.Helper()
	s.handRig.dryRun()
	s.planned()
}

// ask begins an upgrade, after which host1's process may be another one.
func (s *soak) ask(req hostapi.UpgradeRequest) {
	s.t.Helper()
	s.h1.Proc.MayEnd(true)
	must(s.t, s.h1.API.StartUpgrade(s.t.Context(), req))
}

// outcome waits for the end of the upgrade that ask began. It is done, or rolled back for a
// reason that has want.
func (s *soak) outcome(want string) {
	s.t.Helper()
	v := s.ended()
	switch {
	case v.State == hostapi.UpgradeDone && v.PID != s.h1.Proc.Pid():
		must(s.t, s.h1.Adopt(v.PID))
		s.origin = "upgrade"
		s.done[doneUpgrades]++
	case v.State == hostapi.UpgradeRolledBack && v.PID == s.h1.Proc.Pid() && strings.Contains(v.Error, want):
		s.h1.Proc.MayEnd(false)
		s.done[doneRolledBack]++
	default:
		s.t.Fatalf("upgrade: %+v; want it done, or rolled back for a reason with %q", v, want)
	}
}

// abort calls an upgrade off at any moment.
func (s *soak) abort() {
	s.t.Helper()
	s.ask(slowly)
	s.pause(4 * time.Second)
	_ = s.h1.API.AbortUpgrade(s.t.Context(), "") // it may be too late
	s.outcome("aborted")
	s.planned()
}

// newDies kills the new process at any moment before the old one has nothing any more.
func (s *soak) newDies() {
	s.t.Helper()
	s.ask(slowly)
	waitFor(s.t, s.c, "the new process", func() bool { return len(children(s.h1, "--takeover=")) > 0 })
	s.pause(2 * time.Second)
	s.strike(syscall.SIGKILL, inDead)
}

// newHangs stops the new process when it has some ports: before, it may take minutes.
func (s *soak) newHangs() {
	s.t.Helper()
	s.h1.Proc.MayEnd(true)
	s.begin()
	s.pause(time.Second)
	s.strike(syscall.SIGSTOP, 700) // see TestUpgradeNewDies
}

// strike ends or stops the new process, which may cost each stream so many datagrams.
func (s *soak) strike(how syscall.Signal, most uint64) {
	s.t.Helper()
	signal(s.t, child(s.t, s.h1, "--takeover="), how)
	s.outcome("")
	s.crashed(most)
	s.connected(s.live()...)
}
