package handover

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"baton/bench/report"
)

// standbyKey is the key of batond's configuration that has it keep a standby process, in the
// table that `batond config doc` prints.
var standbyKey = regexp.MustCompile("(?m)^\\| `standby` \\|")

// HasStandby asks the program whether it can keep a standby.
//
//	error: it cannot, or does not answer
func HasStandby(o Options) error {
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	out, err := exec.CommandContext(ctx, o.Batond, "config", "doc").Output()
	if err != nil {
		return fmt.Errorf("%s config doc: %w: name a batond with --batond", o.Batond, err)
	}
	if !standbyKey.Match(out) {
		return fmt.Errorf("%s has no standby: its configuration has no key `standby`, so that nobody takes over from one that is killed", o.Batond)
	}
	return nil
}

// Crash has a batond under traffic killed, whose standby takes over, and tells what packets
// noticed. Those that the dead process had in hand are lost.
//
//	error: something does not work, nobody took over
func Crash(ctx context.Context, o Options) (h *report.Handover, err error) {
	o.more = append(o.more, "standby: true")
	r, err := setUp(ctx, &o)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	h = r.newReport("crash")
	if err := r.undisturbed(h); err != nil {
		return nil, err
	}
	standby, err := r.standby()
	if err != nil {
		return nil, err
	}
	h.Memory = larger(nil, r.batond.pid, standby)
	var killed time.Duration
	if err = r.window(ctx, h, func() (err error) {
		killed, err = r.crash(h, standby)
		return err
	}); err != nil {
		return nil, err
	}
	for i, first := range r.load.run.first {
		if first == 0 {
			return nil, fmt.Errorf("VM %d got no packet after the crash: batond's log ends:\n%s", i+1, r.batond.logTail())
		}
		h.Plots.Interruptions = append(h.Plots.Interruptions, float64(first-killed)/1e3)
	}
	h.Interruption = report.SpreadOf(h.Plots.Interruptions)
	r.span(h, "not all VMs get packets", killed, slices.Max(r.load.run.first))
	return h, nil
}

// standby is the process that batond keeps, a child of it, once it could take over.
func (r *rig) standby() (pid int, err error) {
	err = r.batond.until("batond's standby", func(ctx context.Context) (bool, error) {
		s, err := r.batond.api.Stats(ctx)
		pid = childOf(r.batond.pid)
		return err == nil && s.Standby == standbyReady && pid != 0, err
	})
	return pid, err
}

// standbyReady is what hostapi.Stats.Standby says of one that could take over.
const standbyReady = "ready"

// crash kills batond and waits until its standby answers. killed is when, on the load's clock.
func (r *rig) crash(h *report.Handover, standby int) (killed time.Duration, err error) {
	d := r.batond
	killed = r.load.now()
	if err := unix.PidfdSendSignal(d.fd, unix.SIGKILL, nil, 0); err != nil {
		return 0, fmt.Errorf("batond, process %d: kill: %w", d.pid, err)
	}
	// What was sent before may have passed the one that was killed.
	r.load.mark.Store(int64(r.load.now()))
	if err := d.adopt(standby); err != nil {
		return 0, err
	}
	err = d.until("the standby to answer", func(ctx context.Context) (bool, error) {
		v, err := d.api.Upgrade(ctx)
		return err == nil && v.PID == standby, nil
	})
	h.TotalS = (r.load.now() - killed).Seconds()
	return killed, err
}
