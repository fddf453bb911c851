package scenario_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"testing"
	"time"

	"baton/bench/dut"
	"baton/bench/gen"
	"baton/bench/loopgap"
	"baton/bench/machine"
	"baton/bench/peer"
	"baton/bench/report"
	"baton/bench/scenario"
	"baton/bench/topology"
)

func TestMain(m *testing.M) {
	dut.RunChild()
	gen.RunChild()
	loopgap.RunChild()
	os.Exit(m.Run())
}

// alone is a run of baton alone with short trials, in what pages there are.
func alone(t *testing.T) *scenario.Bench {
	t.Helper()
	if runtime.NumCPU() < 2 {
		t.Skip("needs two CPUs")
	}
	if _, err := exec.LookPath("dpdk-testpmd"); err != nil {
		t.Skip("no dpdk-testpmd: make packages-lab")
	}
	dir, err := os.MkdirTemp("", "bench") // shorter than t.TempDir: sockets are in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	t.Cleanup(machine.FavourSession())
	var log bytes.Buffer
	t.Cleanup(func() { t.Log(log.String()) })
	b := &scenario.Bench{Log: &log, Report: &report.Report{}, Options: scenario.Options{
		DUTCPU: 0, LoadCPU: 1, Runs: 1, Length: 50 * time.Millisecond, Flows: []int{100}, Dir: dir,
	}}
	if err := errors.Join(b.Check(nil), b.Settle()); err != nil {
		t.Fatal(err)
	}
	return b
}

// tries is how often a scenario is measured until its figures make sense: other load may
// keep packets from arriving within a trial as short as these.
const tries = 3

// measure runs a scenario until wrong has nothing to say of the report.
func measure(t *testing.T, name string, b *scenario.Bench, wrong func(r *report.Report) string) {
	t.Helper()
	s, err := scenario.Find(name)
	if err != nil {
		t.Fatal(err)
	}
	said := ""
	for range tries {
		*b.Report = report.Report{}
		if err := s.Run(t.Context(), b); err != nil {
			said = err.Error()
		} else if said = wrong(b.Report); said == "" {
			return
		}
		t.Log(said)
	}
	t.Errorf("%d times: %s", tries, said)
}

// rings is how many packets the two VMs' rings hold: what the system did not get to is
// neither received nor dropped.
const rings = 2 * 256

