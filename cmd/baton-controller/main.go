// Command baton-controller turns the logical network in etcd into rules and feeds
// them to the hosts' batonds.
//
// Exit codes: 0 stopped by a signal; 1 failed; 2 the command line or the
// configuration is wrong.
package main

import (
	"os"
	"strings"

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/cobra"

	"baton/cmd/internal/cli"
	"baton/config"
)

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int { return cli.Run(newRoot(), args) }

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
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			overrides := config.Overrides(cmd.Flags(), &settings{})
			if len(endpoints) > 0 {
				overrides["etcd.endpoints"] = strings.Join(endpoints, ",")
			}
			s, err := load(file, overrides)
			if err != nil {
				return cli.Usage(err)
			}
			return serve(cmd.Context(), s)
		},
	}
	root.Flags().StringVar(&file, "config", "", "configuration file (YAML); without one the defaults and flags hold")
	root.Flags().StringSliceVar(&endpoints, "etcd", nil, "URLs of an etcd cluster; short for --etcd.endpoints")
	config.AddFlags(root.Flags(), &settings{})
	root.AddCommand(cli.ConfigCommand{
		Program: "baton-controller", Example: "/etc/baton/controller.yaml", Flag: "--etcd.timeout=10s",
		Levels: "`batonctl log LEVEL --controller`, or the signal SIGUSR1",
		Keys:   &settings{}, Check: func(path string) error { _, err := load(path, nil); return err },
	}.New())
	cli.Finish(root)
	return root
}

// newLogger makes the program's logger. Its parts keep levels of their own.
func newLogger(s *settings) hclog.InterceptLogger {
	return hclog.NewInterceptLogger(&hclog.LoggerOptions{
		Name: "baton-controller", Level: hclog.LevelFromString(s.Log.Level), JSONFormat: s.Log.JSON,
		Output: os.Stderr, IndependentLevels: true,
	})
}
