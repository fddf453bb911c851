// Command baton-controller turns the logical network in etcd into rules and feeds
// them to the hosts' batonds.
//
// Exit codes: 0 stopped by a signal; 1 failed; 2 the command line or the
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

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/cobra"

	"baton/config"
)

// version is set by the build (-ldflags -X main.version=...).
var version = "0.1.0"

// Exit codes.
const (
	exitFailed = 1
	exitUsage  = 2
)

func main() { os.Exit(run(os.Args[1:])) }

// usageError marks an error of the command line or the configuration.
type usageError struct{ err error }

func (u *usageError) Error() string { return u.err.Error() }
func (u *usageError) Unwrap() error { return u.err }

func run(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := newRoot()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	for line := range strings.SplitSeq(err.Error(), "\n") {
		fmt.Fprintf(os.Stderr, "baton-controller: %s\n", line)
	}
	if u := new(usageError); errors.As(err, &u) {
		return exitUsage
	}
	return exitFailed
}

const rootLong = `baton-controller turns the logical network in etcd into rules and feeds them to
the hosts. Without etcd endpoints it runs an etcd of its own.

Every key of the configuration file is also a flag: --openflow.listen=:6640.

Exit codes: 0 stopped by a signal; 1 failed; 2 the command line or the
configuration is wrong.`

func newRoot() *cobra.Command {
	var file string
	var endpoints []string
	root := &cobra.Command{
		Use:   "baton-controller",
		Short: "Program baton hosts from the logical network in etcd",
		Long:  rootLong,
		Example: "  baton-controller --config /etc/baton/controller.yaml\n" +
			"  baton-controller --etcd https://etcd1:2379,https://etcd2:2379 --etcd.ca ca.pem\n" +
			"  baton-controller config doc",
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			overrides := config.Overrides(cmd.Flags(), &settings{})
			if len(endpoints) > 0 {
				overrides["etcd.endpoints"] = strings.Join(endpoints, ",")
			}
			s, err := load(file, overrides)
			if err != nil {
				return &usageError{err}
			}
			return serve(cmd.Context(), s)
		},
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &usageError{err} })
	root.Flags().StringVar(&file, "config", "", "configuration file (YAML); without one the defaults and flags hold")
	root.Flags().StringSliceVar(&endpoints, "etcd", nil, "URLs of an etcd cluster; short for --etcd.endpoints")
	config.AddFlags(root.Flags(), &settings{})
	root.AddCommand(newConfig())
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

const docHead = `# baton-controller's configuration

One YAML file; unknown keys are refused. Each key is also a flag: ` + "`--etcd.timeout=10s`" + ` overrides the file.
This page is printed by ` + "`baton-controller config doc`" + `. Keys are read at the start; only the log level changes at run time
(` + "`batonctl log LEVEL --controller`, or the signal SIGUSR1" + `).

`

func newConfig() *cobra.Command {
	c := &cobra.Command{
		Use:     "config",
		Short:   "About the configuration file",
		Example: "  baton-controller config check /etc/baton/controller.yaml\n  baton-controller config doc",
	}
	c.AddCommand(&cobra.Command{
		Use:     "check FILE",
		Short:   "Check a configuration file and do nothing else",
		Example: "  baton-controller config check /etc/baton/controller.yaml",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := load(args[0], nil); err != nil {
				return &usageError{err}
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s: good\n", args[0])
			return nil
		},
	}, &cobra.Command{
		Use:     "doc",
		Short:   "Print all configuration keys as a Markdown page",
		Example: "  baton-controller config doc",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			out := cmd.OutOrStdout()
			fmt.Fprint(out, docHead)
			return config.Markdown(out, &settings{})
		},
	})
	return c
}

// newLogger makes the program's logger. Its parts keep levels of their own.
func newLogger(s *settings) hclog.InterceptLogger {
	return hclog.NewInterceptLogger(&hclog.LoggerOptions{
		Name: "baton-controller", Level: hclog.LevelFromString(s.Log.Level), JSONFormat: s.Log.JSON,
		Output: os.Stderr, IndependentLevels: true,
	})
}
