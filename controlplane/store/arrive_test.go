package store_test

import (
	"errors"
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

func TestHostOfAMoveIsInUse(t *testing.T) {
	t.Parallel()
	s := embedded(t)
	apply(t, s, moving)
	_, err := s.Delete(testContext(t), []model.Ref{{Kind: model.KindHost, Name: "host2"}})
	if !errors.Is(err, store.ErrInUse) || !strings.Contains(err.Error(), "port vm1") {
		t.Errorf("delete the host that vm1 is about to move to: %v", err)
	}
}
