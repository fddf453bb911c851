package suite_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"testing"
	"time"

	"baton/bench/report"
	"baton/bench/suite"
)

// fake is a system and its load: packets come at a rate while the load runs.
type fake struct {
	t       *testing.T
	paused  bool
	running bool
	counts  suite.Counts
	step    suite.Counts // that each asking adds while the load runs
	load    suite.LoadCounts
	order   []string
	asked   func() // called at each asking under load; may be nil
}

func (f *fake) Name() string           { return "fake" }
func (f *fake) Up() error              { return nil }
func (f *fake) Process() suite.Process { return suite.Process{} }
func (f *fake) Close() error           { f.order = append(f.order, "close"); return nil }

func (f *fake) Pause() error {
	if f.running {
		f.t.Error("paused under load")
	}
	f.paused = true
	return nil
}

func (f *fake) Resume() error {
	f.order = append(f.order, "resume")
	f.paused = false
	return nil
}

func (f *fake) Counts() (suite.Counts, error) {
	if f.paused {
		f.t.Error("asked while paused: it cannot answer")
	}
	if f.running && f.asked != nil {
		f.asked()
	}
	if f.running {
		c, s := &f.counts, f.step
		c.Rx, c.Tx, c.Out, c.Busy, c.Cycles = c.Rx+s.Rx, c.Tx+s.Tx, c.Out+s.Out, c.Busy+s.Busy, c.Cycles+s.Cycles
		drops := map[string]uint64{}
		for k, n := range s.Drops {
			drops[k] = c.Drops[k] + n
		}
		c.Drops, c.Workers = drops, 1
	}
	return f.counts, nil
}

type fakeLoad struct{ *fake }

func (l fakeLoad) Start() error { l.running = true; return nil }

func (l fakeLoad) Stop() (suite.LoadCounts, error) {
	l.running = false
	return l.load, nil
}

func (l fakeLoad) Close() error { l.order = append(l.order, "close load"); return nil }

func measure(t *testing.T, f *fake) report.Trial {
	t.Helper()
	if runtime.NumCPU() < 2 {
		t.Skip("one CPU")
	}
	f.t, f.paused = t, true
	r := &suite.Rig{System: f, Load: fakeLoad{f}}
	tr, err := r.Measure(t.Context(), suite.Timing{DUTCPUs: []int{0}, LoadCPU: 1, Length: time.Millisecond, Hz: 1e9}, report.Case{Scenario: "s", Flows: 1, Size: 64}, 0)
	if err != nil {
		t.Fatal(err)
	}
	if !f.paused {
		t.Error("the system polls after the trial")
	}
	return tr
}

func TestMeasure(t *testing.T) {
	// Two askings count: before and after what counts; a third comes after the load.
	f := &fake{step: suite.Counts{Rx: 1e6, Tx: 9e5, Busy: 98e6, Cycles: 1e8, Drops: map[string]uint64{"tx_full": 1e5}}, load: suite.LoadCounts{Sent: 2e6, Received: 18e5}}
	tr := measure(t, f)
	if tr.Cycles != 98 || tr.Mpps != 9 || tr.Limited || tr.Busy != 0.98 {
		t.Errorf("%+v", tr)
	}
	for why, s := range map[string]*fake{
		"unknown_mac":     {step: suite.Counts{Rx: 1e6, Tx: 9e5, Busy: 1, Cycles: 1e8, Drops: map[string]uint64{"unknown_mac": 1e5}}},
		"were dropped":    {step: suite.Counts{Rx: 1e6, Tx: 5e5, Busy: 1, Cycles: 1e8}},
		"the load sent":   {step: suite.Counts{Rx: 1e6, Tx: 1e6, Busy: 1, Cycles: 1e8}, load: suite.LoadCounts{Sent: 3e6}},
		"the system sent": {step: suite.Counts{Rx: 1e6, Tx: 1e6, Busy: 1, Cycles: 1e8}, load: suite.LoadCounts{Sent: 2e6, Received: 1e6}},
	} {
		if tr := measure(t, s); !tr.Discarded || !strings.Contains(tr.Why, why) {
			t.Errorf("want %q: %+v", why, tr)
		}
	}
}

// Packets that pass twice count once, as they leave.
func TestMeasure_through(t *testing.T) {
	tr := measure(t, &fake{step: suite.Counts{Rx: 2e6, Tx: 2e6, Out: 1e6, Busy: 1e8, Cycles: 1e8}, load: suite.LoadCounts{Received: 2e6}})
	if tr.Cycles != 100 || tr.Mpps != 10 {
		t.Errorf("%+v", tr)
	}
}

// A load that leaves waits for its system, which may be paused.
func TestRig_Close(t *testing.T) {
	f := &fake{t: t, paused: true}
	if err := (&suite.Rig{System: f, Load: fakeLoad{f}}).Close(); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(f.order, ", "); got != "resume, close load, close" {
		t.Error(got)
	}
}

// An interrupted trial ends at once, whatever its length.
func TestMeasure_interrupted(t *testing.T) {
	if runtime.NumCPU() < 2 {
		t.Skip("one CPU")
	}
	ctx, cancel := context.WithCancel(t.Context())
	f := &fake{t: t, paused: true, asked: cancel} // after the warm-up
	r := &suite.Rig{System: f, Load: fakeLoad{f}}
	_, err := r.Measure(ctx, suite.Timing{DUTCPUs: []int{0}, LoadCPU: 1, Length: time.Hour, Hz: 1e9}, report.Case{}, 0)
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
