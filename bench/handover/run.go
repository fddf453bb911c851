package handover

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"sync"
	"time"

	"baton/bench/machine"
	"baton/bench/report"
	"baton/bench/topology"
	"baton/hostapi"
	"baton/vhost/guest"
)

// Options is what to measure.
type Options struct {
	VMs      int
	Queues   int    // pairs of each VM, 1 to maxQueues
	Rate     int    // packets a second, of all flows together
	GuestMem int    // MiB of each VM; 0: what its rings need
	Huge     bool   // guest memory in huge pages of 2 MiB
	Batond   string // the program
	CPU      int    // of batond's worker
	LoadCPU  int    // of the load
	Dir      string // for sockets and files; exists, removed by the caller
	Log      io.Writer

	more []string // lines of batond's configuration besides
}

const (
	maxQueues = 8 // batond's own limit
	maxRate   = 200_000
	maxMem    = 1 << 20 // MiB
)

// Check tells what is wrong with what is asked for, and what the machine lacks.
//
//	error: names the option or what is missing, and the fix
func (o *Options) Check() error {
	switch {
	case o.VMs < 1 || o.VMs > MaxVMs:
		return fmt.Errorf("--vms %d: want 1 to %d", o.VMs, MaxVMs)
	case o.Queues < 1 || o.Queues > maxQueues:
		return fmt.Errorf("--queues %d: want 1 to %d", o.Queues, maxQueues)
	case o.Rate < 1 || o.Rate > maxRate:
		return fmt.Errorf("--rate %d: want 1 to %d packets a second: what is lost must not be the load's fault", o.Rate, maxRate)
	case o.GuestMem < 0 || o.GuestMem > maxMem:
		return fmt.Errorf("--guest-mem %d: want MiB, %d at the most", o.GuestMem, maxMem)
	case o.GuestMem > 0 && o.GuestMem<<20 < o.leastMem():
		return fmt.Errorf("--guest-mem %d: the rings and buffers of %d queue pairs take %d MiB", o.GuestMem, o.Queues, (o.leastMem()+1<<20-1)>>20)
	case o.CPU == o.LoadCPU:
		return fmt.Errorf("--dut-cpu %d: batond and the load need a CPU each", o.CPU)
	case os.Geteuid() != 0:
		return errors.New("a network namespace of its own needs root")
	}
	for _, cpu := range []int{o.CPU, o.LoadCPU} {
		if err := machine.On(cpu, func() error { return nil }); err != nil {
			return fmt.Errorf("%w: this one has %d (--dut-cpu, --load-cpu)", err, runtime.NumCPU())
		}
	}
	if _, err := os.Stat(o.Batond); err != nil {
		return fmt.Errorf("batond: %w: make build builds it, or name one with --batond", err)
	}
	return nil
}

// CheckFree tells whether there is memory for the guests, all of which is used, once nobody else
// measures.
func (o *Options) CheckFree() error {
	need := o.memory() * o.VMs
	if o.Huge {
		pages := need / hugePage
		if free := machine.FreeHugePages(); pages > free {
			return fmt.Errorf("--hugepages: the guests need %d huge pages of 2 MiB, and %d are free: scripts/huge-pages %d, or run without", pages, free, pages+batondPages)
		}
		return nil
	}
	if free := machine.AvailableMemory(); free > 0 && need+spareMemory > free {
		return fmt.Errorf("--guest-mem: %d VMs of %d MiB need %d MiB beside %d for all else, and %d are available: fewer --vms, or less for each",
			o.VMs, o.memory()>>20, need>>20, spareMemory>>20, free>>20)
	}
	return nil
}

// spareMemory is what the guests leave to two batonds and the rest of the machine, in bytes.
const spareMemory = 1 << 30

