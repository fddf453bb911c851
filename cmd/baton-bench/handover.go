package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/spf13/cobra"

	"baton/bench/handover"
	"baton/bench/machine"
	"baton/bench/report"
	"baton/bench/tsc"
)

// takeover is one of the commands that measure another process taking a host over.
type takeover struct {
	name, about, long string
	run               func(context.Context, handover.Options) (*report.Handover, error)
	check             func(handover.Options) error // what this batond cannot do; nil: nothing
	lossless          bool                         // a packet lost is a failure
}

var takeovers = []takeover{
	{
		name: "upgrade", about: "batond hands its VMs over to a new process of itself: packets lost, interruptions, gaps", run: handover.Upgrade, lossless: true,
		long: `Starts bin/batond with a number of simulated VMs on it, offers traffic between the VMs, to the
wire and from it at a steady rate, upgrades batond to itself and tells what the packets
noticed. All packets must come, once and in order.`,
	},
	{
		name: "crash", about: "batond is killed and its standby takes its VMs over: interruptions from the kill to the next packet", run: handover.Crash, check: handover.HasStandby,
		long: `As upgrade, but batond, which keeps a standby process, is killed. The interruption of a VM is the
time from the kill to the first packet, sent after it, that the VM gets.`,
	},
}

// takeoverFlags are the command line's of a takeover.
type takeoverFlags struct {
	handover.Options
	out outputs
}

func takeoverCommand(t takeover, code *int) *cobra.Command {
	var f takeoverFlags
	c := &cobra.Command{
		Use: t.name, Short: t.about, Long: t.long, Args: cobra.NoArgs,
		Example: fmt.Sprintf("  baton-bench run %s --vms 16 --queues 4 --json out.json --report out", t.name),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := f.check(t); err != nil {
				return err
			}
			done, err := alone(c.Context(), f.CheckFree)
			if err != nil {
				return err
			}
			defer done()
			h, err := f.measure(c.Context(), t)
			if err != nil {
				return failure{err}
			}
			*code = judge(h, t.lossless)
			return nil
		},
	}
	s := c.Flags()
	s.IntVar(&f.VMs, "vms", 4, "number of VMs")
	s.IntVar(&f.Queues, "queues", 4, "queue pairs of each VM")
	s.IntVar(&f.Rate, "rate", 20_000, "packets a second, of all flows together")
	s.IntVar(&f.GuestMem, "guest-mem", 0, "memory of each VM in MiB (default: what its rings need)")
	s.BoolVar(&f.Huge, "hugepages", false, "guest memory in huge pages of 2 MiB instead of ordinary ones")
	s.StringVar(&f.Batond, "batond", beside("batond"), "the batond to measure")
	s.IntVar(&f.CPU, "dut-cpu", 0, "CPU that batond's worker polls with")
	s.IntVar(&f.LoadCPU, "load-cpu", 1, "CPU of the load")
	s.StringVar(&f.out.json, "json", "", "write the result to this file")
	s.StringVar(&f.out.dir, "report", "", "write JSON, Markdown and plots into this folder")
	return c
}

// beside is the path of a program in this one's folder.
func beside(name string) string {
	self, err := os.Executable()
	if err != nil {
		return name
	}
	return filepath.Join(filepath.Dir(self), name)
}

// check checks all that was asked for.
func (f *takeoverFlags) check(t takeover) error {
	path, err := filepath.Abs(f.Batond) // it runs elsewhere
	if err != nil {
		return err
	}
	f.Batond = path
	if err := f.Check(); err != nil {
		return err
	}
	if t.check != nil {
		if err := t.check(f.Options); err != nil {
			return err
		}
	}
	return f.out.check()
}

// measure makes the run and writes down what it gave.
func (f *takeoverFlags) measure(ctx context.Context, t takeover) (h *report.Handover, err error) {
	if f.Dir, err = machine.RunDir(); err != nil {
		return nil, err
	}
	defer os.RemoveAll(f.Dir)
	// DPDK leaves a folder for each process behind: not in /var/run.
	if err := os.Setenv("RUNTIME_DIRECTORY", f.Dir); err != nil {
		return nil, err
	}
	// What orders the run, and looks at it all the time, is no load: it stays behind batond, and off
	// the workers' CPU.
	_, undo := machine.Vacate(f.Dir, f.CPU)
	defer undo()
	defer machine.FavourSession()()
	f.Log = os.Stderr
	if h, err = t.run(ctx, f.Options); err != nil {
		if ctx.Err() != nil {
			err = errors.New("interrupted: nothing was measured")
		}
		return nil, err
	}
	h.Plots.Host = report.Host{
		Date: time.Now().UTC().Format(time.RFC3339), Machine: machine.Describe(), CPUs: runtime.NumCPU(), TSCHz: tsc.Hz(50 * time.Millisecond), Notes: f.Notes(),
	}
	var errs []error
	if f.out.json != "" {
		errs = append(errs, h.WriteJSON(f.out.json))
	}
	if f.out.dir != "" {
		errs = append(errs, h.WriteDir(f.out.dir))
	}
	fmt.Print(h.Markdown())
	return h, errors.Join(errs...)
}

// judge is the exit code for a run; it tells what should not have been.
func judge(h *report.Handover, lossless bool) int {
	u := h.Plots.Undisturbed
	switch {
	case h.RolledBack:
		fmt.Fprintf(os.Stderr, "baton-bench: rolled back: %s\n", h.Plots.Error)
	case u.Lost+u.Duplicated+u.Reordered > 0:
		fmt.Fprintf(os.Stderr, "baton-bench: packets were lost (%d), doubled (%d) or out of order (%d) when nothing happened: the machine is too busy for this load, lower --rate\n", u.Lost, u.Duplicated, u.Reordered)
	case lossless && !h.Intact():
		fmt.Fprintf(os.Stderr, "baton-bench: packets were lost (%d), doubled (%d) or out of order (%d)\n", h.Lost, h.Duplicated, h.Reordered)
	default:
		return exitDone
	}
	return exitFailed
}

func tellWaits() {
	fmt.Fprintln(os.Stderr, "baton-bench: waits for another benchmark on this machine to end")
}
