package steer_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"baton/nic/steer"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A second of traffic to the VTEP.
const (
	numFrames = 20000
	perTick   = 20 // frames each millisecond
	minMoves  = 100
)

// TestMove: while frames for the VTEP come in at a steady rate, it moves to and fro as
// fast as it can, and both devices send from its address. Every frame arrives once, at
// one of the two: there is no moment without an entry, which would double frames.
func TestMove(t *testing.T) {
	f := newFabric(t)
	s := f.steer(t)
	must(t, s.Check())
	mustBeAt(t, s, steer.Neither)
	must(t, s.Take(0))
	mustBeAt(t, s, 0)
	moves := moveAbout(t, s, func() { f.sendSteadily(t) })
	checkOnce(t, f.received(t, numFrames))
	if moves < minMoves {
		t.Errorf("%d moves, want %d at the least", moves, minMoves)
	}
	t.Logf("%d frames, %d moves", numFrames, moves)
	mustBeAt(t, s, moves%2)
	f.mustReach(t, moves%2)
}

// moveAbout moves the VTEP between the devices while fn runs, beginning with device 1,
// and returns how often.
func moveAbout(t *testing.T, s *steer.Steer, fn func()) (moves int) {
	t.Helper()
	var stop atomic.Bool
	done := make(chan error)
	go func() {
		var err error
		for err == nil && !stop.Load() {
			if err = s.Take((moves + 1) % 2); err == nil {
				moves++
			}
		}
		done <- err
	}()
	fn()
	stop.Store(true)
	must(t, <-done)
	return moves
}

// sendSteadily sends numbered frames from the peer to the VTEP; both devices send from
// the VTEP's address to the peer all the while.
func (f *fabric) sendSteadily(t *testing.T) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for sent := uint32(0); sent < numFrames; {
		<-tick.C
		for range perTick {
			f.peer.send(t, vtep, remote, sent)
			sent++
		}
		f.dev[0].send(t, remote, vtep, 0)
		f.dev[1].send(t, remote, vtep, 0)
	}
}

// checkOnce checks that each frame is in one of the two lists, once.
func checkOnce(t *testing.T, lists [2][]uint32) {
	t.Helper()
	seen := make([]int, numFrames)
	for i, list := range lists {
		if len(list) == 0 {
			t.Errorf("device %d got no frame", i)
		}
		for _, number := range list {
			seen[number]++
		}
	}
	lost, doubled := 0, 0
	for _, n := range seen {
		switch {
		case n == 0:
			lost++
		case n > 1:
			doubled++
		}
	}
	if lost > 0 || doubled > 0 {
		t.Errorf("of %d frames %d were lost, %d arrived twice", numFrames, lost, doubled)
	}
}

// TestSticky: frames from the VTEP's address out of the other device, as the old
// generation sends while it drains, do not draw the VTEP back.
func TestSticky(t *testing.T) {
	f := newFabric(t)
	s := f.steer(t)
	for i := range 2 {
		must(t, s.Take(i))
		for range 100 {
			f.dev[1-i].send(t, remote, vtep, 0)
		}
		got := 0
		eventually(t, fmt.Sprintf("100 frames of device %d at the peer", 1-i), func() bool {
			got += len(f.peer.drain(t))
			return got == 100
		})
		mustBeAt(t, s, i)
		f.mustReach(t, i)
	}
}

// TestTakeFromLearned: what the bridge has learned is no answer of Where, and no
// hindrance.
func TestTakeFromLearned(t *testing.T) {
	f := newFabric(t)
	s := f.steer(t)
	f.dev[1].send(t, remote, vtep, 0)
	eventually(t, "a frame that teaches the bridge", func() bool { return len(f.peer.drain(t)) > 0 })
	f.received(t, 0) // the frame was for an unknown address
	f.mustReach(t, 1)
	mustBeAt(t, s, steer.Neither)
	must(t, s.Take(0))
	f.mustReach(t, 0)
	mustBeAt(t, s, 0)
	must(t, s.Take(0))
	mustBeAt(t, s, 0)
}

func TestRemove(t *testing.T) {
	f := newFabric(t)
	s := f.steer(t)
	must(t, s.Remove())
	must(t, s.Take(1))
	must(t, f.steer(t).Remove()) // by another than who made it
	must(t, s.Remove())
	mustBeAt(t, s, steer.Neither)
	f.peer.send(t, vtep, remote, 1)
	if got := f.received(t, 2); len(got[0]) != 1 || len(got[1]) != 1 {
		t.Errorf("without an entry the devices got %d and %d frames, want 1 and 1", len(got[0]), len(got[1]))
	}
}

