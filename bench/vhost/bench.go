package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"baton/bench/machine"
	"baton/bench/peer"
	"baton/bench/report"
)

// hugePages is what all processes of a run need, of 2 MiB.
const hugePages = 5 * peer.MemoryMiB / 2

// bench makes all checks and trials.
func bench(o options) (*report.Report, error) {
	dir, err := machine.RunDir()
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	defer machine.FavourSession()()
	moved, undo := machine.Vacate(dir, o.backCPU, o.vmCPU)
	defer undo()
	r := &report.Report{Host: report.Host{
		Date: time.Now().UTC().Format(time.RFC3339), Machine: machine.Describe(), CPUs: runtime.NumCPU(), TSCHz: o.hz, Notes: append(o.notes(), machine.Vacated(moved)),
	}}
	for _, format := range o.formats {
		for _, s := range systems {
			if err := check(o, dir, format, s.start); err != nil {
				return nil, fmt.Errorf("check of %s, %s rings: %w", s.name, format, err)
			}
			fmt.Fprintf(os.Stderr, "check: %s, %s rings: %d frames went and came back as they were\n", s.name, format, checkFrames)
		}
		trials, err := compareFormat(o, dir, format)
		if err != nil {
			return nil, err
		}
		r.Trials = append(r.Trials, trials...)
	}
	r.Summary = report.Summarize(r.Trials)
	return r, nil
}

var systems = []struct {
	name  string
	start func(options, string) (backend, error)
}{{peerName, startDPDK}, {batonName, startBaton}}

// compareFormat makes the trials of one ring format: the systems take turns.
func compareFormat(o options, dir, format string) (trials []report.Trial, err error) {
	var rigs []*rig
	defer func() {
		for _, r := range rigs {
			err = errors.Join(err, r.vm.Quit(), r.back.close())
		}
	}()
	for _, s := range systems {
		path := filepath.Join(dir, format+s.name+".sock")
		r, err := join(o, s.name, path, format, s.start)
		if err != nil {
			return nil, err
		}
		rigs = append(rigs, r)
	}
	for _, size := range o.sizes {
		for _, d := range o.dirs {
			c := testCase{format, direction(d), size}
			for run := range o.runs {
				for _, r := range rigs {
					t, err := r.measure(o, c, run)
					if err != nil {
						return trials, err
					}
					fmt.Fprintf(os.Stderr, "%-24s %-6s %7.1f cycles  %6.2f Mpps  %s %v  %s\n", c, r.name, t.Cycles, t.Mpps, t.State(), t.Before, t.Discarded)
					trials = append(trials, t.Report(c.report()))
				}
			}
		}
	}
	return trials, nil
}

// join starts a back end and its VM.
func join(o options, name, path, format string, start func(options, string) (backend, error)) (*rig, error) {
	back, err := start(o, path)
	if err != nil {
		return nil, err
	}
	v, err := startVM(o, path, format)
	if err != nil {
		back.close()
		return nil, err
	}
	r := &rig{name: name, back: back, vm: v}
	err = back.joined()
	if err == nil {
		err = o.prioritize(back, v)
	}
	if err != nil {
		v.Kill()
		back.close()
		return nil, err
	}
	return r, nil
}

// prioritize puts all threads of a pair before the machine's others, and those that
// poll behind those that stop them. Processes inherit this one's priority, so it must
// be done before they poll.
func (o *options) prioritize(back backend, v *vm) error {
	if !o.rt {
		return nil
	}
	return errors.Join(machine.Favour(back.pid(), back.poller()), machine.Favour(v.Pid(), v.Poller()))
}
