package handover_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"baton/upgrade/handover"
	"baton/upgrade/relay"
	"baton/upgrade/relay/relaytest"
	"baton/upgrade/wire"
)

const kindState wire.Kind = 1

// pair are the ends of a socket of packets.
func pair(t *testing.T) (a, b *wire.Conn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	conns := [2]*wire.Conn{}
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "pair")
		c, err := net.FileConn(f)
		f.Close()
		if err == nil {
			conns[i], err = wire.NewConn(c.(*net.UnixConn))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return conns[0], conns[1]
}

// faults break something the first time that it happens; "" nothing.
type faults struct {
	mu   sync.Mutex
	at   string
	port string
	do   func() error
	hit  bool
}

func (f *faults) here(at, port string) error {
	f.mu.Lock()
	if f.at != at || f.port != port || f.hit {
		f.mu.Unlock()
		return nil
	}
	f.hit = true
	f.mu.Unlock()
	return f.do()
}

// upgrade is a hand-over of a house from its first process to its second.
type upgrade struct {
	t        *testing.T
	h        *relaytest.House
	giver    *handover.Giver
	taker    *handover.Taker
	a, b     *wire.Conn
	faults   faults
	attached map[string]bool // sessions that are served here
	steered  atomic.Bool
	passes   atomic.Int32
	opens    atomic.Int32
	recalled int32      // passes and opens that there had been by then; -1: never
	ended    bool       // the taker has got all
	took     chan error // what Taker.Run returned
	phases   []string
	counted  []string // what the taker told
}

func newUpgrade(t *testing.T, guests int) *upgrade {
	h := relaytest.New(t, guests, false)
	u := &upgrade{t: t, h: h, recalled: -1, attached: map[string]bool{}, took: make(chan error, 1)}
	u.a, u.b = pair(t)
	t.Cleanup(func() { u.a.Close(); u.b.Close() })
	u.giver = &handover.Giver{
		Conn: u.a, Area: h.Areas[0],
		Begin:   []wire.Section{{Tag: wire.Tag{Kind: 2, Version: 1}, Payload: []byte("rules")}},
		End:     func(map[string]handover.PortReport) ([]wire.Section, error) { return nil, u.faults.here("end", "") },
		Drained: u.drained,
		Ready: func(_ context.Context, told json.RawMessage) error {
			if string(told) != `"here"` {
				t.Errorf("the taker told %s", told)
			}
			return u.faults.here("ready", "")
		},
		Recall:   u.recall,
		Check:    func() error { return u.faults.here("check", "") },
		Unsteer:  func() error { u.steered.Store(false); return nil },
		Kill:     u.kill,
		Progress: func(p handover.Progress) { u.phases = append(u.phases, p.Phase) },
	}
	for i, g := range h.Procs[0].Gates {
		u.attached[g.Name()] = true
		u.giver.Ports = append(u.giver.Ports, handover.Port{
			Name: g.Name(), Gate: g, Running: func() int { return 2 },
			Detach: func(context.Context) (wire.Section, error) {
				if err := u.faults.here("detach", g.Name()); err != nil {
					return wire.Section{}, err
				}
				u.attached[g.Name()] = false
				return wire.Section{Tag: wire.Tag{Kind: kindState, Version: 1}, Payload: fmt.Append(nil, i)}, nil
			},
			Reattach: func() error { u.attached[g.Name()] = true; return nil },
		})
	}
	u.giver.Counted = func(told json.RawMessage) { u.counted = append(u.counted, string(told)) }
	u.taker = &handover.Taker{
		Conn: u.b, Counted: func() (json.RawMessage, error) { return json.RawMessage(`"so many"`), nil },
		Begin: func(s []wire.Section) (map[string]*relay.Gate, error) {
			if len(s) != 1 || string(s[0].Payload) != "rules" {
				t.Errorf("began with %v", s)
			}
			all := map[string]*relay.Gate{}
			for _, g := range h.Procs[1].Gates {
				all[g.Name()] = g
			}
			return all, u.faults.here("begin", "")
		},
		Restore: func(name string, s wire.Section) (relay.Device, error) {
			var i int
			if _, err := fmt.Sscan(string(s.Payload), &i); err != nil || s.Kind != kindState {
				t.Errorf("state %v: %v", s, err)
			}
			return h.Device(1, i), u.faults.here("restore", name)
		},
		Running: func(name string) int {
			if u.faults.here("running", name) != nil {
				return 1
			}
			return 2
		},
		Alive: func() error { return u.faults.here("alive", "") },
		Steer: func() error { u.steered.Store(true); return u.faults.here("steer", "") },
		Told:  func() (json.RawMessage, error) { return json.RawMessage(`"here"`), u.faults.here("told", "") },
		Pass:  func() error { u.passes.Add(1); return u.faults.here("pass", "") },
		Open:  func() error { u.opens.Add(1); return u.faults.here("open", "") },
		Leave: func() error { u.steered.Store(false); return u.faults.here("leave", "") },
		End:   func([]wire.Section) error { u.ended = true; return u.faults.here("commit", "") },
	}
	return u
}

