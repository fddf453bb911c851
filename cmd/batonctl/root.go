package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"baton/cmd/internal/cli"
)

// options are the flags that all commands share.
type options struct {
	output     string
	server     string
	hostSocket string
	tls        tlsFiles
}

// tlsFiles name the client's certificate, its key, and the authority that signed
// the controller's.
type tlsFiles struct{ ca, cert, key string }

const rootLong = `batonctl shows and changes a baton network.

  batonctl apply, get, describe, delete, host, port   talk to the controller (--server)
  batonctl dataplane, vhost, upgrade, log             talk to the batond of this host (--host-socket)

Exit codes: 0 done; 1 failed; 2 the command line is wrong.`

func newRoot() *cobra.Command {
	o := &options{}
	root := &cobra.Command{
		Use:     "batonctl",
		Short:   "Show and change a baton network",
		Long:    rootLong,
		Example: "  batonctl apply -f network.yaml --wait\n  batonctl get ports -o json\n  batonctl dataplane drops",

		DisableSuggestions: true, // errors are one line
		PersistentPreRunE: func(*cobra.Command, []string) error {
			return checkFormat(o.output)
		},
	}
	flags := root.PersistentFlags()
	flags.StringVarP(&o.output, "output", "o", "table", "how to print: table, json or yaml")
	flags.StringVar(&o.server, "server", "unix:/run/baton/controller.sock", "the controller: unix:PATH or HOST:PORT")
	flags.StringVar(&o.hostSocket, "host-socket", "/run/baton/batond.sock", "the socket of this host's batond")
	flags.StringVar(&o.tls.ca, "tls-ca", "", "file with the authority that signed the controller's certificate (HOST:PORT only)")
	flags.StringVar(&o.tls.cert, "tls-cert", "", "file with this client's certificate")
	flags.StringVar(&o.tls.key, "tls-key", "", "file with the certificate's key")
	if err := root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err)
	}
	root.AddCommand(newDataplane(o), newVhost(o), newUpgrade(o), newLog(o))
	root.AddCommand(newApply(o), newGet(o), newDescribe(o), newDelete(o), newHost(o), newPort(o))
	completeBuiltins(root)
	cli.Finish(root)
	return root
}

// completeBuiltins gives the commands that cobra brings along what ours have:
// an example, and an error where the command line is wrong.
func completeBuiltins(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		switch c.Name() {
		case "help":
			c.Example = "  batonctl help apply"
			c.RunE = func(_ *cobra.Command, args []string) error {
				about, rest, err := root.Find(args)
				if err != nil || len(rest) > 0 {
					return cli.Usagef("no such command: %s (see 'batonctl --help')", strings.Join(args, " "))
				}
				about.InitDefaultHelpFlag()
				return about.Help()
			}
		case "completion":
			c.Example = "  batonctl completion bash > /etc/bash_completion.d/batonctl"
			for _, shell := range c.Commands() {
				shell.Example = fmt.Sprintf("  batonctl completion %s > FILE", shell.Name())
			}
		}
	}
}
