package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"baton/hostapi"
)

func newLog(o *options) *cobra.Command {
	var name string
	c := &cobra.Command{
		Use:       "log LEVEL",
		Short:     "Change what this host's batond logs, at once",
		Example:   "  batonctl log debug\n  batonctl log trace --name vhost",
		Args:      cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		ValidArgs: []string{"trace", "debug", "info", "warn", "error", "off"},
		RunE: func(cmd *cobra.Command, args []string) error {
			l := hostapi.LogLevel{Name: name, Level: args[0]}
			if err := hostapi.NewClient(o.hostSocket).SetLogLevel(cmd.Context(), l); err != nil {
				return err
			}
			part := name
			if part == "" {
				part = "all parts"
			}
			fmt.Fprintf(cmd.OutOrStdout(), "log level of %s: %s\n", part, args[0])
			return nil
		},
	}
	c.Flags().StringVar(&name, "name", "", "only this part: dpdk, vhost, worker, agent or api")
	return c
}
