package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"time"

	"baton/test/lab"
)

type options struct {
	json  string
	bin   string
	short bool
	only  string
	keep  bool
}

func main() {
	var o options
	flag.StringVar(&o.json, "json", "", "also write the table to this file, as JSON")
	flag.StringVar(&o.bin, "bin", "bin", "folder of batond, baton-controller and batonctl")
	flag.BoolVar(&o.short, "short", false, "few cells that have each value of each axis")
	flag.StringVar(&o.only, "run", "", "only cells whose name matches this regular expression")
	flag.BoolVar(&o.keep, "keep", false, "keep the logs even if all passes")
	flag.Usage = func() {
		fmt.Fprintf(os.Stderr, "interop: other vendors' virtio drivers against baton, all that they can negotiate\n\nusage: interop [flags], from the top of the source tree, as root\n\n")
		flag.PrintDefaults()
	}
	flag.Parse()
	cells, err := o.cells()
	if err != nil || flag.NArg() != 0 {
		if err != nil {
			fmt.Fprintf(os.Stderr, "interop: %v\n", err)
		}
		flag.Usage()
		os.Exit(2)
	}
	os.Exit(run(o, cells))
}

// cells are those that the flags ask for.
func (o options) cells() (cells []cell, err error) {
	only, err := regexp.Compile(o.only)
	if err != nil {
		return nil, fmt.Errorf("-run: %w", err)
	}
	all := matrix()
	if o.short {
		all = shortMatrix()
	}
	for _, c := range all {
		if only.MatchString(c.String()) {
			cells = append(cells, c)
		}
	}
	if len(cells) == 0 {
		return nil, fmt.Errorf("-run %q matches no cell; the first is called %v, the last %v", o.only, all[0], all[len(all)-1])
	}
	return cells, nil
}

// run plays the cells; it returns the exit code.
func run(o options, cells []cell) int {
	fail := func(err error) int {
		fmt.Fprintf(os.Stderr, "interop: %v\n", err)
		return 1
	}
	if o.json != "" { // an earlier run's result must not pass for this one's
		if err := os.WriteFile(o.json, []byte("{\"ok\": false}\n"), 0o644); err != nil {
			return fail(err)
		}
	}
	bin, err := filepath.Abs(o.bin)
	if err != nil {
		return fail(err)
	}
	l, err := lab.New(lab.Options{Out: os.Stdout, Keep: o.keep, Signals: true})
	if err != nil {
		return fail(err)
	}
	rep := newReport(len(cells))
	l.Logf("%d cells; this machine has %d CPUs", len(cells), runtime.NumCPU())
	if err := play(l, bin, cells, rep); err != nil {
		rep.addError(err)
	}
	for _, died := range l.Unexpected() {
		rep.addError(died)
	}
	l.Logf("cleaning up")
	if err := l.Close(); err != nil {
		rep.addError(err)
	}
	rep.finish(l.Elapsed())
	rep.print(os.Stdout)
	if o.json != "" {
		if err := rep.write(o.json); err != nil {
			return fail(err)
		}
		fmt.Printf("The same as JSON: %s\n", o.json)
	}
	if !rep.OK {
		return 1
	}
	return 0
}

// play plays the cells on one pair of hosts. A failed cell does not end it; a
// switch that died does.
func play(l *lab.Lab, bin string, cells []cell, rep *report) error {
	n, err := startNetwork(l, bin)
	if err != nil {
		return err
	}
	for i, c := range cells {
		l.Logf("cell %d of %d: %v", i+1, len(cells), c)
		start, do := time.Now(), n.runQEMU
		if c.Driver == virtioUser {
			do = n.runPMD
		}
		got, err := do(c)
		if l.Context().Err() != nil {
			return errors.New("interrupted")
		}
		res := rep.add(c, got, time.Since(start), err)
		if !res.OK {
			rep.Logs = l.Keep()
			l.Logf("FAIL %s", res.Reason)
		} else {
			l.Logf("ok   %d pings, %s, %.1f s", got.Pings, got.traffic(c.Driver), res.Seconds)
		}
		for _, h := range []string{"host1", "host2"} {
			select {
			case <-n.Host(h).Proc.Exited():
				return fmt.Errorf("stopped here: batond of %s ended by itself", h)
			default:
			}
		}
	}
	return nil
}
