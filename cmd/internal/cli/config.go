package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"baton/config"
)

// ConfigCommand is a daemon's command about its configuration file: check one,
// or print the page that docs/ has of the keys.
type ConfigCommand struct {
	Program string
	Example string                  // path of a configuration file
	Flag    string                  // a key as a flag, for the page: "--underlay.mtu=9000"
	Levels  string                  // how the log level changes at run time
	Keys    any                     // pointer to the settings
	Check   func(path string) error // reads a file and says what is wrong
}

const page = "# %[1]s's configuration\n\n" +
	"One YAML file; unknown keys are refused. Each key is also a flag: `%[2]s` overrides the file.\n" +
	"This page is printed by `%[1]s config doc`. Keys are read at the start; only the log level changes at run time\n(%[3]s).\n\n"

// New makes the command.
func (c ConfigCommand) New() *cobra.Command {
	group := &cobra.Command{
		Use:     "config",
		Short:   "About the configuration file",
		Example: fmt.Sprintf("  %s config check %s\n  %s config doc", c.Program, c.Example, c.Program),
	}
	group.AddCommand(&cobra.Command{
		Use:     "check FILE",
		Short:   "Check a configuration file and do nothing else",
		Example: fmt.Sprintf("  %s config check %s", c.Program, c.Example),
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := c.Check(args[0]); err != nil {
				return &UsageError{err}
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s: good\n", args[0])
			return nil
		},
	}, &cobra.Command{
		Use:     "doc",
		Short:   "Print all configuration keys as a Markdown page",
		Example: fmt.Sprintf("  %s config doc", c.Program),
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			fmt.Fprintf(cmd.OutOrStdout(), page, c.Program, c.Flag, c.Levels)
			return config.Markdown(cmd.OutOrStdout(), c.Keys)
		},
	})
	return group
}
