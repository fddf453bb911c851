package suite

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"baton/bench/machine"
	"baton/bench/report"
)

// Rig is one system with its load, joined.
type Rig struct {
	System System
	Load   Load
}

// Timing is how trials are made.
type Timing struct {
	DUTCPUs []int         // that the system polls with; the first is in the latency
	LoadCPU int           // of the load
	Length  time.Duration // of what counts
	WarmUp  time.Duration // before
	Hz      uint64        // of the time stamp counter
	Favour  bool          // pollers come before all ordinary threads
}

// settle is how long packets under way take to arrive, with much to spare, and breather
// what ordinary threads get between two trials.
const (
	settle   = 20 * time.Millisecond
	breather = 100 * time.Millisecond
)

// Ready waits until system and load have joined, gives their threads their priorities,
// and pauses the system: rigs take turns.
func (r *Rig) Ready(t Timing) error {
	if err := r.System.Up(); err != nil {
		return err
	}
	if t.Favour {
		for _, p := range []Process{r.System.Process(), r.Load.Process()} {
			if err := machine.Favour(p.Pid, p.Pollers...); err != nil {
				return err
			}
		}
	}
	return r.System.Pause()
}

// Close ends both. A load that leaves asks its system, which may be paused.
func (r *Rig) Close() (err error) {
	if r.System != nil {
		err = r.System.Resume()
	}
	if r.Load != nil {
		err = errors.Join(err, r.Load.Close())
	}
	if r.System != nil {
		err = errors.Join(err, r.System.Close())
	}
	return err
}

// Measure makes one trial of the case. The system is paused before and after it.
//
//	error: something does not work, or ctx ended; that a trial does not count is in the trial
func (r *Rig) Measure(ctx context.Context, t Timing, c report.Case, run int) (report.Trial, error) {
	tr := Trial{Case: c.String(), System: r.System.Name(), Run: run, Length: t.Length}
	var err error
	if tr.Before, err = machine.Latency(t.DUTCPUs[0], t.LoadCPU); err != nil {
		return report.Trial{}, err
	}
	n, total, load, err := r.move(ctx, t, &tr)
	if err != nil {
		return report.Trial{}, fmt.Errorf("%s, %s: %w", tr.System, c, err)
	}
	tr.fill(n, t.Hz)
	tr.Discarded = judgeDrops(n, total, load)
	time.Sleep(breather)
	if tr.After, err = machine.Latency(t.DUTCPUs[0], t.LoadCPU); err != nil {
		return report.Trial{}, err
	}
	tr.Judge()
	return tr.Report(c), nil
}

// Report is the trial as reports have it.
func (t *Trial) Report(c report.Case) report.Trial {
	return report.Trial{
		Case: c, System: t.System, Run: t.Run, Mpps: t.Mpps, Cycles: t.Cycles, Limited: t.Limited, Busy: t.BusyPart,
		C2CPre: float64(t.Before), C2CPost: float64(t.After), StealMs: float64(t.Stolen) / float64(time.Millisecond),
		Discarded: t.Discarded != "", Why: t.Discarded,
	}
}

// move lets both run. n is what the system counted in the time that counts, total what it
// did from the load's start to its end, load what the load counted. Of a trial that ends
// early nothing is told.
func (r *Rig) move(ctx context.Context, t Timing, tr *Trial) (n, total Counts, load LoadCounts, err error) {
	if err = r.System.Resume(); err != nil {
		return
	}
	start, err := r.System.Counts()
	if err != nil {
		return
	}
	if err = r.Load.Start(); err != nil {
		return
	}
	if err = machine.Sleep(ctx, max(t.WarmUp, WarmUp)); err != nil {
		return
	}
	before, err := r.System.Counts()
	if err != nil {
		return
	}
	waited, stolen := r.Waited(), machine.Stolen()
	if err = machine.Sleep(ctx, t.Length); err != nil {
		return
	}
	tr.Waited, tr.Stolen = r.Waited()-waited, machine.Stolen()-stolen
	after, err := r.System.Counts()
	if err != nil {
		return
	}
	if load, err = r.Load.Stop(); err != nil {
		return
	}
	time.Sleep(settle)
	end, err := r.System.Counts()
	if err != nil {
		return
	}
	return after.Since(before), end.Since(start), load, r.System.Pause()
}

// Waited is how long the system's pollers waited for their CPUs so far. Of the load's it
// does not matter: it sends less then, or takes less.
func (r *Rig) Waited() (sum time.Duration) {
	for _, tid := range r.System.Process().Pollers {
		if w, err := machine.Waited(tid); err == nil {
			sum += w
		}
	}
	return sum
}

// fill sets what counts say.
func (t *Trial) fill(n Counts, hz uint64) {
	cost := n.Rx // a packet that the receiver has no room for costs most of what others do
	t.Packets = n.Rx - min(n.Rx, n.Dropped())
	if n.Out > 0 {
		t.Packets, cost = n.Out, n.Out
	}
	if cost > 0 {
		t.Cycles = float64(n.Busy) / float64(cost)
	}
	if n.Cycles > 0 {
		seconds := float64(n.Cycles) / float64(max(1, n.Workers)) / float64(hz)
		t.Mpps = float64(t.Packets) / seconds / 1e6
		t.BusyPart = float64(n.Busy) / float64(n.Cycles)
	}
}

// DropFull is the one reason for which packets may be dropped in a trial that counts: the
// receiver's ring was full.
const DropFull = "tx_full"

// maxLost is the part of a trial's packets that may be dropped for other reasons, or be
// missing between system and load: those that were under way.
const maxLost = 0.001

// judgeDrops says what was dropped that should not have been, or does not add up; empty
// if nothing.
func judgeDrops(n, total Counts, load LoadCounts) string {
	var bad []string
	for reason, d := range n.Drops {
		if reason != DropFull && float64(d) > maxLost*float64(n.Rx) {
			bad = append(bad, fmt.Sprintf("%d packets dropped: %s", d, reason))
		}
	}
	slices.Sort(bad)
	if lost := int64(load.Sent) - int64(total.Rx); load.Sent > 0 && float64(lost) > maxLost*float64(load.Sent)+1000 {
		bad = append(bad, fmt.Sprintf("the load sent %d packets, the system received %d", load.Sent, total.Rx))
	}
	slack := maxLost
	if load.Sent == 0 || total.Out > 0 { // the NIC is the source, and goes on while the counters are read one after the other
		slack = 20 * maxLost
	}
	if out := total.Rx - min(total.Rx, total.Dropped()); float64(total.Tx) < (1-slack)*float64(out)-1000 {
		bad = append(bad, fmt.Sprintf("%d packets came in, %d were dropped, %d went out", total.Rx, total.Dropped(), total.Tx))
	}
	if sent := total.Tx - total.Out; load.Received > 0 && float64(load.Received) < (1-10*maxLost)*float64(sent)-1000 {
		bad = append(bad, fmt.Sprintf("the system sent %d packets, the load received %d", sent, load.Received))
	}
	return strings.Join(bad, "; ")
}
