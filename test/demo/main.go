package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"baton/test/cluster"
	"baton/test/lab"
)

type options struct {
	json    string
	example string
	bin     string
	keep    bool
	verbose bool
}

func main() {
	var o options
	flag.StringVar(&o.json, "json", "", "also write the summary to this file, as JSON")
	flag.StringVar(&o.example, "example", "examples/first-light.yaml", "network to apply")
	flag.StringVar(&o.bin, "bin", "bin", "folder of batond, baton-controller and batonctl")
	flag.BoolVar(&o.keep, "keep", false, "keep logs and captures")
	flag.BoolVar(&o.verbose, "v", false, "daemons log at level debug, and their logs are printed at the end")
	flag.Usage = func() {
		fmt.Fprintf(os.Stderr, "demo: two hosts, four VMs, one network: baton's main job on this machine\n\nusage: demo [flags], from the top of the source tree, as root\n\n")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() != 0 {
		flag.Usage()
		os.Exit(2)
	}
	os.Exit(run(o))
}

// run is the whole demo; it returns the exit code.
func run(o options) int {
	if o.json != "" { // an earlier run's result must not pass for this one's
		if err := os.WriteFile(o.json, []byte("{\"ok\": false}\n"), 0o644); err != nil {
			fmt.Fprintf(os.Stderr, "demo: %v\n", err)
			return 1
		}
	}
	l, err := lab.New(lab.Options{Out: os.Stdout, Keep: o.keep, Signals: true})
	if err != nil {
		fmt.Fprintf(os.Stderr, "demo: %v\n", err)
		return 1
	}
	rep := newReport()
	err = play(l, o, rep)
	rep.finish(l.Elapsed(), err)
	for _, died := range l.Unexpected() {
		rep.addError(died)
	}
	if o.verbose {
		rep.printLogs(os.Stdout, l.Dir())
	}
	l.Logf("cleaning up")
	if err := l.Close(); err != nil {
		rep.addError(err)
	}
	rep.print(os.Stdout)
	if o.json != "" {
		if err := rep.write(o.json); err != nil {
			fmt.Fprintf(os.Stderr, "demo: %v\n", err)
			return 1
		}
		fmt.Printf("The same as JSON: %s\n", o.json)
	}
	if !rep.OK {
		return 1
	}
	return 0
}

// play starts everything and runs the checks. An error ends it; a failed check
// does not.
func play(l *lab.Lab, o options, rep *report) error {
	p, err := readPlan(o.example)
	if err != nil {
		return err
	}
	n := &network{lab: l, plan: p}
	if n.example, err = filepath.Abs(o.example); err != nil {
		return err
	}
	bin, err := filepath.Abs(o.bin)
	if err != nil {
		return err
	}
	l.Logf("%s: %d hosts, %d VMs, %d switches, %d routers; this machine has %d CPUs",
		o.example, len(p.hosts), len(p.vms), len(p.state.Switches), len(p.state.Routers), runtime.NumCPU())
	opts := cluster.Options{Bin: bin, MTU: p.underlayMTU()}
	if o.verbose {
		opts.LogLevel = "debug"
	}
	if n.Cluster, err = cluster.New(l, opts); err != nil {
		return err
	}
	if err := n.start(); err != nil {
		return err
	}
	for _, step := range []func(*report) error{n.pings, n.bigPings, n.transfers, n.underlay, n.conservation} {
		if err := step(rep); err != nil {
			return err
		}
		// What follows a daemon's death proves nothing and takes minutes of time-outs.
		if died := l.Unexpected(); len(died) > 0 {
			return errors.New("stopped here: a process ended by itself")
		}
	}
	return nil
}
