package store_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"baton/controlplane/model"
	"baton/controlplane/store"
)

// moving is network with a second host, to which vm1 is about to move.
var moving = strings.Replace(network, "host: host1\n", "host: host1\nmigrateTo: host2\n", 1) +
	"---\nkind: Host\nname: host2\nunderlay: 192.168.100.2/24\n"

func TestArriveMovesAPort(t *testing.T) {
	t.Parallel()
	s := embedded(t)
	apply(t, s, moving)
	was := snapshot(t, s).State.Ports["vm1"]
	rev, err := s.Arrive(testContext(t), "vm1", "host2")
	if err != nil {
		t.Fatal(err)
	}
	snap := snapshot(t, s)
	now := snap.State.Ports["vm1"]
	if now.Host != "host2" || now.MigrateTo != "" || now.Status != was.Status || rev == 0 || snap.Revision < rev {
		t.Errorf("after the move: %+v, revision %d of %d", now, rev, snap.Revision)
	}
	if r := apply(t, s, strings.ReplaceAll(strings.Replace(moving, "migrateTo: host2\n", "", 1), "host: host1", "host: host2")); len(r.Unchanged) != 7 {
		t.Errorf("the same network again: %+v", r)
	}
}

func TestArriveRefusesStaleReports(t *testing.T) {
	t.Parallel()
	s := embedded(t)
	apply(t, s, moving)
	for _, c := range []struct {
		port, host string
		want       error
	}{{"vm1", "host1", store.ErrNotMoving}, {"vm1", "host3", store.ErrNotMoving}, {"vm1", "", store.ErrNotMoving}, {"vm9", "host2", store.ErrNotFound}} {
		if _, err := s.Arrive(testContext(t), c.port, c.host); !errors.Is(err, c.want) {
			t.Errorf("%s at %q: %v", c.port, c.host, err)
		}
	}
	apply(t, s, strings.Replace(moving, "migrateTo: host2\n", "", 1)) // cancelled
	if _, err := s.Arrive(testContext(t), "vm1", "host2"); !errors.Is(err, store.ErrNotMoving) {
		t.Errorf("after the move was cancelled: %v", err)
	}
	if p := snapshot(t, s).State.Ports["vm1"]; p.Host != "host1" {
		t.Errorf("refused reports moved it to %s", p.Host)
	}
}

// Of many reports of one arrival one counts, whatever else changes the network.
func TestArriveCountsOnce(t *testing.T) {
	t.Parallel()
	s := embedded(t)
	apply(t, s, moving)
	var wg sync.WaitGroup
	var mu sync.Mutex
	good := 0
	for range 8 {
		wg.Go(func() {
			_, err := s.Arrive(testContext(t), "vm1", "host2")
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				good++
			} else if !errors.Is(err, store.ErrNotMoving) {
				t.Error(err)
			}
		})
	}
	apply(t, s, "kind: Switch\nname: green\n")
	wg.Wait()
	if st := snapshot(t, s).State; good != 1 || st.Ports["vm1"].Host != "host2" || st.Switches["green"] == nil {
		t.Errorf("%d reports counted; %+v", good, st.Ports["vm1"])
	}
}

// Move changes where a port is about to move, and says what is wrong with it.
func TestMove(t *testing.T) {
	t.Parallel()
	s := embedded(t)
	apply(t, s, moving)
	was := *snapshot(t, s).State.Ports["vm1"]
	for _, k := range []struct {
		port, to string
		want     string // part of the error; empty: none
	}{
		{"vm1", "", ""}, {"vm1", "", ""}, {"vm1", "host2", ""}, {"vm1", "host2", ""},
		{"vm1", "host1", "on host1 already"}, {"vm1", "host9", "no host \"host9\""}, {"vm1", "a b", "migrateTo"}, {"vm9", "host2", "no such object"},
	} {
		before := *snapshot(t, s).State.Ports["vm1"]
		r, err := s.Move(testContext(t), k.port, k.to)
		now := *snapshot(t, s).State.Ports["vm1"]
		if k.want != "" {
			if err == nil || !strings.Contains(err.Error(), k.want) || now != before {
				t.Errorf("%s to %q: %v, the port is %+v", k.port, k.to, err, now)
			}
			continue
		}
		want := was
		want.MigrateTo = k.to
		if err != nil || now != want || *r.Objects[0].(*model.Port) != want || r.Revision == 0 {
			t.Errorf("%s to %q: %+v, %v; the port is %+v", k.port, k.to, r, err, now)
		}
	}
}

// What others change of a port while it is made ready to move, or not to, stays.
func TestMoveLosesNoEdits(t *testing.T) {
	t.Parallel()
	s := embedded(t)
	apply(t, s, moving)
	ctx, stop := context.WithCancel(testContext(t))
	defer stop()
	var wg sync.WaitGroup
	moved := make(chan struct{}, 1)
	for _, to := range []string{"host2", ""} {
		wg.Go(func() {
			for ctx.Err() == nil {
				select {
				case moved <- struct{}{}:
				default:
				}
				if _, err := s.Move(ctx, "vm1", to); err != nil && ctx.Err() == nil && !errors.Is(err, store.ErrConflict) {
					t.Error(err)
					return
				}
			}
		})
	}
	const edits = 10
	for i := range edits {
		ip := fmt.Sprintf("10.0.1.%d", 100+i)
		apply(t, s, strings.Replace(moving, "10.0.1.11", ip, 1))
		for range 8 { // moves that began before the edit are over then
			<-moved
		}
		if got := snapshot(t, s).State.Ports["vm1"].IP.Addr.String(); got != ip {
			t.Fatalf("edit %d: the address is %s, want %s", i, got, ip)
		}
	}
	stop()
	wg.Wait()
	if got := snapshot(t, s).State.Ports["vm1"]; got.IP.Addr.String() != fmt.Sprintf("10.0.1.%d", 100+edits-1) || got.Host != "host1" {
		t.Errorf("at the end: %+v", got)
	}
}

func TestHostOfAMoveIsInUse(t *testing.T) {
	t.Parallel()
	s := embedded(t)
	apply(t, s, moving)
	_, err := s.Delete(testContext(t), []model.Ref{{Kind: model.KindHost, Name: "host2"}})
	if !errors.Is(err, store.ErrInUse) || !strings.Contains(err.Error(), "port vm1") {
		t.Errorf("delete the host that vm1 is about to move to: %v", err)
	}
}