// Notes say how it was measured.
func (o *Options) Notes() []string {
	pages := "ordinary pages"
	if o.Huge {
		pages = "huge pages"
	}
	return []string{
		fmt.Sprintf("The workers of both processes on CPU %d. On CPU %d all their other threads, and one thread that is all VMs and the far host, which sleeps as long as it takes for a round, %v to %v. Guest memory in %s.", o.CPU, o.LoadCPU, idle, most, pages),
		"Flows: from each VM to the next one, to the far host and from there; the rate is shared out evenly.",
		fmt.Sprintf("The window has %v before and after what is measured.", margin),
	}
}

const hugePage = 2 << 20

// batondPages is what two batonds need besides.
const batondPages = 200

// rig is everything that runs: site, batond, VMs and load.
type rig struct {
	o      *Options
	site   *site
	wire   *wire
	batond *batond
	load   *load
	guests []*guest.Guest
	still  *report.GapCounts // of the undisturbed run
}

// setUp starts everything and lets the load run for a while, so that all flows are known.
//
//	error: nothing is left running
func setUp(ctx context.Context, o *Options) (_ *rig, err error) {
	r := &rig{o: o}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.close())
		}
	}()
	if r.site, err = newSite(); err != nil {
		return nil, err
	}
	if r.wire, err = r.site.newWire(); err != nil {
		return nil, err
	}
	all := vms(o.VMs)
	if r.guests, err = r.boot(ctx, all); err != nil {
		return nil, err
	}
	if err := r.batond.waitPorts(o.VMs); err != nil {
		return nil, err
	}
	if err := mapIn(r.batond.pid, o.page()); err != nil {
		return nil, err
	}
	r.load = newLoad(r.guests, all, r.wire, o.Rate, o.LoadCPU)
	_, err = r.load.passFor(warmUp)
	return r, err
}

// boot starts batond and the VMs, which listen before it looks for them.
func (r *rig) boot(ctx context.Context, all []topology.VM) ([]*guest.Guest, error) {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	d, err := startBatond(r.site, r.o, all)
	if err != nil {
		return nil, err
	}
	r.batond = d
	guests, errs := make([]*guest.Guest, len(all)), make([]error, len(all))
	var done sync.WaitGroup
	for i, v := range all {
		done.Go(func() { guests[i], errs[i] = guest.New(ctx, r.o.guest(v)) })
	}
	done.Wait()
	if err := errors.Join(errs...); err != nil {
		for _, g := range guests {
			if g != nil {
				g.Abandon()
			}
		}
		return nil, fmt.Errorf("%w\nbatond's log ends:\n%s", err, d.logTail())
	}
	return guests, nil
}

// close ends everything: VMs first, as batond answers them.
func (r *rig) close() error {
	var errs []error
	for _, g := range r.guests {
		errs = append(errs, g.Close())
	}
	if r.batond != nil {
		errs = append(errs, r.batond.end())
	}
	if r.wire != nil {
		r.wire.close()
	}
	if r.site != nil {
		errs = append(errs, r.site.close())
	}
	return errors.Join(errs...)
}

// Lengths of a run's parts.
const (
	warmUp = time.Second // before, so that all flows are known
	margin = time.Second // of the window, before and after what happens
)

// Upgrade has a batond under traffic upgraded to itself, and tells what packets noticed.
//
//	error: something does not work; that the upgrade was rolled back is in the result, and so
//	is what was lost
func Upgrade(ctx context.Context, o Options) (h *report.Handover, err error) {
	r, err := setUp(ctx, &o)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	h = r.newReport("upgrade")
	if err := r.undisturbed(h); err != nil {
		return nil, err
	}
	var v hostapi.Upgrade
	var moves moving
	err = r.window(ctx, h, func() (err error) {
		v, moves, err = r.upgrade(ctx, h)
		return err
	})
	if err != nil {
		return nil, err
	}
	if moves.to != 0 {
		r.span(h, "ports move", moves.from, moves.to)
	}
	h.TotalS, h.RolledBack, h.Plots.Error = v.TotalS, v.State != hostapi.UpgradeDone, v.Error
	for _, p := range v.Ports {
		if p.InterruptionUs != nil {
			h.Plots.Interruptions = append(h.Plots.Interruptions, *p.InterruptionUs)
		}
	}
	h.Interruption = report.SpreadOf(h.Plots.Interruptions)
	return h, nil
}

