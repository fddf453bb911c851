package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"baton/cmd/internal/cli"
	"baton/hostapi"
)

const upgradeLong = `Have this host's batond hand all its ports over to a new process, while packets pass.

The new process is started from --binary, or from the program that runs. Both are then
there for a while: all ports are prepared in the new one, and change over one after the
other, the canaries first. If anything is in the way, the old process takes all ports
back and goes on. Guests and their front ends do not notice, but for the interruption,
in microseconds: for how long nobody served a port's rings.

The command follows until the end and then shows what became of each port. Interrupted
(Ctrl-C), or after --timeout, it has the upgrade rolled back and waits for that; a
second Ctrl-C ends the command alone.

--dry-run checks that the new process could take over, and moves nothing. A standby ends
for it, as its device is needed, and comes up again afterwards.

Exit codes: 0 done, or nothing in the way; 1 rolled back, refused or failed, or done
but the old process died in the middle; 2 the command line is wrong.`

const upgradeExample = `  batonctl upgrade --dry-run --binary /usr/lib/baton/batond-0.2.0
  batonctl upgrade --binary /usr/lib/baton/batond-0.2.0 --canary vm1,vm2 --canary-time 30s
  batonctl upgrade --rate 10 --timeout 5m -o json
  batonctl upgrade status
  batonctl upgrade abort`

// upgradeFlags are upgrade's own flags.
type upgradeFlags struct {
	binary     string
	canary     []string
	canaryTime time.Duration
	rate       rate
	dryRun     bool
	timeout    time.Duration
}

func newUpgrade(o *options) *cobra.Command {
	var f upgradeFlags
	c := &cobra.Command{
		Use:     "upgrade",
		Short:   "Hand this host's ports over to a new batond, while packets pass",
		Long:    upgradeLong,
		Example: upgradeExample,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := f.request(cmd.Flags().Changed)
			if err != nil {
				return err
			}
			return o.upgrade(cmd, r, f.timeout)
		},
	}
	c.Flags().StringVar(&f.binary, "binary", "", "program of the new process; without it the one that runs, started anew")
	c.Flags().StringSliceVar(&f.canary, "canary", nil, "ports that go first")
	c.Flags().DurationVar(&f.canaryTime, "canary-time", time.Second, "how long the canaries are looked at before the others follow")
	c.Flags().Var(&f.rate, "rate", "ports a second at the most, 0.5 is one each two seconds; 0: no limit")
	c.Flags().BoolVar(&f.dryRun, "dry-run", false, "check everything, move nothing")
	c.Flags().DurationVar(&f.timeout, "timeout", 0, "roll back what is not done by then; 0: no limit")
	c.AddCommand(newUpgradeStatus(o), newUpgradeAbort(o))
	return c
}

// rate is a flag's value, in ports a second.
type rate float64

// String implements pflag.Value.
func (r *rate) String() string { return strconv.FormatFloat(float64(*r), 'g', -1, 64) }

// Type implements pflag.Value.
func (*rate) Type() string { return "number" }

// Set implements pflag.Value.
func (r *rate) Set(s string) error {
	v, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsInf(v, 0) || v != 0 && !(v >= hostapi.MinUpgradeRate) {
		return errors.New("want a number of ports a second, at least one a day, or 0 for no limit")
	}
	*r = rate(v)
	return nil
}

// request is what the flags ask for; given says which were set.
//
//	error: a UsageError
func (f *upgradeFlags) request(given func(flag string) bool) (r hostapi.UpgradeRequest, err error) {
	switch {
	case given("binary") && f.binary == "":
		return r, cli.Usagef("upgrade: --binary is empty: name a program, or leave the flag out")
	case given("canary-time") && len(f.canary) == 0:
		return r, cli.Usagef("upgrade: --canary-time without --canary: name the ports that go first")
	case f.canaryTime <= 0 || f.canaryTime > 24*time.Hour:
		return r, cli.Usagef("upgrade: --canary-time %v: want more than 0, and at most 24h", f.canaryTime)
	case f.timeout < 0:
		return r, cli.Usagef("upgrade: --timeout %v: want a time, or 0 for no limit", f.timeout)
	}
	seen := map[string]bool{}
	for _, name := range f.canary {
		if name == "" || seen[name] {
			return r, cli.Usagef("upgrade: --canary: %q is no port, or named twice", name)
		}
		seen[name] = true
	}
	r = hostapi.UpgradeRequest{Canary: f.canary, Rate: float64(f.rate), DryRun: f.dryRun}
	if len(f.canary) > 0 {
		r.CanaryS = f.canaryTime.Seconds()
	}
	if f.binary != "" {
		r.Binary, err = filepath.Abs(f.binary)
	}
	return r, err
}

// errTimeout is why an upgrade that takes too long is called off.
var errTimeout = errors.New("it took longer than --timeout")

// upgrade starts one, follows it and prints what came of it.
func (o *options) upgrade(cmd *cobra.Command, r hostapi.UpgradeRequest, timeout time.Duration) error {
	ctx := cmd.Context()
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, timeout, errTimeout)
		defer cancel()
	}
	f := newFollower(o.hostSocket)
	f.dryRun = r.DryRun
	if o.output == "table" {
		f.show = newProgress(cmd.OutOrStdout())
	}
	// Not with ctx: an upgrade whose beginning nobody waits for could not be called off.
	if err := f.client.StartUpgrade(context.WithoutCancel(ctx), r); err != nil {
		return err
	}
	u, err := f.follow(ctx)
	if err != nil {
		return err
	}
	if f.show != nil {
		f.show.note("") // before the table
	}
	return errors.Join(o.printUpgrade(cmd, &u), f.verdict(&u))
}

func newUpgradeStatus(o *options) *cobra.Command {
	return &cobra.Command{
		Use:     "status",
		Short:   "The upgrade under way, or the last one",
		Example: "  batonctl upgrade status\n  batonctl upgrade status -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			u, err := hostapi.NewClient(o.hostSocket).Upgrade(cmd.Context())
			if err != nil {
				return err
			}
			return o.printUpgrade(cmd, &u)
		},
	}
}

func newUpgradeAbort(o *options) *cobra.Command {
	var reason string
	c := &cobra.Command{
		Use:     "abort",
		Short:   "Roll the upgrade under way back, and wait for that",
		Long:    "Roll the upgrade under way back: the old process takes all ports again. Fails if none is under way, or if it is done before it can be rolled back.",
		Example: "  batonctl upgrade abort\n  batonctl upgrade abort --reason late",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f := newFollower(o.hostSocket)
			if err := f.client.AbortUpgrade(cmd.Context(), reason); err != nil {
				return err
			}
			u, err := f.follow(cmd.Context())
			if err != nil {
				return err
			}
			if err := o.printUpgrade(cmd, &u); err != nil || u.State == hostapi.UpgradeRolledBack {
				return err
			}
			return fmt.Errorf("the upgrade was not rolled back, its state is %s: %s", u.State, oneLine(u.Error))
		},
	}
	c.Flags().StringVar(&reason, "reason", "", "why, for those who read the upgrade's status or batond's log")
	return c
}