// TestPortGone: a port that went with its process is no hindrance to the other's taking.
func TestPortGone(t *testing.T) {
	f := newFabric(t)
	s := f.steer(t)
	must(t, s.Take(0))
	link, err := f.sw.link.LinkByName("port0")
	must(t, err)
	must(t, f.sw.link.LinkDel(link))
	mustBeAt(t, s, steer.Neither)
	if s.Check() == nil || s.Take(0) == nil {
		t.Error("a port that is gone, no error")
	}
	must(t, s.Take(1))
	mustBeAt(t, s, 1)
	must(t, s.Remove())
}

// TestOwnNamespace: without a path the bridge is looked for where the caller is.
func TestOwnNamespace(t *testing.T) {
	f := newFabric(t)
	s, err := steer.New(steer.Config{MAC: vtep, Ports: [2]string{"port0", "port1"}})
	must(t, err)
	f.sw.do(t, func() error { return errors.Join(s.Check(), s.Take(1)) })
	mustBeAt(t, f.steer(t), 1)
	if err := s.Check(); err == nil || !strings.Contains(err.Error(), "this network namespace") {
		t.Errorf("elsewhere: %v", err)
	}
}

func TestErrors(t *testing.T) {
	f := newFabric(t)
	f.sw.veth(t, "loose", f.far, "loose")
	f.sw.veth(t, "other", f.far, "other")
	f.sw.bridge(t, "br1")
	f.sw.attach(t, "other", "br1")
	file := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(file, nil, 0o600))
	own, err := f.sw.link.LinkByName("port1")
	must(t, err)
	sw, two := f.sw.path, [2]string{"port0", "port1"}
	for name, tt := range map[string]struct {
		cfg  steer.Config
		want []string
	}{
		"missing":         {steer.Config{MAC: vtep, Ports: [2]string{"port0", "nosuch"}, Netns: sw}, []string{"nosuch", sw, "bridge link"}},
		"in no bridge":    {steer.Config{MAC: vtep, Ports: [2]string{"port0", "loose"}, Netns: sw}, []string{"ip link set loose master"}},
		"a bridge":        {steer.Config{MAC: vtep, Ports: [2]string{"port0", "br1"}, Netns: sw}, []string{"br1", "in no bridge"}},
		"own address":     {steer.Config{MAC: own.Attrs().HardwareAddr, Ports: two, Netns: sw}, []string{"own address"}},
		"wrong namespace": {steer.Config{MAC: vtep, Ports: [2]string{"port1", "port0"}, Netns: f.far.path}, []string{f.far.path, "no such interface"}},
		"no namespace":    {steer.Config{MAC: vtep, Ports: two, Netns: file}, []string{file, "no network namespace"}},
		"no path":         {steer.Config{MAC: vtep, Ports: two, Netns: file + "x"}, []string{file + "x", "no such file", "/run/netns/NAME"}},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := steer.New(tt.cfg)
			must(t, err)
			for what, err := range map[string]error{"Check": s.Check(), "Take": s.Take(1)} {
				checkError(t, what, err, append(tt.want, tt.cfg.MAC.String()))
			}
		})
	}
	t.Run("two bridges", func(t *testing.T) {
		s, err := steer.New(steer.Config{MAC: vtep, Ports: [2]string{"port0", "other"}, Netns: sw})
		must(t, err)
		checkError(t, "Check", s.Check(), []string{"port0", "other", "br0", "br1"})
	})
	for _, which := range []int{-1, 2} {
		checkError(t, "Take", f.steer(t).Take(which), []string{fmt.Sprint(which)})
	}
	checkNoEntry(t, f.sw)
}

// checkError checks that there is an error, and that it has all of words.
func checkError(t *testing.T, what string, err error, words []string) {
	t.Helper()
	if err == nil {
		t.Errorf("%s succeeded", what)
		return
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%s: %q says nothing of %q", what, err, w)
		}
	}
}

// checkNoEntry checks that nobody has steered anything.
func checkNoEntry(t *testing.T, n *namespace) {
	t.Helper()
	entries, err := n.link.NeighList(0, unix.AF_BRIDGE)
	must(t, err)
	for _, e := range entries {
		if e.Flags&netlink.NTF_STICKY != 0 || e.HardwareAddr.String() == vtep.String() {
			t.Errorf("an entry is left: %+v", e)
		}
	}
}

// BenchmarkTake is one move, with all that is asked before.
func BenchmarkTake(b *testing.B) {
	f := newFabric(b)
	s := f.steer(b)
	for i := 0; b.Loop(); i++ {
		must(b, s.Take(i%2))
	}
}
