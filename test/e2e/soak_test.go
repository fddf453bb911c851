package e2e_test

import (
	"flag"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"baton/test/cluster"
	"baton/vhost/guest"
	"baton/vhost/proto"
)

var (
	soakTime = flag.Duration("soak", 20*time.Second, "how long TestSoak goes on")
	soakSeed = flag.Uint64("soak-seed", 0, "of TestSoak's random steps; 0: another one each time")
)

// What happens in a soak, for people.
const (
	doneUpgrades   = "upgrades"
	doneRolledBack = "rolled back"
	doneCrashes    = "taken over"
	doneStarted    = "started anew"
	doneConnects   = "VMs connected"
	doneMoves      = "VMs migrated"
)

// soakEvery is how often a soak tells how far it is.
const soakEvery = 10 * time.Second

// soak is a host that is handed over and crashes again and again, by random, while VMs come, go
// and move. Streams of numbered datagrams run between its calm VMs in each step.
type soak struct {
	*handRig
	seed    uint64
	random  *rand.Rand
	mode    func(*guest.Config)
	guests  []*liveVM       // that come and go, of h1
	mover   *liveVM         // moves between h1 and h2
	at      *cluster.Host   // where it is
	steps   map[string]int  // taken, by name
	done    map[string]int  // what happened, by a done constant
	origin  string          // how host1's process came about
	standby bool            // it has one
	held    map[string]held // the first process' with so many VMs
	rss     []int           // MiB, of each process that was looked at
	last    held            // the last look
	begun   time.Time
	told    time.Time
}

// soakStep is what may happen. It ends with the streams checked.
type soakStep struct {
	name string
	do   func(*soak)
}

// TestSoak takes random steps for the time of -soak: upgrades that succeed, are aborted, or lose
// either process; crashes with and without a standby; VMs that come, go and migrate meanwhile.
// Planned steps lose nothing, the others what docs/upgrade.md says; and no process has more of
// anything than the first one.
func TestSoak(t *testing.T) {
	s := newSoak(t)
	steps := slices.Concat(soakUpgrades, soakDeaths, soakChurn)
	for deck := []int(nil); time.Since(s.begun) < *soakTime; deck = deck[1:] {
		if len(deck) == 0 { // each of them once, in any order
			deck = s.random.Perm(len(steps))
		}
		s.take(steps[deck[0]])
	}
	s.tell()
	t.Log(tally(s.steps))
	s.flat()
}

func newSoak(t *testing.T) *soak {
	t.Helper()
	seed := *soakSeed
	if seed == 0 {
		seed = rand.Uint64N(1<<32) + 1
	}
	t.Logf("-soak %v -soak-seed %d", *soakTime, seed)
	s := &soak{
		seed: seed, random: rand.New(rand.NewPCG(seed, 0)), steps: map[string]int{}, done: map[string]int{}, held: map[string]held{}, origin: "start", standby: true,
	}
	// What this process was started with is not for batond: it has no process after it inherit it.
	must(t, unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC))
	cfg := handConfig{idle: 2, more: soakStandby, server: s.seed%2 == 1}
	s.handRig = newHandRig(t, cfg)
	s.mode = func(g *guest.Config) { g.Listen = !cfg.server }
	t.Logf("vhost mode server: %v", cfg.server)
	for i := range 2 {
		s.guests = append(s.guests, s.addVM(endpointOf(fmt.Sprintf("vm%d", 60+i), fmt.Sprintf("10.0.1.%d", 60+i))))
	}
	s.mover, s.at = s.addVM(endpointOf("vm70", "10.0.1.70")), s.h1
	must(t, s.h1.WaitPorts("vm60", "vm61", "vm70"))
	s.quiet()
	s.begun, s.told = time.Now(), time.Now()
	return s
}

// soakStandby is patient enough for a machine that others use too.
var soakStandby = []string{"standby: true", "watchdog: 3s"}

// addVM makes a port of host1 and its VM.
func (s *soak) addVM(e endpoint) *liveVM {
	s.t.Helper()
	s.place(e, s.h1)
	return s.start(e, s.h1)
}

// place has the controller put a port on a host.
func (s *soak) place(e endpoint, h *cluster.Host) {
	s.t.Helper()
	number := e.IP.As4()[3]
	must(s.t, s.c.ApplyWait(fmt.Sprintf("{kind: Port, name: %s, switch: blue, ip: %v, host: %s, id: %d}", e.Name, e.IP, h.Name, number)))
}

// start makes a port's VM and waits until it is up.
func (s *soak) start(e endpoint, h *cluster.Host) *liveVM {
	s.t.Helper()
	v := startVM(s.t, s.c, h, e, s.how(h))
	v.waitReady()
	return v
}

// how is the configuration of a VM's front end on a host.
func (s *soak) how(h *cluster.Host) func(*guest.Config) {
	return func(g *guest.Config) {
		g.Protocol = guest.DefaultProtocolFeatures | proto.ProtocolLogShmfd
		if h == s.h1 {
			s.mode(g)
		}
	}
}

// live are the VMs on host1.
func (s *soak) live() []*liveVM {
	all := slices.Concat([]*liveVM{s.a, s.b}, s.idle, s.guests)
	if s.at == s.h1 {
		all = append(all, s.mover)
	}
	return all
}

// names are the ports of host1.
func (s *soak) names() (all []string) {
	for _, v := range s.live() {
		all = append(all, v.Name)
	}
	return all
}

// take takes a step, and looks at what the host holds then.
func (s *soak) take(step soakStep) {
	s.t.Helper()
	failed := true
	defer func() {
		if failed || s.t.Failed() {
			s.t.Logf("-soak-seed %d: step %q after %v, process %d", s.seed, step.name, time.Since(s.begun).Round(time.Second), s.h1.Proc.Pid())
		}
	}()
	s.flow()
	step.do(s)
	s.steps[step.name]++
	s.quiet()
	s.look()
	failed = false
	if s.t.Failed() {
		s.t.FailNow()
	}
	if time.Since(s.told) >= soakEvery {
		s.told = time.Now()
		s.tell()
	}
}

// quiet waits until host1 has all that it is to have, and wants its books in order.
func (s *soak) quiet() {
	s.t.Helper()
	s.ports = s.names()
	must(s.t, s.h1.WaitPorts(s.ports...))
	if s.standby {
		s.ready()
	}
	s.alone()
	for _, h := range []*cluster.Host{s.h1, s.h2} {
		if _, err := h.CheckConserved(); err != nil {
			s.t.Fatal(err)
		}
	}
}

// planned ends the streams of a step that is to lose nothing, and wants all sessions kept.
func (s *soak) planned() {
	s.t.Helper()
	eachMore(s.streams, 20)
	s.connected(s.live()...)
	s.whole()
}

// pause lets a random time pass, up to most: what comes next is to come at any moment.
func (s *soak) pause(most time.Duration) {
	time.Sleep(time.Duration(s.random.Int64N(int64(most))))
}

// tell prints a line of what was done and what the host holds.
func (s *soak) tell() {
	s.t.Logf("%v: %s; %v", time.Since(s.begun).Round(time.Second), tally(s.done), s.last)
}

// tally is "name number" of each, in order.
func tally(all map[string]int) string {
	var parts []string
	for _, what := range slices.Sorted(maps.Keys(all)) {
		parts = append(parts, fmt.Sprint(what, " ", all[what]))
	}
	return strings.Join(parts, ", ")
}