// drained changes the traffic over in two rounds.
func (u *upgrade) drained(_ context.Context, pass func() error) error {
	return errors.Join(pass(), pass(), u.faults.here("drained", ""))
}

// recall wants the taker to have all ports still.
func (u *upgrade) recall(pass, open, leave func() error) {
	u.recalled = u.passes.Load() + u.opens.Load()
	for i := range u.h.Guests {
		if got := u.h.Owner(i); got != 1 {
			u.t.Errorf("guest %d is of side %d when the traffic is called back, want 1", i, got)
		}
	}
	_ = errors.Join(pass(), open(), leave()) // a taker that is gone does not answer
}

// run is a hand-over to its end.
func (u *upgrade) run(ctx context.Context) (map[string]handover.PortReport, error) {
	u.h.Moves()
	go func() { u.took <- u.taker.Run() }()
	return u.giver.Run(ctx)
}

// kill is the taker's end: its poll loop stands still. Until then what it has is its own, and guests
// notice who else touches it.
func (u *upgrade) kill(bool) {
	p := u.h.Procs[1]
	for range 20 {
		for _, p := range u.h.Procs {
			p.Do(func() {})
		}
	}
	p.Halt.Store(true)
	<-p.Ended
	u.b.Close()
}

// owned checks that one side has all guests, and that frames move.
func (u *upgrade) owned(side int) {
	u.t.Helper()
	for i := range u.h.Guests {
		if got := u.h.Owner(i); got != side {
			u.t.Errorf("guest %d is of side %d, want %d", i, got, side)
		}
	}
	u.h.Moves()
}

