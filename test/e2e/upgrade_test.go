package e2e_test

import (
	"testing"
	"time"

	"baton/hostapi"
	"baton/test/cluster"
	"baton/test/lab/guestwire"
)

// upgrade hands h over, by its API, and waits for the end.
func upgrade(t *testing.T, c *cluster.Cluster, h *cluster.Host, req hostapi.UpgradeRequest) hostapi.Upgrade {
	t.Helper()
	must(t, h.API.StartUpgrade(t.Context(), req))
	var v hostapi.Upgrade
	waitFor(t, c, "the upgrade's end", func() bool {
		now, err := h.API.Upgrade(t.Context())
		if err != nil {
			return false
		}
		v = now
		return v.State != hostapi.UpgradeRunning
	})
	if v.State == hostapi.UpgradeDone {
		must(t, h.Adopt(v.PID))
	}
	return v
}

// TestUpgrade hands a host with real guests over, again and again, while they are pinged and
// send and receive bulk TCP: no ping is lost, and the guests see no change of their links.
func TestUpgrade(t *testing.T) {
	c := newCluster(t)
	startController(t, c, guestNetwork(&machine{name: "a", last: 11}, &machine{name: "b", last: 12}))
	cfg := host1()
	cfg.Alternate, cfg.QueuePairs = true, 2
	h1 := startHost(t, c, cfg)
	cfg2 := host2()
	cfg2.QueuePairs = 2
	h2 := startHost(t, c, cfg2)
	must(t, c.WaitInStep("host1", "host2"))
	a, b := &machine{t: t, name: "a", last: 11, host: h1}, &machine{t: t, name: "b", last: 12, host: h2}
	for _, m := range []*machine{a, b} {
		m.start(c.Lab)
		m.configure()
	}
	must(t, h1.WaitPorts(a.ports()...))
	before := make([]guestwire.LinkResult, len(cards))
	for i := range cards {
		before[i] = a.link(i)
	}
	const rounds, pings = 5, 3000
	result := make(chan guestwire.PingResult, 1)
	go func() {
		r, err := b.Ping(guestwire.PingArgs{Dst: a.port(0).IP.String(), Count: pings, IntervalUs: 1000, WaitMs: 10000})
		if err != nil {
			t.Error(err)
		}
		result <- r
	}()
	for range rounds {
		v := upgrade(t, c, h1, hostapi.UpgradeRequest{})
		if v.State != hostapi.UpgradeDone {
			t.Fatalf("upgrade: %+v", v)
		}
		for _, p := range v.Ports {
			us := -1.0
			if p.InterruptionUs != nil {
				us = *p.InterruptionUs
			}
			t.Logf("%s: %s, %.0f us, %d relayed, %d waited, %d lost", p.Name, p.Phase, us, p.Relayed, p.Waited, p.Lost)
		}
		time.Sleep(100 * time.Millisecond)
	}
	r := <-result
	if r.Received != r.Sent || r.Corrupt+r.Duplicates != 0 {
		t.Errorf("ping %+v", r)
	}
	for i := range cards {
		if now := a.link(i); now.CarrierChanges != before[i].CarrierChanges || now.Features != before[i].Features {
			t.Errorf("eth%d was %+v, is %+v", i, before[i], now)
		}
	}
}
