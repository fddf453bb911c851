package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"baton/bench/machine"
	"baton/bench/report"
	"baton/bench/scenario"
	"baton/bench/suite"
)

// flags are what the command line says of a run, as text where it needs reading.
type flags struct {
	scenario.Options
	flows, sizes []string
	set          string
	out          outputs
}

func rootCommand(code *int) *cobra.Command {
	c := &cobra.Command{Use: "baton-bench", Short: "baton beside other switches", Long: long, SilenceUsage: true, SilenceErrors: true}
	c.AddCommand(runCommand(code), listCommand())
	return c
}

func listCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the scenarios and sets", Args: cobra.NoArgs,
		Run: func(c *cobra.Command, _ []string) {
			fmt.Fprint(c.OutOrStdout(), scenarioList(""))
			for _, t := range takeovers {
				fmt.Fprintf(c.OutOrStdout(), "%-10s %s; a command of its own: run %s --help\n", t.name, t.about, t.name)
			}
			for _, s := range scenario.Sets() {
				fmt.Fprintf(c.OutOrStdout(), "--set %-8s %s\n", s.Name, s.About)
			}
		},
	}
}

// scenarioList is a line for each scenario.
func scenarioList(indent string) string {
	var b strings.Builder
	for _, s := range scenario.All() {
		fmt.Fprintf(&b, "%s%-10s %s\n", indent, s.Name(), s.About())
	}
	return b.String()
}

// alone waits for other runs to end, clears away what killed ones have left, and has free look
// for what this one needs.
//
//	out: done lets the next one begin
//	error: of ending the waiting, or free's; then the next one may begin
func alone(ctx context.Context, free func() error) (done func(), err error) {
	if done, err = machine.Alone(ctx, tellWaits); err != nil {
		if ctx.Err() != nil {
			err = errors.New("interrupted: nothing was measured")
		}
		return nil, failure{err}
	}
	machine.ClearUp()
	if err := free(); err != nil {
		done()
		return nil, err
	}
	return done, nil
}

func runCommand(code *int) *cobra.Command {
	var f flags
	c := &cobra.Command{
		Use: "run SCENARIO...", Short: "Measure scenarios and print a table", Long: long + "\n\nScenarios:\n" + scenarioList("  "),
		Example: "  baton-bench run encap decap --flows 1,100k --peer ovs-dpdk,testpmd --report out\n  baton-bench run --set quick",
		RunE: func(c *cobra.Command, names []string) error {
			items, err := f.choose(names, c.Flags().Changed)
			if err != nil {
				return err
			}
			done, err := alone(c.Context(), f.Settle)
			if err != nil {
				return err
			}
			defer done()
			r, err := f.measure(c.Context(), items)
			if r != nil { // what was measured before something failed, too
				err = errors.Join(err, f.out.write(r))
			}
			if err == nil {
				*code = verdict(r)
			}
			if err != nil {
				return failure{err}
			}
			return nil
		},
	}
	s := c.Flags()
	s.StringSliceVar(&f.flows, "flows", nil, "numbers of flows, such as 1,10k,1M (default: each scenario's own)")
	s.StringSliceVar(&f.sizes, "size", nil, "frame sizes in bytes without tunnel headers, or imix (default: 64)")
	s.StringVar(&f.set, "set", "", "a set of scenarios instead of their names: standard or quick")
	f.Length = time.Second
	s.Var((*seconds)(&f.Length), "duration", "length of a trial: 2, 0.5 or 300ms")
	s.IntVar(&f.Runs, "runs", 5, "trials of each system in each case")
	s.StringSliceVar(&f.Peers, "peer", []string{scenario.OVS}, "systems beside baton: ovs-dpdk, testpmd; \"\" for none")
	s.IntVar(&f.DUTCPU, "dut-cpu", 0, "CPU that the system under test polls with")
	s.IntSliceVar(&f.MoreCPUs, "more-cpus", nil, "more CPUs for the system under test, for the scenario workers")
	s.IntVar(&f.LoadCPU, "load-cpu", 1, "CPU of the load, and of all that does not poll")
	s.StringVar(&f.out.json, "json", "", "write all trials and ratios to this file")
	s.StringVar(&f.out.dir, "report", "", "write JSON, Markdown and plots into this folder")
	s.StringVar(&f.Profile, "profile", "", "write a CPU profile of baton to this file (it costs speed)")
	for _, t := range takeovers {
		c.AddCommand(takeoverCommand(t, code))
	}
	return c
}

