package scenario

import (
	"context"
	"fmt"

	"baton/bench/dut"
	"baton/bench/hist"
	gaps "baton/bench/loopgap"
	"baton/bench/report"
)

// loopgap is how evenly the poll loop turns.
type loopgap struct{}

func (loopgap) Name() string { return "loopgap" }

func (loopgap) About() string {
	return "gaps of baton's poll loop beside a bare C loop's, while the control side allocates 100 MB/s"
}

// What the control side allocates, in bytes, and how much of it lives.
const (
	gapAlloc = 100e6
	gapLive  = 16e6
)

// loops are what is measured.
var loops = []struct {
	variant string
	config  gaps.Config
}{
	{"100 MB/s", gaps.Config{Bare: true, Alloc: gapAlloc, Live: gapLive}},
	{"nothing allocated", gaps.Config{}},
	{"100 MB/s, batond's memory.heap", gaps.Config{Alloc: gapAlloc, Live: gapLive, Heap: dut.DefaultHeap}},
	{"100 MB/s, Go's default", gaps.Config{Alloc: gapAlloc, Live: gapLive}},
}

func (loopgap) alone() {}

// loopTally is what was seen of one of the loops so far.
type loopTally struct {
	gaps  report.Gaps
	hist  hist.Hist
	facts [3][]float64 // of each run: see tellGaps
}

// Run reports the runs before one that failed, too.
func (loopgap) Run(ctx context.Context, b *Bench) error {
	all := make([]loopTally, len(loops))
	err := b.runLoops(ctx, all)
	for i := range all {
		if t := &all[i]; t.gaps.Seconds > 0 {
			t.gaps.Buckets = t.hist.Buckets()
			b.tellGaps(t.gaps, t.facts)
			b.Report.Gaps = append(b.Report.Gaps, t.gaps)
		}
	}
	return err
}

// runLoops runs the loops in turns.
func (b *Bench) runLoops(ctx context.Context, all []loopTally) error {
	for range b.Runs {
		for i, l := range loops {
			c := l.config
			c.CPU, c.Control, c.Length = b.DUTCPU, b.LoadCPU, b.Length
			r, err := gaps.Run(ctx, c)
			if err != nil {
				return err
			}
			all[i].add(l.variant, r)
		}
	}
	return nil
}

// add adds a run.
func (t *loopTally) add(variant string, r *gaps.Result) {
	g := &t.gaps
	g.System, g.Variant = r.System, variant
	g.Seconds += r.Seconds
	g.Over50, g.Over100, g.Given100 = g.Over50+r.Over50, g.Over100+r.Over100, g.Given100+r.Given100
	g.Over1ms, g.MaxNs = g.Over1ms+r.Over1ms, max(g.MaxNs, r.MaxNs)
	t.hist.Merge(r.Hist)
	for k, v := range []float64{r.GCs, r.Yields, r.Forced} {
		t.facts[k] = append(t.facts[k], v)
	}
}

// tellGaps tells a loop's gaps and puts what may explain them into the report.
func (b *Bench) tellGaps(g report.Gaps, facts [3][]float64) {
	c := report.Case{Scenario: "loopgap", Variant: g.Variant, Size: report.NoFrames}
	for i, name := range []string{"garbage collections", "CPU given away", "CPU taken by the kernel"} {
		b.Report.Measures = append(b.Report.Measures, report.Measure{Case: c, System: g.System, Name: name, Unit: "/s", Value: report.FigureOf(facts[i])})
	}
	fmt.Fprintf(b.Log, "loopgap, %-8s %-32s %6.1f/s > 50 us %6.1f/s > 100 us (%.1f/s as its thread waited) %6.2f/s > 1 ms, most %.0f us; %.1f collections/s, CPU given away %.1f/s, taken %.1f/s\n",
		g.System, g.Variant, float64(g.Over50)/g.Seconds, float64(g.Over100)/g.Seconds, float64(g.Given100)/g.Seconds, float64(g.Over1ms)/g.Seconds, g.MaxNs/1e3,
		report.FigureOf(facts[0]).Median, report.FigureOf(facts[1]).Median, report.FigureOf(facts[2]).Median)
}
