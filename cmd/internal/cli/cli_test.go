package cli_test

import (
	"errors"
	"io"
	"testing"

	"github.com/spf13/cobra"

	"baton/cmd/internal/cli"
)

func tree() *cobra.Command {
	root := &cobra.Command{Use: "prog"}
	group := &cobra.Command{Use: "group"}
	group.AddCommand(&cobra.Command{
		Use: "do", Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			switch args[0] {
			case "usage":
				return cli.Usagef("no %s", args[0])
			case "fail":
				return errors.New("failed")
			}
			return nil
		},
	})
	root.AddCommand(group)
	cli.Finish(root)
	root.SetOut(io.Discard)
	return root
}

func TestRun_ExitCodes(t *testing.T) {
	for _, c := range []struct {
		args []string
		want int
	}{
		{nil, 0}, {[]string{"--help"}, 0}, {[]string{"--version"}, 0}, {[]string{"group"}, 0}, {[]string{"group", "do", "it"}, 0},
		{[]string{"group", "do", "fail"}, cli.ExitFailed},
		{[]string{"group", "do", "usage"}, cli.ExitUsage}, {[]string{"group", "do"}, cli.ExitUsage},
		{[]string{"group", "nope"}, cli.ExitUsage}, {[]string{"nope"}, cli.ExitUsage}, {[]string{"--nope"}, cli.ExitUsage},
	} {
		if got := cli.Run(tree(), c.args); got != c.want {
			t.Errorf("%v: exit code %d, want %d", c.args, got, c.want)
		}
	}
}
