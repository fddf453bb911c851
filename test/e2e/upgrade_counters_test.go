package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"testing"
	"time"

	"baton/hostapi"
)

// TestUpgradeCounters reads a host's counters all the time over five upgrades: none ever goes
// back, and at the end the books balance.
func TestUpgradeCounters(t *testing.T) {
	r := newHandRig(t, handConfig{})
	r.flow()
	stop := make(chan struct{})
	var done sync.WaitGroup
	done.Add(1)
	looks := 0
	go func() {
		defer done.Done()
		for last := map[string]uint64{}; ; looks++ {
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
			}
			for name, n := range counted(r) {
				if n < last[name] {
					t.Errorf("%s was %d and is %d", name, last[name], n)
				}
				last[name] = n
			}
		}
	}()
	before := counted(r)
	for range 5 {
		r.upgrade(hostapi.UpgradeRequest{Rate: 10})
		eachMore(r.streams, 25)
	}
	close(stop)
	done.Wait()
	after := counted(r)
	for name, n := range before {
		if after[name] < n {
			t.Errorf("%s was %d before, and is %d", name, n, after[name])
		}
	}
	t.Logf("%d looks at %d counters", looks, len(after))
	r.whole()
	checkBooks(t, r.h1, r.h2)
	checkStreamsCounted(t, r)
}

// checkStreamsCounted wants that the VMs' ports have counted at least what the streams were.
func checkStreamsCounted(t *testing.T, r *handRig) {
	t.Helper()
	for _, v := range []*liveVM{r.a, r.b} {
		var got uint64
		v.mu.Lock()
		for _, s := range v.got {
			got += uint64(len(s.seen))
		}
		v.mu.Unlock()
		if p := portOf(t, r.h1, v.Name); p.TxPackets < got || p.RxPackets == 0 {
			t.Errorf("port %s: %d sent to the guest, which got %d and more", v.Name, p.TxPackets, got)
		}
	}
}

// counted is all that host1 counts by name; nil if nobody answers just then.
func counted(r *handRig) map[string]uint64 {
	all := map[string]uint64{}
	ctx := r.c.Lab.Context()
	ports, err := r.h1.API.Ports(ctx)
	if err != nil {
		return nil
	}
	for _, p := range ports {
		all["port "+p.Name+" rx"], all["port "+p.Name+" rx bytes"] = p.RxPackets, p.RxBytes
		all["port "+p.Name+" tx"], all["port "+p.Name+" tx bytes"] = p.TxPackets, p.TxBytes
		all["port "+p.Name+" dropped"] = p.Dropped
	}
	rules, err := r.h1.API.Rules(ctx)
	if err != nil {
		return all
	}
	for _, v := range rules {
		name := "rule " + v.Cookie + " " + v.Table + " " + v.Match
		all[name], all[name+" bytes"] = v.Packets, v.Bytes
	}
	return all
}

// TestUpgradeLeaks upgrades, rolls back and checks a host many times: no process has more
// descriptors or guest memories than the one before.
func TestUpgradeLeaks(t *testing.T) {
	r := newHandRig(t, handConfig{})
	r.upgrade(hostapi.UpgradeRequest{}) // its processes have less open than the first one
	dirs := leftovers(t)
	again := func(times int, do func()) {
		t.Helper()
		do()
		r.settle()
		was := handHoldings(t, r)
		for range times {
			do()
		}
		var now string
		err := r.c.Lab.WaitFor("the same as before", waitLimit, func() bool {
			now = handHoldings(t, r)
			return now == was
		})
		if err != nil {
			t.Errorf("%v: there was\n%s\nand is\n%s", err, was, now)
		}
	}
	again(5, r.dryRun)
	again(5, func() {
		r.canary(60, "vm1")
		must(t, r.h1.API.AbortUpgrade(t.Context(), ""))
		if v := r.ended(); v.State != hostapi.UpgradeRolledBack {
			t.Errorf("abort: %+v", v)
		}
	})
	again(9, func() { r.upgrade(hostapi.UpgradeRequest{}) })
	r.flow()
	r.whole()
	r.sessions()
	if now := leftovers(t); now != dirs {
		t.Errorf("DPDK's folders and huge page files were %s, and are %s", dirs, now)
	}
}

// settle waits until nothing of an upgrade is left in host1's batond.
func (r *handRig) settle() {
	r.t.Helper()
	waitFor(r.t, r.c, "the end of what an upgrade needs", func() bool {
		return !strings.Contains(handHoldings(r.t, r), "baton-relay")
	})
}

// handHoldings counts host1's descriptors by kind, and its guest memories.
func handHoldings(t *testing.T, r *handRig) string {
	t.Helper()
	if len(children(r.h1, "--")) > 0 {
		return "another process is there"
	}
	return holdings(t, r.h1)
}

// leftovers lists what DPDK may leave on this machine, of processes that are gone.
func leftovers(t *testing.T) string {
	t.Helper()
	var all []string
	for _, p := range []string{"/var/run/dpdk/*", "/dev/hugepages/*", "/dev/shm/baton*"} {
		found, err := filepath.Glob(p)
		must(t, err)
		all = append(all, found...)
	}
	for i, p := range all {
		if info, err := os.Stat(p); err == nil {
			all[i] = fmt.Sprint(p, " ", info.IsDir())
		}
	}
	sort.Strings(all)
	return strings.Join(all, ", ")
}
