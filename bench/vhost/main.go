package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"baton/bench/machine"
	"baton/bench/report"
	"baton/bench/suite"
	"baton/bench/tsc"
)

// options is what the command line says, and what was found out.
type options struct {
	json    string
	profile string
	sizes   []int
	formats []string
	dirs    []string
	runs    int
	length  time.Duration
	backCPU int
	vmCPU   int
	inOrder bool
	quick   bool
	huge    bool
	rt      bool
	hz      uint64
}

// Names of the systems in trials.
const (
	peerName  = "DPDK"
	batonName = report.Baton
)

const long = `Measures baton's vhost back end beside DPDK's vhost library (testpmd, net_vhost), with
the same VM for both (testpmd, net_virtio_user): cycles a packet of polls that moved
packets, Mpps, and the ratio DPDK / baton (above 1: baton is ahead).

It needs two CPUs, best with nothing else to do, root, and huge pages
(scripts/huge-pages 512); without those it uses ordinary pages for all processes.

Exit codes: 0 done; 1 not done, or a check failed; 2 bad usage; 3 done, but a case has
no trial of one of the systems that counts.`

func main() {
	runChild()
	os.Exit(run(os.Args[1:]))
}

// run does what args say and returns the exit code.
func run(args []string) int {
	var o options
	started, code := false, 0
	c := &cobra.Command{
		Use: "baton-bench-vhost", Short: "baton's vhost back end beside DPDK's", Long: long,
		Args: cobra.NoArgs, SilenceUsage: true, SilenceErrors: true,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := o.validate(); err != nil {
				return err
			}
			started = true
			done, err := machine.Alone(c.Context(), func() {
				fmt.Fprintln(os.Stderr, "baton-bench-vhost: waits for another benchmark on this machine to end")
			})
			if err != nil {
				return err
			}
			defer done()
			machine.ClearUp()
			o.settle()
			r, err := bench(o)
			if err != nil {
				return err
			}
			if thin := r.Thin(); len(thin) > 0 {
				fmt.Fprintf(os.Stderr, "baton-bench-vhost: without trials of both systems that count: %v\n", thin)
				code = 3
			}
			return write(o, r)
		},
	}
	o.flags(c)
	c.SetArgs(args)
	err := c.ExecuteContext(context.Background())
	if err == nil {
		return code
	}
	fmt.Fprintln(os.Stderr, "baton-bench-vhost:", err)
	if !started { // whatever fails before is the command line
		fmt.Fprintln(os.Stderr, "baton-bench-vhost --help says what it takes")
		return 2
	}
	return 1
}

// flags are the flags of c that set o.
func (o *options) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&o.json, "json", "", "write figures and all trials to this file")
	f.IntSliceVar(&o.sizes, "sizes", []int{64, 512, 1518}, "frame sizes, bytes")
	f.StringSliceVar(&o.formats, "rings", formats, "ring formats")
	f.StringSliceVar(&o.dirs, "directions", []string{string(dequeue), string(enqueue), string(both)}, "what to move")
	f.IntVar(&o.runs, "runs", 5, "trials of each system in each case")
	f.DurationVar(&o.length, "length", 600*time.Millisecond, "length of a trial")
	f.IntVar(&o.backCPU, "cpu", 0, "CPU of the back end")
	f.IntVar(&o.vmCPU, "vm-cpu", 1, "CPU of the VM")
	f.BoolVar(&o.inOrder, "in-order", true, "the VM's driver asks for IN_ORDER")
	f.BoolVar(&o.quick, "quick", false, "about a minute: 64 bytes only, short trials")
	f.StringVar(&o.profile, "profile", "", "write a CPU profile of baton's last back end to this file (it costs speed)")
}

// settle fills in what is left, once nobody else measures; validate has passed.
func (o *options) settle() {
	if o.quick {
		o.sizes, o.length = []int{64}, 300*time.Millisecond
	}
	o.huge = machine.FreeHugePages() >= hugePages
	o.rt = machine.Favour(0) == nil
	o.hz = tsc.Hz(50 * time.Millisecond)
}

// validate tells what is wrong with what the command line says.
func (o *options) validate() error {
	for _, s := range o.sizes {
		if s < 64 || s > 1518 {
			return fmt.Errorf("--sizes %d: want 64 to 1518 bytes", s)
		}
	}
	for _, f := range o.formats {
		if !slices.Contains(formats, f) {
			return fmt.Errorf("--rings %s: want %s", f, strings.Join(formats, " or "))
		}
	}
	for _, d := range o.dirs {
		if !slices.Contains(directions, direction(d)) {
			return fmt.Errorf("--directions %s: want dequeue, enqueue or both", d)
		}
	}
	if o.runs < 1 || o.length <= 0 || len(o.sizes) == 0 {
		return errors.New("want at least one run of one size, and a length above 0")
	}
	if o.backCPU == o.vmCPU {
		return errors.New("--cpu and --vm-cpu must differ: two threads that poll need a CPU each")
	}
	return nil
}

// notes say how it was measured.
func (o *options) notes() []string {
	memory, priority := "huge pages", "nice -19, so that ordinary load gets about a hundredth beside them"
	if !o.huge {
		memory = "ordinary pages (too few huge pages: scripts/huge-pages 512)"
	}
	if !o.rt {
		priority = "ordinary (no right to raise it)"
	}
	return []string{
		fmt.Sprintf("%d trials of %v for each system and case, in turns; back end on CPU %d, VM on CPU %d, in %s; priority of the threads that poll: %s.",
			o.runs, o.length, o.backCPU, o.vmCPU, memory, priority),
		fmt.Sprintf("VM: testpmd, net_virtio_user, VERSION_1, MRG_RXBUF, IN_ORDER %v, rings of %d.", o.inOrder, ringSize),
		suite.Rules(),
		"Packets are counted on both sides in every trial; numbered frames of all sizes went and came back as they were on both systems first.",
	}
}

func write(o options, r *report.Report) error {
	if o.json != "" {
		if err := r.WriteJSON(o.json); err != nil {
			return err
		}
	}
	return r.Markdown(os.Stdout)
}
