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
	"syscall"

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/cobra"

	"baton/config"
)

// version is set when a release is linked.
var version = "dev"

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
	fmt.Fprintf(os.Stderr, "baton-controller: %v\n", err)
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
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return &usageError{fmt.Errorf("unexpected argument %q (see baton-controller --help)", args[0])}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			overrides := config.Overrides(cmd.Flags(), &settings{})
			if len(endpoints) > 0 {
				overrides["etcd.endpoints"] = join(endpoints)
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
	return root
}

func join(list []string) (s string) {
	for i, e := range list {
		if i > 0 {
			s += ","
		}
		s += e
	}
	return s
}

func newConfig() *cobra.Command {
	c := &cobra.Command{Use: "config", Short: "Help with the configuration file"}
	var file string
	check := &cobra.Command{
		Use:     "check",
		Short:   "Check a configuration file and start nothing",
		Example: "  baton-controller config check --config /etc/baton/controller.yaml",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if _, err := load(file, nil); err != nil {
				return &usageError{err}
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s is good\n", file)
			return nil
		},
	}
	check.Flags().StringVar(&file, "config", "", "configuration file")
	c.AddCommand(check, &cobra.Command{
		Use:   "doc",
		Short: "Print the table of all keys, in Markdown",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return config.Markdown(cmd.OutOrStdout(), &settings{})
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