// All guests go to the new process while they send: nothing is lost, late or twice.
func TestCommit(t *testing.T) {
	before := relaytest.OpenFDs(t)
	t.Cleanup(func() {
		if after := relaytest.OpenFDs(t); after != before {
			t.Errorf("%d descriptors were open, %d are", before, after)
		}
	})
	u := newUpgrade(t, 6)
	u.giver.Canary, u.giver.CanaryTime = 2, 10*time.Millisecond
	report, err := u.run(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if err := <-u.took; err != nil || !u.ended || !u.steered.Load() {
		t.Errorf("taken: %v; ended %v, steered %v", err, u.ended, u.steered.Load())
	}
	if u.passes.Load() != 2 || u.opens.Load() != 1 || u.recalled >= 0 {
		t.Errorf("passed %d times, opened %d, called back after %d", u.passes.Load(), u.opens.Load(), u.recalled)
	}
	u.owned(1)
	u.h.Quiet()
	if u.h.Lost() != 0 {
		t.Errorf("%d frames lost", u.h.Lost())
	}
	var c relay.Counts
	for name, r := range report {
		if r.Interruption == nil || *r.Interruption <= 0 || *r.Interruption > 10*time.Second {
			t.Errorf("%s: interruption %v", name, r.Interruption)
		}
		c.Add(r.Counts)
	}
	if len(report) != 6 || c.Sent == 0 || c.Lost != 0 {
		t.Errorf("report %v", report)
	}
	want := "start prepare prepare prepare prepare prepare prepare move move canary move move move move steer commit done"
	if got := strings.Join(u.phases, " "); got != want {
		t.Errorf("phases %s", got)
	}
	for name, here := range u.attached {
		if here {
			t.Errorf("the session of %s goes on in the old process", name)
		}
	}
}

var errFault = errors.New("injected")

// Whatever goes wrong at whatever step: the guests are with the old process again, none of
// their frames is lost if the new one answered, and sessions go on.
func TestRollBack(t *testing.T) {
	type fault struct{ at, port string }
	all := []fault{{"begin", ""}, {"told", ""}, {"ready", ""}, {"pass", ""}, {"detach", "vm0"}, {"detach", "vm2"}, {"restore", "vm0"}, {"restore", "vm2"}, {"running", "vm0"},
		{"running", "vm1"}, {"running", "vm2"}, {"alive", ""}, {"check", ""}, {"steer", ""}, {"drained", ""}, {"open", ""}, {"end", ""}, {"commit", ""}}
	for _, f := range all {
		for _, how := range []string{"error", "dies", "silent"} {
			t.Run(strings.TrimSpace(f.at+" "+f.port+" "+how), func(t *testing.T) {
				u := newUpgrade(t, 3)
				u.faults.at, u.faults.port = f.at, f.port
				u.giver.Canary, u.giver.CanaryTime = 2, 60*time.Millisecond // "alive" is asked for meanwhile
				u.faults.do = func() error {
					switch how {
					case "dies": // its poll loop and its voice end, wherever it stands
						u.h.Forgive()
						u.h.Procs[1].Halt.Store(true)
						<-u.h.Procs[1].Ended
						u.b.Close()
					case "silent": // its voice alone
						u.h.Forgive()
						u.b.Close()
					}
					return errFault
				}
				report, err := u.run(context.Background())
				if err == nil {
					t.Fatal("went well")
				}
				if bad := <-u.took; bad == nil {
					t.Error("the taker goes on")
				}
				u.owned(0)
				if u.steered.Load() {
					t.Error("the wire's traffic goes to the new process")
				}
				late := slices.Contains([]string{"steer", "pass", "drained", "open", "end", "commit"}, f.at)
				if called := u.recalled >= 0; how == "error" && called != late || how != "error" && called && f.at != "drained" && f.at != "end" {
					t.Errorf("called back: %v", called)
				}
				// Who dies tells nothing, and who has had no port has nothing to tell.
				moved := late || slices.Contains([]string{"running", "alive", "check"}, f.at)
				if want := how == "error" && moved; (len(u.counted) == 1) != want || want && u.counted[0] != `"so many"` {
					t.Errorf("counted: %q, want that: %v", u.counted, want)
				}
				for name, here := range u.attached {
					if !here {
						t.Errorf("nobody serves the session of %s", name)
					}
				}
				u.checkKept(report, how == "error")
				if how == "error" {
					u.h.Quiet()
					if u.h.Lost() != 0 {
						t.Errorf("%d frames lost", u.h.Lost())
					}
				}
			})
		}
	}
}

// The old process dies at some step: the new one has what it was given, and goes on with it.
func TestOrphaned(t *testing.T) {
	for moved := range 3 {
		t.Run(fmt.Sprint(moved, " moved"), func(t *testing.T) {
			u := newUpgrade(t, 3)
			old := u.h.Procs[0]
			u.giver.Progress = func(p handover.Progress) {
				if p.Phase == handover.PhasePrepare && p.Done == 3 && moved == 0 || p.Phase == handover.PhaseMove && p.Done == moved {
					u.h.Forgive()
					old.Halt.Store(true)
					<-old.Ended
					u.a.Close()
					runtime.Goexit()
				}
			}
			dead := make(chan bool)
			go func() {
				defer close(dead)
				_, _ = u.run(context.Background())
			}()
			<-dead
			if err := <-u.took; !errors.Is(err, handover.ErrOrphaned) {
				t.Fatalf("taken: %v", err)
			}
			u.owned(1)
		})
	}
}

// The old process hangs when a port has gone, its workers too: the new one ends it, and goes on
// with all. Before that nothing is at stake, and it waits.
func TestGiverHangs(t *testing.T) {
	for moved := range 3 {
		t.Run(fmt.Sprint(moved, " moved"), func(t *testing.T) {
			u := newUpgrade(t, 3)
			old := u.h.Procs[0]
			stuck, killed := make(chan bool), make(chan bool)
			u.taker.Silence = 50 * time.Millisecond
			u.taker.Kill = func() {
				u.h.Forgive()
				old.Halt.Store(true)
				<-old.Ended
				close(killed)
				u.a.Close()
			}
			u.giver.Progress = func(p handover.Progress) {
				if p.Phase == handover.PhasePrepare && p.Done == 3 && moved == 0 || p.Phase == handover.PhaseMove && p.Done == moved {
					close(stuck)
					<-killed
					runtime.Goexit()
				}
			}
			go func() { _, _ = u.run(context.Background()) }()
			<-stuck
			if moved == 0 {
				select {
				case <-killed:
					t.Error("killed while it had everything")
				case <-time.After(4 * u.taker.Silence):
					u.taker.Kill()
				}
			}
			if err := <-u.took; !errors.Is(err, handover.ErrOrphaned) {
				t.Fatalf("taken: %v", err)
			}
			<-killed
			u.owned(1)
		})
	}
}

// A giver is told to stop between two ports.
func TestAbort(t *testing.T) {
	u := newUpgrade(t, 4)
	ctx, cancel := context.WithCancel(context.Background())
	u.giver.Progress = func(p handover.Progress) {
		if p.Phase == handover.PhaseMove && p.Done == 2 {
			cancel()
		}
	}
	report, err := u.run(ctx)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("run: %v", err)
	}
	if err := <-u.took; !errors.Is(err, handover.ErrCalledOff) {
		t.Errorf("taken: %v", err)
	}
	u.checkKept(report, true)
	for i, p := range u.giver.Ports {
		if stood := report[p.Name].Interruption != nil; stood != (i < 2) {
			t.Errorf("%s, of which two had moved: %+v", p.Name, report[p.Name])
		}
	}
	u.owned(0)
	u.h.Quiet()
	if u.h.Lost() != 0 {
		t.Errorf("%d frames lost", u.h.Lost())
	}
}
