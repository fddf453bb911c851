package scenario

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"baton/bench/dut"
	"baton/bench/machine"
	"baton/bench/report"
	"baton/bench/suite"
)

// stagesLength is the length of a trial with a CPU profile, which has a hundred samples a
// second: a tenth of the time is then known to about a quarter of itself.
const stagesLength = 1500 * time.Millisecond

// addStages makes one more trial of baton with a CPU profile, which does not count, and
// adds what each stage of a packet costs: its share of the profile, of the median cycles of
// the trials that count in the same state.
func (b *Bench) addStages(ctx context.Context, c report.Case, p Plan, rigs []*suite.Rig) error {
	if !p.Staged || b.Profile != "" {
		return nil
	}
	for _, r := range rigs {
		if s, ok := r.System.(batonSystem); ok {
			if err := b.stagesOf(ctx, c, p, r, s.d); err != nil {
				return fmt.Errorf("stages of %s: %w", c, err)
			}
		}
	}
	return nil
}

// stagesTries is how often a profile is taken until it is of a state that has trials which
// count, and counts itself.
const stagesTries = 3

// stagesOf does it for one system. The figures stand without if nothing comes of it.
func (b *Bench) stagesOf(ctx context.Context, c report.Case, p Plan, r *suite.Rig, d *dut.Process) error {
	why := ""
	for range stagesTries {
		t, shares, err := b.profile(ctx, c, p, r, d)
		if err != nil && !errors.Is(err, dut.ErrNoWorker) { // too little was seen
			return err
		}
		cycles := b.median(t)
		switch {
		case err != nil:
			why = err.Error()
		case t.Discarded:
			why = t.Why
		case cycles == 0:
			why = fmt.Sprintf("the profile is of the machine's %s state, the trials are not", t.State())
		default:
			b.tellStages(c, t.State(), dut.Cycles(shares, cycles, t.Busy))
			return nil
		}
	}
	fmt.Fprintf(b.Log, "%s: no stages: %s, the last of %d times\n", c, why, stagesTries)
	return nil
}

// median is the cycles of the trials that count and are as t is; 0 if none is.
func (b *Bench) median(t report.Trial) float64 {
	var values []float64
	for _, x := range b.Report.Trials {
		if x.Case == t.Case && x.System == t.System && x.State() == t.State() && !x.Discarded {
			values = append(values, x.Cycles)
		}
	}
	return report.FigureOf(values).Median
}

// profile makes the trial.
func (b *Bench) profile(ctx context.Context, c report.Case, p Plan, r *suite.Rig, d *dut.Process) (t report.Trial, shares map[string]float64, err error) {
	file := filepath.Join(b.Dir, "stages.prof")
	if err := errors.Join(d.Resume(), d.Profile(file), d.Pause()); err != nil {
		return t, nil, err
	}
	timing := b.timing(p)
	timing.Length = stagesLength
	if t, err = r.Measure(ctx, timing, c, 0); err != nil {
		return t, nil, err
	}
	if err := errors.Join(d.Resume(), d.Profiled(), d.Pause()); err != nil {
		return t, nil, err
	}
	f, err := os.Open(file)
	if err != nil {
		return t, nil, err
	}
	defer f.Close()
	shares, _, err = dut.Shares(f)
	return t, shares, err
}

// tellStages adds the stages and tells them.
func (b *Bench) tellStages(c report.Case, state machine.State, cycles []float64) {
	s := report.Stages{Case: c, System: report.Baton, State: state}
	fmt.Fprintf(b.Log, "%-28s %-9s stages, %s:", c, report.Baton, state)
	for i, name := range dut.Stages {
		if cycles[i] >= 0.5 {
			s.Stages = append(s.Stages, report.Stage{Name: name, Cycles: cycles[i]})
			fmt.Fprintf(b.Log, " %s %.0f;", name, cycles[i])
		}
	}
	fmt.Fprintln(b.Log)
	b.Report.Stages = append(b.Report.Stages, s)
}
