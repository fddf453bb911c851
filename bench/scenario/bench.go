package scenario

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"baton/bench/report"
	"baton/bench/suite"
)

// Options is what to measure, and how.
type Options struct {
	Flows    []int         // numbers of flows; nil = the scenario's own
	Sizes    []report.Size // of frames; nil = 64 bytes
	Length   time.Duration // of a trial
	Runs     int           // trials of each system in each case
	Peers    []string      // systems beside baton
	DUTCPU   int           // that the system under test polls with
	MoreCPUs []int         // for systems with more than one worker
	LoadCPU  int           // of the load, and of all threads that do not poll
	Huge     bool          // memory in huge pages
	RT       bool          // pollers come before all ordinary threads
	Hz       uint64        // of the time stamp counter
	Profile  string        // file for a CPU profile of baton's; empty = none
	Dir      string        // for sockets and files; exists, removed by the caller
}

// Bench is one run of the suite.
type Bench struct {
	Options
	Report  *report.Report
	Log     io.Writer // what happens, for people
	rigs    int       // made so far, for names
	checked []string  // passes that were made
}

// timing is how trials of the plan are made.
func (b *Bench) timing(p Plan) suite.Timing {
	return suite.Timing{DUTCPUs: b.cpus(p), LoadCPU: b.LoadCPU, Length: b.Length, WarmUp: p.WarmUp, Hz: b.Hz, Favour: b.RT}
}

// cpus are those that a system polls with.
func (b *Bench) cpus(p Plan) []int {
	return append([]int{b.DUTCPU}, b.MoreCPUs[:max(1, p.Workers)-1]...)
}

// flowsOr is the numbers of flows to measure: as asked for, or else.
func (b *Bench) flowsOr(flows ...int) []int {
	if b.Flows != nil {
		return b.Flows
	}
	return flows
}

// sizes is the sizes to measure.
func (b *Bench) sizes() []report.Size {
	if b.Sizes != nil {
		return b.Sizes
	}
	return []report.Size{64}
}

// Compare measures a case on baton and all peers, in turns, and adds the trials to the
// report.
func (b *Bench) Compare(ctx context.Context, c report.Case, p Plan) error {
	return b.withRigs(ctx, c, p, func(rigs []*suite.Rig) error {
		if err := b.takeTurns(ctx, c, p, rigs); err != nil {
			return err
		}
		return b.addStages(ctx, c, p, rigs)
	})
}

// withRigs starts baton and all peers for a plan and has f use them, which take turns. A
// peer that cannot do the plan is told about and left out.
func (b *Bench) withRigs(ctx context.Context, c report.Case, p Plan, f func([]*suite.Rig) error) (err error) {
	var rigs []*suite.Rig
	defer func() {
		for _, r := range rigs {
			err = errors.Join(err, r.Close())
		}
	}()
	for _, name := range append([]string{report.Baton}, b.Peers...) {
		if err := ctx.Err(); err != nil {
			return err
		}
		r, err := b.Rig(name, p)
		var unable unableError
		if errors.As(err, &unable) {
			fmt.Fprintf(b.Log, "%s: %s left out: %v\n", c, name, err)
			continue
		}
		if err != nil {
			return fmt.Errorf("%s, %s: %w", name, c, err)
		}
		rigs = append(rigs, r)
	}
	return f(rigs)
}

// takeTurns makes rounds of trials until each system has b.Runs that count, but twice as
// many rounds at the most.
func (b *Bench) takeTurns(ctx context.Context, c report.Case, p Plan, rigs []*suite.Rig) error {
	counted := make([]int, len(rigs))
	for run := 0; len(rigs) > 0 && run < 2*b.Runs && slices.Min(counted) < b.Runs; run++ {
		for i, r := range rigs {
			if err := ctx.Err(); err != nil {
				return err
			}
			t, err := r.Measure(ctx, b.timing(p), c, run)
			if err != nil {
				return err
			}
			if !t.Discarded {
				counted[i]++
			}
			b.Add(t)
		}
	}
	return nil
}

// Add adds a trial to the report and tells it.
func (b *Bench) Add(t report.Trial) {
	b.Report.Trials = append(b.Report.Trials, t)
	mark := ""
	if t.Limited {
		mark = fmt.Sprintf(" (the generator's limit; busy %.0f %%)", 100*t.Busy)
	}
	if t.Discarded {
		mark += " discarded: " + t.Why
	}
	fmt.Fprintf(b.Log, "%-28s %-9s %7.1f cycles %7.2f Mpps  %s %.0f ns%s\n", t.Case, t.System, t.Cycles, t.Mpps, t.State(), t.C2CPre, mark)
}

// leaveOut tells that a case is not measured, and why.
func (b *Bench) leaveOut(c report.Case, why string) {
	fmt.Fprintf(b.Log, "%s: left out: %s\n", c, why)
	b.Report.Host.Notes = append(b.Report.Host.Notes, fmt.Sprintf("Not measured: %s: %s.", c, why))
}

// unableError is why a system cannot do what a plan asks for.
type unableError string

func (e unableError) Error() string { return string(e) }
