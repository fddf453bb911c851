// Command batond is the dataplane of one host: it takes packets from VMs over
// vhost-user and carries them over the underlay in Geneve, as a controller says.
//
// Exit codes: 0 ended by a signal; 1 failed; 2 the command line or the
// configuration is wrong.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"baton/config"
)

// version is set by the build (-ldflags -X main.version=...).
var version = "0.1.0"

const (
	exitFailed = 1
	exitUsage  = 2
)

// usageError marks an error of the command line or the configuration.
type usageError struct{ err error }

func (u *usageError) Error() string { return u.err.Error() }
func (u *usageError) Unwrap() error { return u.err }

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := newRoot()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	for _, line := range strings.Split(err.Error(), "\n") {
		fmt.Fprintf(os.Stderr, "batond: %s\n", line)
	}
	if u := new(usageError); errors.As(err, &u) {
		return exitUsage
	}
	return exitFailed
}

const rootLong = `batond is the dataplane of one host. It takes packets from VMs over vhost-user,
looks them up in a flow table that a controller fills, and carries them to other
hosts in Geneve through a DPDK device.

Each key of the configuration file is also a flag, as in --underlay.mtu=9000;
'batond config doc' prints all keys with unit, default and range.

Exit codes: 0 ended by a signal; 1 failed; 2 the command line or the configuration is wrong.`

func newRoot() *cobra.Command {
	var path string
	root := &cobra.Command{
		Use:           "batond --config FILE",
		Short:         "The dataplane of one host",
		Long:          rootLong,
		Example:       "  batond --config /etc/baton/batond.yaml\n  batond --config batond.yaml --workers.busy_poll --log.level=debug",
		Version:       version,
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := load(path, config.Overrides(cmd.Flags(), &settings{}))
			if err != nil {
				return &usageError{err}
			}
			return serve(cmd.Context(), s)
		},
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &usageError{err} })
	root.Flags().StringVarP(&path, "config", "c", "", "configuration file (YAML)")
	config.AddFlags(root.Flags(), &settings{})
	root.AddCommand(newConfigCommand())
	wrapUsage(root)
	return root
}

// wrapUsage makes wrong arguments, of any command, errors of usage.
func wrapUsage(c *cobra.Command) {
	if check := c.Args; check != nil {
		c.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				return &usageError{fmt.Errorf("%w (see '%s --help')", err, cmd.CommandPath())}
			}
			return nil
		}
	}
	if !c.Runnable() { // a group of commands
		c.Args = cobra.ArbitraryArgs
		c.RunE = func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			return &usageError{fmt.Errorf("unknown command %q (see '%s --help')", args[0], cmd.CommandPath())}
		}
	}
	for _, sub := range c.Commands() {
		wrapUsage(sub)
	}
}

func newConfigCommand() *cobra.Command {
	c := &cobra.Command{Use: "config", Short: "About the configuration file", Example: "  batond config check /etc/baton/batond.yaml\n  batond config doc"}
	c.AddCommand(&cobra.Command{
		Use:     "doc",
		Short:   "Print all configuration keys as a Markdown page",
		Example: "  batond config doc",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			out := cmd.OutOrStdout()
			fmt.Fprint(out, "# batond's configuration\n\nOne YAML file; unknown keys are refused. Each key is also a flag: `--underlay.mtu=9000` overrides the file.\nThis page is printed by `batond config doc`. Keys are read at the start; only the log level changes at run time\n(`batonctl log LEVEL`).\n\n")
			return config.Markdown(out, &settings{})
		},
	})
	c.AddCommand(&cobra.Command{
		Use:     "check FILE",
		Short:   "Check a configuration file and do nothing else",
		Example: "  batond config check /etc/baton/batond.yaml",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := load(args[0], nil); err != nil {
				return &usageError{err}
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s: good\n", args[0])
			return nil
		},
	})
	return c
}