func (r *rig) newReport(title string) *report.Handover {
	return &report.Handover{
		VMs: r.o.VMs, Queues: r.o.Queues, GuestMemMiB: r.o.memory() >> 20,
		Plots: report.HandoverPlots{Title: title, Rate: r.o.Rate},
	}
}

// undisturbed runs the load for about as long as the window takes.
func (r *rig) undisturbed(h *report.Handover) error {
	length := 2*margin + 500*time.Millisecond + time.Duration(r.o.VMs)*10*time.Millisecond
	if _, err := r.load.passFor(length); err != nil {
		return err
	}
	u := &h.Plots.Undisturbed
	u.Seconds = length.Seconds()
	u.Offered, _, u.Lost, u.Duplicated, u.Reordered = r.load.sums()
	h.UndisturbedGap, r.still = r.load.gaps(), r.load.gapCounts()
	return nil
}

// window runs the load around what happens.
func (r *rig) window(ctx context.Context, h *report.Handover, happen func() error) error {
	stop := make(chan struct{})
	type result struct {
		*passage
		error
	}
	done := make(chan result, 1)
	go func() {
		p, err := r.load.pass(stop)
		done <- result{p, err}
	}()
	err := pause(ctx, margin)
	begin := r.load.now()
	if err == nil {
		err = happen()
	}
	end := r.load.now()
	err = errors.Join(err, pause(ctx, margin))
	close(stop)
	p := <-done
	if err = errors.Join(err, p.error); err != nil {
		return err
	}
	h.Plots.Begin, h.Plots.End = float64(begin-p.start)/1e6, float64(end-p.start)/1e6
	h.Plots.Offered, h.Plots.Came = p.offered, p.came
	h.Offered, h.Delivered, h.Lost, h.Duplicated, h.Reordered = r.load.sums()
	h.ReceiverGap, h.Gaps = r.load.gaps(), report.GapRows(r.still, r.load.gapCounts())
	lines := r.load.faults()
	for _, line := range lines[:min(notes, len(lines))] {
		fmt.Fprintf(r.o.Log, "baton-bench: %s\n", line)
	}
	if more := len(lines) - notes; more > 0 {
		fmt.Fprintf(r.o.Log, "baton-bench: and packets of %d more flows\n", more)
	}
	if !h.Intact() {
		fmt.Fprintf(r.o.Log, "baton-bench: what happened took from %.0f to %.0f ms; batond counts drops: %s\n", h.Plots.Begin, h.Plots.End, r.batond.drops())
	}
	return nil
}

// pause waits.
//
//	error: ctx ended
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// upgrade has the host upgraded, and watches both processes' memory and when ports move.
//
//	error: it did not begin, or nobody answers any more
func (r *rig) upgrade(ctx context.Context, h *report.Handover) (v hostapi.Upgrade, moves moving, err error) {
	d := r.batond
	moves.from = r.load.now()
	if err := d.api.StartUpgrade(ctx, hostapi.UpgradeRequest{}); err != nil {
		return v, moves, err
	}
	old := d.pid
	err = d.until("the upgrade's end", func(ctx context.Context) (bool, error) {
		h.Memory = larger(h.Memory, old, childOf(old))
		asked := r.load.now()
		now, err := d.api.Upgrade(ctx)
		if err != nil { // one process follows the other
			return false, nil
		}
		v = now
		moves.look(&v, asked, r.load.now())
		return v.State != hostapi.UpgradeRunning, nil
	})
	if err == nil && v.PID != old {
		gone := d.gone(endLimit)
		if !gone {
			err = fmt.Errorf("batond, process %d, gave everything away and did not end", old)
		}
		err = errors.Join(err, d.adopt(v.PID))
	}
	return v, moves, err
}
