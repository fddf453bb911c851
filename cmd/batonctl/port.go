package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"baton/cmd/internal/cli"
	"baton/controlplane/api"
)

func newPort(o *options) *cobra.Command {
	c := &cobra.Command{Use: "port", Short: "Moves of VMs' ports between hosts", Example: "  batonctl port move vm1 --to host2 --wait"}
	c.AddCommand(newPortMove(o))
	return c
}

// moved is what port move prints.
type moved struct {
	Port      string   `json:"port"`
	Host      string   `json:"host"`
	MigrateTo string   `json:"migrateTo,omitempty"`
	Revision  int64    `json:"revision"`
	Hosts     []string `json:"hosts,omitempty"` // that have it, with --wait
}

const portMoveLong = `Put a VM's port on a second host, to which the VM is about to move.

The second host has the port's vhost-user socket from then on; all hosts go on
sending to the first one. Then migrate the VM, by its hypervisor's means. As soon as
the VM sends on the second host, the port is there alone: 'batonctl get port NAME'
shows it. If the VM does not move after all, --cancel takes the second host away.`

func newPortMove(o *options) *cobra.Command {
	var w waiting
	var to string
	var stop bool
	c := &cobra.Command{
		Use:     "move NAME --to HOST | --cancel",
		Short:   "Prepare a port for its VM's live migration, or take that back",
		Long:    portMoveLong,
		Example: "  batonctl port move vm1 --to host2 --wait\n  batonctl port move vm1 --cancel",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if stop == (to != "") {
				return cli.Usagef("port move: give either --to HOST or --cancel")
			}
			return o.with(cmd.Context(), func(ctx context.Context, c *api.Client) error {
				v, err := movePort(ctx, c, args[0], to)
				if err != nil {
					return err
				}
				if v.Hosts, err = w.until(ctx, c, v.Revision); err != nil {
					return err
				}
				return print(cmd.OutOrStdout(), o.output, v, func(t *table) {
					t.row("PORT", "HOST", "MIGRATE-TO")
					t.row(v.Port, v.Host, v.MigrateTo)
					t.hosts(v.Hosts)
				})
			})
		},
	}
	c.Flags().StringVar(&to, "to", "", "the host that the VM is about to move to")
	c.Flags().BoolVar(&stop, "cancel", false, "the VM stays where it is")
	w.flags(c)
	return c
}

// movePort makes a port ready to move to a host, or with an empty name to stay.
func movePort(ctx context.Context, c *api.Client, name, to string) (moved, error) {
	if to != "" {
		if err := checkConnected(ctx, c, name, to); err != nil {
			return moved{}, err
		}
	}
	host, revision, err := c.PortMove(ctx, name, to)
	return moved{Port: name, Host: host, MigrateTo: to, Revision: revision}, err
}

// checkConnected refuses a host that would not make the port's socket. That there is
// no such host is for the controller to say.
func checkConnected(ctx context.Context, c *api.Client, port, host string) error {
	hosts, err := c.Hosts(ctx)
	if err != nil {
		return err
	}
	for _, h := range hosts {
		if h.GetName() == host && !h.GetConnected() {
			return fmt.Errorf("port %s: host %s is not connected, and would not have the port's socket: start its batond first", port, host)
		}
	}
	return nil
}