// choose is what to run; all that is asked for is checked against the machine. What was
// given comes before what a set has.
func (f *flags) choose(names []string, given func(flag string) bool) (items []scenario.Item, err error) {
	switch {
	case f.set != "" && len(names) > 0:
		return nil, errors.New("want names of scenarios or a --set, not both")
	case f.set == "" && len(names) == 0:
		return nil, errors.New("want names of scenarios, or a --set")
	case f.set != "":
		s, err := scenario.FindSet(f.set)
		if err != nil {
			return nil, err
		}
		items = s.Items
		if !given("peer") {
			f.Peers = s.Peers
		}
		if !given("runs") {
			f.Runs = s.Runs
		}
		if !given("duration") {
			f.Length = s.Length
		}
		for i := range items { // a copy of the set's
			if given("duration") {
				items[i].Length = 0
			}
		}
	}
	for _, n := range names {
		s, err := scenario.Find(n)
		if err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(items, func(i scenario.Item) bool { return i.Scenario.Name() == n }) {
			items = append(items, scenario.Item{Scenario: s})
		}
	}
	if err := f.read(); err != nil {
		return nil, err
	}
	if err := f.out.check(); err != nil {
		return nil, err
	}
	if err := writable("--profile", f.Profile); err != nil {
		return nil, err
	}
	return items, f.Check(items)
}

// read reads what is text.
func (f *flags) read() error {
	for _, s := range f.flows {
		n, err := parseCount(s)
		if err != nil {
			return fmt.Errorf("--flows %s: %w", s, err)
		}
		f.Flows = append(f.Flows, n)
	}
	for _, s := range f.sizes {
		n, err := strconv.Atoi(s)
		if s != report.IMIX.String() && (err != nil || n < 1) {
			return fmt.Errorf("--size %s: want bytes or imix", s)
		}
		f.Sizes = append(f.Sizes, report.Size(n))
	}
	return nil
}

// parseCount reads a number such as 10, 10k or 1M.
func parseCount(s string) (int, error) {
	unit := 1
	for suffix, n := range map[string]int{"k": 1000, "K": 1000, "M": 1_000_000} {
		if rest, ok := strings.CutSuffix(s, suffix); ok {
			s, unit = rest, n
		}
	}
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		return 0, errors.New("want a number, such as 10, 10k or 1M")
	}
	return int(n) * unit, nil
}

// measure runs what was chosen.
//
//	error: what went wrong; what was measured before is in the report, which is nil if
//	nothing was
func (f *flags) measure(ctx context.Context, items []scenario.Item) (_ *report.Report, err error) {
	if f.Dir, err = machine.RunDir(); err != nil {
		return nil, err
	}
	defer os.RemoveAll(f.Dir)
	// DPDK leaves a folder for each process behind: not in /var/run.
	if err := os.Setenv("RUNTIME_DIRECTORY", f.Dir); err != nil {
		return nil, err
	}
	defer machine.FavourSession()()
	moved, undo := machine.Vacate(f.Dir, append(append([]int{f.DUTCPU}, f.MoreCPUs...), f.LoadCPU)...)
	defer undo()
	begin := time.Now()
	b := &scenario.Bench{Options: f.Options, Log: os.Stderr, Report: &report.Report{Host: report.Host{
		Date: time.Now().UTC().Format(time.RFC3339), Machine: machine.Describe(), CPUs: runtime.NumCPU(), TSCHz: f.Hz,
		Versions: f.Versions(), Notes: append(f.Notes(), machine.Vacated(moved), suite.Rules()),
	}}}
	for n, i := range items {
		if len(items) > 1 {
			fmt.Fprintf(os.Stderr, "-- %s (%d of %d, after %v)\n", i.Scenario.Name(), n+1, len(items), time.Since(begin).Round(time.Second))
		}
		if f.Flows == nil {
			b.Flows = i.Flows
		}
		if f.Sizes == nil {
			b.Sizes = i.Sizes
		}
		b.Length = cmp.Or(i.Length, f.Length)
		if err = i.Scenario.Run(ctx, b); err != nil {
			break
		}
	}
	b.Report.Summary = report.Summarize(b.Report.Trials)
	if err == nil {
		return b.Report, nil
	}
	if ctx.Err() != nil {
		err = errors.New("interrupted")
	}
	if b.Report.Empty() {
		return nil, fmt.Errorf("%w: nothing was measured", err)
	}
	b.Report.Host.Notes = append(b.Report.Host.Notes, fmt.Sprintf("Ended after %v, before all was measured: %v.", time.Since(begin).Round(time.Second), err))
	return b.Report, fmt.Errorf("%w: the report has what was measured before", err)
}

// verdict is the exit code for what was measured; it tells what there is too little of.
func verdict(r *report.Report) int {
	thin := r.Thin()
	if len(thin) == 0 {
		return exitDone
	}
	fmt.Fprintln(os.Stderr, "baton-bench: no trials of baton and a peer, in one state of the machine, that count:")
	for _, c := range thin {
		fmt.Fprintf(os.Stderr, "  %s\n", c)
	}
	return exitThin
}
