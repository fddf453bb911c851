package e2e_test

import (
	"syscall"
	"testing"

	"baton/hostapi"
	"baton/test/cluster"
	"baton/test/lab/guestwire"
)

// upgradeRig is a guest a on a host that is handed over, and its peer b on another one; both
// have all cards.
type upgradeRig struct {
	t      *testing.T
	c      *cluster.Cluster
	h1     *cluster.Host
	a, b   *machine
	before []guestwire.LinkResult
}

func newUpgradeRig(t *testing.T, more ...string) *upgradeRig {
	t.Helper()
	r := &upgradeRig{t: t, c: newCluster(t), a: &machine{t: t, name: "a", last: 11}, b: &machine{t: t, name: "b", last: 12}}
	startController(t, r.c, guestNetwork(r.a, r.b))
	cfg1, cfg2 := host1(), host2()
	cfg1.Alternate, cfg1.QueuePairs, cfg1.More = true, 2, more
	cfg2.QueuePairs = 2
	r.h1 = startHost(t, r.c, cfg1)
	r.a.host, r.b.host = r.h1, startHost(t, r.c, cfg2)
	must(t, r.c.WaitInStep("host1", "host2"))
	for _, m := range []*machine{r.a, r.b} {
		m.start(r.c.Lab)
	}
	for _, m := range []*machine{r.a, r.b} {
		m.configure()
	}
	must(t, r.h1.WaitPorts(r.a.ports()...))
	for i := range cards {
		r.before = append(r.before, r.a.link(i))
	}
	return r
}

// ping pings a at 1 kHz.
func (r *upgradeRig) ping(num int) <-chan guestwire.PingResult {
	result := make(chan guestwire.PingResult, 1)
	go func() {
		p, err := r.b.Ping(guestwire.PingArgs{Dst: r.a.port(0).IP.String(), Count: num, IntervalUs: 1000, WaitMs: 10000})
		if err != nil {
			r.t.Error(err)
		}
		result <- p
	}()
	return result
}

// checkLinks wants that the guest has seen nothing.
func (r *upgradeRig) checkLinks() {
	r.t.Helper()
	for i := range cards {
		now := r.a.link(i)
		if now.CarrierChanges != r.before[i].CarrierChanges || now.Features != r.before[i].Features || !now.Carrier {
			r.t.Errorf("eth%d was %+v, is %+v", i, r.before[i], now)
		}
	}
}

// starved is a round trip in us at which guests have had no CPU for long, and lose what comes, in
// their rings and behind them: that is no switch's loss, and tells nothing of it.
const starved = 300_000

// TestUpgrade hands a host with a real guest over, again and again, while it is pinged: no ping
// is lost, and the guest sees no change of its links.
func TestUpgrade(t *testing.T) {
	r := newUpgradeRig(t)
	for try := 1; ; try++ {
		p, full := r.pingedUpgrades()
		if p.Sent-p.Received <= full && p.Corrupt+p.Duplicates == 0 {
			break
		}
		if p.Corrupt+p.Duplicates != 0 || p.MaxUs < starved || try == 3 {
			t.Errorf("ping %+v; the guests had no room for %d frames", p, full)
			break
		}
		t.Logf("a round trip took %v us: again", p.MaxUs)
	}
	r.checkLinks()
	exchange(t, r.a, r.b, 1<<20, 0, 1, 2, 3)
}

// pingedUpgrades hands the host over five times while the guest is pinged.
//
//	out: the pings, and how many frames the guests had no room for meanwhile
func (r *upgradeRig) pingedUpgrades() (p guestwire.PingResult, full int) {
	t := r.t
	t.Helper()
	noRoom := func() int { return int(dropCount(t, r.h1, "tx_full") + dropCount(t, r.b.host, "tx_full")) }
	before := noRoom()
	result := r.ping(3000)
	for range 5 {
		v, err := r.h1.Upgrade(t.Context(), hostapi.UpgradeRequest{})
		must(t, err)
		if v.State != hostapi.UpgradeDone {
			t.Fatalf("upgrade: %+v", v)
		}
		for _, p := range v.Ports {
			full += int(p.Lost)
			if p.InterruptionUs == nil || p.Phase != hostapi.UpgradePortMoved {
				t.Errorf("port %+v", p)
				continue
			}
			t.Logf("%s: %.0f us, %d relayed, %d waited", p.Name, *p.InterruptionUs, p.Relayed, p.Waited)
		}
	}
	p = <-result
	return p, full + noRoom() - before
}

// TestStandby kills the process that forwards, again and again: its standby goes on, and the
// guest sees no change of its links.
func TestStandby(t *testing.T) {
	r := newUpgradeRig(t, "standby: true", "watchdog: 20s") // on a machine that others use too
	ready := func() {
		t.Helper()
		waitFor(t, r.c, "the standby", func() bool {
			s, err := r.h1.API.Stats(t.Context())
			return err == nil && s.Standby == "ready"
		})
	}
	const pings = 6000
	result := r.ping(pings)
	for range 3 {
		ready()
		was := r.h1.Proc.Pid()
		must(t, r.h1.Proc.Signal(syscall.SIGKILL))
		var v hostapi.Upgrade
		waitFor(t, r.c, "the standby's answer", func() bool {
			now, err := r.h1.API.Upgrade(t.Context())
			v = now
			return err == nil && now.PID != was
		})
		must(t, r.h1.Adopt(v.PID))
		t.Logf("taken over in %.0f us", 1e6*v.TotalS)
		must(t, r.h1.WaitPorts(r.a.ports()...))
	}
	p := <-result
	if p.Corrupt+p.Duplicates != 0 || p.MaxUs < starved && p.Sent-p.Received > pings/20 {
		t.Errorf("ping: %d of %d lost, %+v", p.Sent-p.Received, p.Sent, p.Corrupt+p.Duplicates)
	}
	t.Logf("%d of %d pings lost in three crashes, longest gap %d ms", p.Sent-p.Received, p.Sent, longestRun(p.Lost))
	r.checkLinks()
	exchange(t, r.a, r.b, 1<<20, 0, 1, 2, 3)
}
