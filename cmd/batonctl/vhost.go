package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"baton/hostapi"
)

func newVhost(o *options) *cobra.Command {
	c := &cobra.Command{
		Use:     "vhost",
		Short:   "Show this host's vhost-user devices",
		Example: "  batonctl vhost list\n  batonctl vhost show vm1 -o json",
	}
	c.AddCommand(newVhostList(o), newVhostShow(o))
	return c
}

func newVhostList(o *options) *cobra.Command {
	return ask(o, "list", "Devices, their sockets and whether a guest drives them", "  batonctl vhost list",
		func(ctx context.Context, c *hostapi.Client) ([]hostapi.Vhost, error) { return c.Vhosts(ctx) },
		func(t *table, devices []hostapi.Vhost) {
			t.row("PORT", "CONNECTED", "MODE", "RINGS", "FEATURES", "SOCKET")
			for _, d := range devices {
				t.row(d.Port, yesNo(d.Connected), d.Mode, ringSummary(d.Rings), d.Features, d.Socket)
			}
		})
}

// ringSummary is "2 of 4 enabled", and what is broken.
func ringSummary(rings []hostapi.Ring) string {
	enabled, broken := 0, 0
	for _, r := range rings {
		if r.Started && r.Enabled {
			enabled++
		}
		if r.Broken != "" {
			broken++
		}
	}
	s := fmt.Sprintf("%d of %d enabled", enabled, len(rings))
	if broken > 0 {
		s += fmt.Sprintf(", %d broken", broken)
	}
	return s
}

func newVhostShow(o *options) *cobra.Command {
	return &cobra.Command{
		Use:     "show PORT",
		Short:   "One device: features, rings, memory",
		Example: "  batonctl vhost show vm1",
		Args:    cobra.ExactArgs(1),
		ValidArgsFunction: func(cmd *cobra.Command, args []string, _ string) (all []string, _ cobra.ShellCompDirective) {
			if len(args) == 0 {
				devices, _ := hostapi.NewClient(o.hostSocket).Vhosts(cmd.Context()) // no batond: nothing to offer
				for _, d := range devices {
					all = append(all, d.Port)
				}
			}
			return all, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			devices, err := hostapi.NewClient(o.hostSocket).Vhosts(cmd.Context())
			if err != nil {
				return err
			}
			for _, d := range devices {
				if d.Port == args[0] {
					return print(cmd.OutOrStdout(), o.output, d, func(t *table) { fillVhost(t, d) })
				}
			}
			return fmt.Errorf("no vhost port %s on this host: 'batonctl vhost list' shows those there are", args[0])
		},
	}
}

func fillVhost(t *table, d hostapi.Vhost) {
	t.row("port", d.Port)
	t.row("socket", d.Socket+" ("+d.Mode+")")
	t.row("connected", yesNo(d.Connected))
	t.row("features", d.Features+" "+strings.Join(d.FeatureNames, " "))
	t.row("protocol features", d.ProtocolFeatures)
	t.row("header", fmt.Sprintf("%d bytes", d.HeaderBytes))
	for _, r := range d.Rings {
		state := fmt.Sprintf("%s, %s, %d entries, avail %d, used %d, kicks %d, calls %d", r.Direction, r.Format, r.Size, r.LastAvail, r.LastUsed, r.Kicks, r.Calls)
		switch {
		case r.Broken != "":
			state += ", broken: " + r.Broken
		case !r.Started:
			state += ", stopped"
		case !r.Enabled:
			state += ", disabled"
		}
		t.row(fmt.Sprintf("ring %d", r.Index), state)
	}
	for _, r := range d.Regions {
		t.row("memory", fmt.Sprintf("%s + %d MiB at %s", r.GuestAddr, r.Size>>20, r.UserAddr))
	}
	for _, e := range sortedKeys(d.Errors) {
		t.row("error "+e, d.Errors[e])
	}
}
