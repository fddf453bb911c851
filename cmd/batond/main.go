// Command batond is the dataplane of one host: it takes packets from VMs over
// vhost-user and carries them over the underlay in Geneve, as a controller says.
//
// Exit codes: 0 ended by a signal; 1 failed; 2 the command line or the
// configuration is wrong.
package main

import (
	"os"

	"github.com/spf13/cobra"

	"baton/cmd/internal/cli"
	"baton/config"
)

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int { return cli.Run(newRoot(), args) }

const rootLong = `batond is the dataplane of one host. It takes packets from VMs over vhost-user,
looks them up in a flow table that a controller fills, and carries them to other
hosts in Geneve through a DPDK device.

Each key of the configuration file is also a flag, as in --underlay.mtu=9000;
'batond config doc' prints all keys with unit, default and range.

Exit codes: 0 ended by a signal; 1 failed; 2 the command line or the configuration is wrong.`

func newRoot() *cobra.Command {
	var path string
	takeover, standbyOf := -1, -1
	root := &cobra.Command{
		Use:     "batond --config FILE",
		Short:   "The dataplane of one host",
		Long:    rootLong,
		Example: "  batond --config /etc/baton/batond.yaml\n  batond --config batond.yaml --workers.busy_poll --log.level=debug",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := load(path, config.Overrides(cmd.Flags(), &settings{}))
			if err != nil {
				return cli.Usage(err)
			}
			return serve(cmd.Context(), s, takeover, standbyOf)
		},
	}
	root.Flags().StringVarP(&path, "config", "c", "", "configuration file (YAML)")
	root.Flags().IntVar(&takeover, "takeover", -1, "descriptor of a socket by which a running batond gives everything to this one")
	root.Flags().IntVar(&standbyOf, "standby-of", -1, "descriptor of a socket by which a running batond keeps this one as its standby")
	_ = root.Flags().MarkHidden("takeover") // batond itself sets both
	_ = root.Flags().MarkHidden("standby-of")
	config.AddFlags(root.Flags(), &settings{})
	root.AddCommand(cli.ConfigCommand{
		Program: "batond", Example: "/etc/baton/batond.yaml", Flag: "--underlay.mtu=9000", Levels: "`batonctl log LEVEL`",
		Keys: &settings{}, Check: func(path string) error { _, err := load(path, nil); return err },
	}.New())
	cli.Finish(root)
	return root
}