// All packets of a shot are somewhere, and their latencies are those of packets that passed.
func TestShoot(t *testing.T) {
	b := alone(t)
	st := scenario.Stream(topology.VM1, topology.VM2, 100, 64)
	st.Rate = 20_000
	r, n, err := b.Shoot(t.Context(), st, 200*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	s := r.Streams[0]
	if s.Sent == 0 || s.Received == 0 || s.Doubles > 0 || s.Received+s.Lost() != s.Sent || s.Missing > s.Lost() {
		t.Errorf("%+v", s.StreamNums)
	}
	if s.Latency.Count()+s.Paused != s.Received || s.Latency.Quantile(0.5) == 0 {
		t.Errorf("%d latencies and %d without of %d packets, median %d cycles", s.Latency.Count(), s.Paused, s.Received, s.Latency.Quantile(0.5))
	}
	late := uint64(0) // for the driver
	for _, e := range r.Ends {
		late += e.Dropped
	}
	// The system counts the warm-up too.
	if n.Rx+late+rings < s.Sent || n.Tx < s.Received || n.Tx+n.Dropped() != n.Rx || s.Lost() > n.Dropped()+late+rings {
		t.Errorf("sent %d, received %d, the system: %+v, ends: %+v", s.Sent, s.Received, n, r.Ends)
	}
}

// A search ends with a rate above none, which it has made.
func TestThroughput_short(t *testing.T) {
	measure(t, "pdr", alone(t), func(r *report.Report) string {
		if len(r.Trials) != 1 {
			return fmt.Sprintf("%d trials", len(r.Trials))
		}
		tr := r.Trials[0]
		if tr.System != report.Baton || tr.Scenario != "pdr" || tr.Mpps <= 0 || tr.Cycles <= 0 || tr.C2CPre <= 0 || tr.C2CPost <= 0 {
			return fmt.Sprintf("%+v", tr)
		}
		return ""
	})
}

func TestLatency_short(t *testing.T) {
	measure(t, "latency", alone(t), func(r *report.Report) string {
		if len(r.Ladders) != 3 {
			return fmt.Sprintf("%d ladders", len(r.Ladders))
		}
		for i, l := range r.Ladders {
			ordered := slices.IsSortedFunc(l.Points, func(a, b report.Percentile) int {
				if a.P < b.P && a.Ns <= b.Ns {
					return -1
				}
				return 1
			})
			if l.Count == 0 || len(l.Points) != len(report.Rungs) || !ordered || l.Points[0].Ns <= 0 || l.Max < l.Points[0].Ns {
				return fmt.Sprintf("%d: %+v", i, l)
			}
			if i > 0 && l.Mpps <= r.Ladders[i-1].Mpps {
				return fmt.Sprintf("more load is less: %+v, %+v", r.Ladders[i-1], l)
			}
		}
		return ""
	})
}

func TestChurn_short(t *testing.T) {
	measure(t, "churn", alone(t), func(r *report.Report) string {
		if len(r.Trials) != 2 || len(r.Measures) != 4 { // flows that share an entry, and flows with one each
			return fmt.Sprintf("%+v %+v", r.Trials, r.Measures)
		}
		for i, t := range r.Trials {
			if t.Mpps <= 0 || t.Cycles <= 0 {
				return fmt.Sprintf("%+v", t)
			}
			if m := r.Measures[2*i:]; m[0].Value.Median <= 0 || m[1].Value.Median < m[0].Value.Median {
				return fmt.Sprintf("p50 and p99 of first packets: %+v", m)
			}
		}
		return ""
	})
}

// More flows do not take less memory, and some thousands not hundreds of megabytes more;
// what is there for them is baton's caches.
func TestMemory_short(t *testing.T) {
	b := alone(t)
	b.Flows = []int{100, 10_000}
	measure(t, "memory", b, func(r *report.Report) string {
		if len(r.Measures) != 8 {
			return fmt.Sprintf("%+v", r.Measures)
		}
		for m := range slices.Chunk(r.Measures, 4) { // resident and per flow, of both numbers of flows
			if m[0].Value.Median <= 1 || m[2].Value.Median < m[0].Value.Median-16 || m[2].Value.Median > m[0].Value.Median+256 {
				return fmt.Sprintf("%+v", m)
			}
			if all := 10_000 * m[3].Value.Median / dut.DefaultFlows; all < 400 || all > 1000 {
				return fmt.Sprintf("%.0f bytes for each flow that there is room for: %+v", all, m)
			}
		}
		return ""
	})
}

// VMs that do not start are told of; what was started already is ended.
func TestVerify_noVMs(t *testing.T) {
	b := alone(t)
	t.Setenv("PATH", "")
	sent, err := scenario.Numbered(topology.VM1, topology.VM2, 64)
	if err != nil {
		t.Fatal(err)
	}
	p := scenario.Plan{VMs: []topology.VM{topology.VM1, topology.VM2}, NIC: "net_null0,copy=0,no-rx=1"}
	err = b.Verify(t.Context(), "vm2vm", p, scenario.Pass{From: topology.VM1.Name, To: topology.VM2.Name, Sent: sent, Open: scenario.PlainFrame})
	if !errors.Is(err, peer.ErrNotInstalled) {
		t.Errorf("want %v: %v", peer.ErrNotInstalled, err)
	}
}

func TestLoopgap_short(t *testing.T) {
	measure(t, "loopgap", alone(t), func(r *report.Report) string {
		if len(r.Gaps) != 4 {
			return fmt.Sprintf("%+v", r.Gaps)
		}
		for _, g := range r.Gaps {
			if g.Seconds < 0.03 || g.Over50 < g.Over100 || g.Over100 < g.Over1ms || g.MaxNs <= 0 || len(g.Buckets) == 0 {
				return fmt.Sprintf("%+v", g)
			}
		}
		if m := r.Measures; len(m) != 12 || m[3].Case.String() != "loopgap, nothing allocated" {
			return fmt.Sprintf("%+v", m)
		}
		return ""
	})
}
