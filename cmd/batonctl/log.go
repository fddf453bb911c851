package main

import (
	"cmp"
	"context"

	"github.com/spf13/cobra"

	"baton/controlplane/api"
	"baton/hostapi"
)

func newLog(o *options) *cobra.Command {
	var name string
	var controller bool
	c := &cobra.Command{
		Use:   "log LEVEL",
		Short: "Change what this host's batond, or the controller, logs, at once",
		Long: `log changes what a running program logs, at once and until it ends: this host's
batond, or with --controller the baton-controller of this machine, over its unix
socket (--server).`,
		Example: "  batonctl log debug\n  batonctl log trace --name vhost\n" +
			"  batonctl log debug --controller\n  batonctl log trace --controller --name ofe",
		Args:      cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		ValidArgs: []string{"trace", "debug", "info", "warn", "error", "off"},
		RunE: func(cmd *cobra.Command, args []string) error {
			set, who := o.setHostLog, "batond"
			if controller {
				set, who = o.setControllerLog, "controller"
			}
			if err := set(cmd.Context(), name, args[0]); err != nil {
				return err
			}
			v := struct {
				Of    string `json:"of"`
				Part  string `json:"part"` // empty: all
				Level string `json:"level"`
			}{who, name, args[0]}
			return print(cmd.OutOrStdout(), o.output, v, func(t *table) {
				t.row("OF", "PART", "LEVEL")
				t.row(v.Of, cmp.Or(v.Part, "all"), v.Level)
			})
		},
	}
	c.Flags().BoolVar(&controller, "controller", false, "the controller's log, not batond's")
	c.Flags().StringVar(&name, "name", "", "only this part: dpdk, vhost, worker, agent or api; of the controller: store, ofe, vmc or api")
	return c
}

func (o *options) setHostLog(ctx context.Context, name, level string) error {
	return hostapi.NewClient(o.hostSocket).SetLogLevel(ctx, hostapi.LogLevel{Name: name, Level: level})
}

func (o *options) setControllerLog(ctx context.Context, name, level string) error {
	return o.with(ctx, func(ctx context.Context, c *api.Client) error {
		return c.SetLogLevel(ctx, name, level)
	})
}
