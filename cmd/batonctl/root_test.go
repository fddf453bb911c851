package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"baton/cmd/internal/cli"
)

// leaves are all commands that do something, with their full names.
func leaves(c *cobra.Command) (all []*cobra.Command) {
	if !c.HasSubCommands() {
		return []*cobra.Command{c}
	}
	for _, sub := range c.Commands() {
		all = append(all, leaves(sub)...)
	}
	return all
}

// everything is all commands, groups included.
func everything(c *cobra.Command) (all []*cobra.Command) {
	all = append(all, c)
	for _, sub := range c.Commands() {
		all = append(all, everything(sub)...)
	}
	return all
}

func TestCommands_HelpWithExample(t *testing.T) {
	n := len(everything(newRoot()))
	if n < 20 {
		t.Fatalf("only %d commands: does the walk work?", n)
	}
	for i := range n {
		root := newRoot()
		c := everything(root)[i] // of this root: --help leaves flags behind
		var out bytes.Buffer
		root.SetOut(&out)
		path := strings.Fields(c.CommandPath())[1:]
		root.SetArgs(append(path, "--help"))
		if err := root.Execute(); err != nil {
			t.Errorf("%s --help: %v", c.CommandPath(), err)
			continue
		}
		text := out.String()
		for _, part := range []string{"Usage:", "Examples:", "  " + root.Name() + " ", "--output", "--server", "--host-socket"} {
			if !strings.Contains(text, part) {
				t.Errorf("%s --help lacks %q:\n%s", c.CommandPath(), part, text)
			}
		}
		if c.Short == "" {
			t.Errorf("%s has no short text", c.CommandPath())
		}
	}
}

// Examples that name files that are not there fail with 1, but none is a wrong
// command line.
func TestCommands_ExamplesAreRightCommandLines(t *testing.T) {
	pipe := regexp.MustCompile(` *[>|].*`)
	checked := 0
	for _, c := range everything(newRoot()) {
		for line := range strings.Lines(c.Example) {
			line = strings.TrimSpace(line)
			if i := strings.Index(line, "batonctl "); i >= 0 {
				line = line[i:]
			}
			args := strings.Fields(pipe.ReplaceAllString(line, ""))
			if len(args) == 0 || args[0] != "batonctl" {
				t.Errorf("%s: example %q does not call batonctl", c.CommandPath(), line)
				continue
			}
			found, rest, err := newRoot().Find(args[1:])
			if err != nil {
				t.Errorf("%s: example %q: %v", c.CommandPath(), line, err)
				continue
			}
			if err := found.ParseFlags(rest); err != nil {
				t.Errorf("%s: example %q: %v", c.CommandPath(), line, err)
			}
			if err := found.ValidateArgs(found.Flags().Args()); err != nil {
				t.Errorf("%s: example %q: %v", c.CommandPath(), line, err)
			}
			checked++
		}
	}
	if checked == 0 {
		t.Error("no examples found")
	}
}

// docs/batonctl.md lists every command.
func TestCommands_Documented(t *testing.T) {
	data, err := os.ReadFile("../../docs/batonctl.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range leaves(newRoot()) {
		if c.Name() == "help" {
			continue
		}
		name := c.CommandPath()
		if c.Parent().Name() == "completion" {
			name = c.Name() // listed by the shell's name
		}
		if !regexp.MustCompile(`(?m)\b` + regexp.QuoteMeta(name) + `\b`).Match(data) {
			t.Errorf("docs/batonctl.md does not name %s", c.CommandPath())
		}
	}
}

func TestRun_ExitCodes(t *testing.T) {
	nowhere := []string{"--server", "unix:/nowhere/c.sock", "--host-socket", "/nowhere/b.sock"}
	for _, c := range []struct {
		args []string
		want int
	}{
		{[]string{"--help"}, 0}, {[]string{"--version"}, 0}, {[]string{"help", "get"}, 0}, {[]string{"dataplane"}, 0},
		{[]string{"completion", "bash"}, 0}, {[]string{"completion"}, 0},
		{[]string{"get", "ports"}, cli.ExitFailed}, {[]string{"dataplane", "ports"}, cli.ExitFailed}, {[]string{"log", "debug"}, cli.ExitFailed},
		{[]string{"log", "debug", "--controller"}, cli.ExitFailed}, {[]string{"apply", "-f", "/nowhere/x.yaml"}, cli.ExitFailed},
		{[]string{"nope"}, cli.ExitUsage}, {[]string{"help", "nope"}, cli.ExitUsage}, {[]string{"completion", "nope"}, cli.ExitUsage},
		{[]string{"get"}, cli.ExitUsage}, {[]string{"get", "nope"}, cli.ExitUsage}, {[]string{"get", "all", "x"}, cli.ExitUsage},
		{[]string{"get", "ports", "-o", "xml"}, cli.ExitUsage}, {[]string{"--nope"}, cli.ExitUsage}, {[]string{"log", "loud"}, cli.ExitUsage},
		{[]string{"delete", "port"}, cli.ExitUsage}, {[]string{"apply"}, cli.ExitUsage}, {[]string{"vhost", "show"}, cli.ExitUsage},
		{[]string{"get", "ports", "--tls-ca", "x"}, cli.ExitUsage},
	} {
		if got := run(append(c.args, nowhere...)); got != c.want {
			t.Errorf("batonctl %q: exit code %d, want %d", c.args, got, c.want)
		}
	}
}

func TestReadFiles_TooMuch(t *testing.T) {
	const limit = 2 << 20
	path := filepath.Join(t.TempDir(), "net.yaml")
	if err := os.WriteFile(path, make([]byte, limit-10), 0o600); err != nil {
		t.Fatal(err)
	}
	for size, want := range map[int]string{10: "", 11: "standard input: 2 MiB with those before it; one apply takes at most 2 MiB", limit + 1: "in parts"} {
		files, err := readFiles(bytes.NewReader(make([]byte, size)), []string{path, "-"}, limit)
		switch {
		case want == "" && (err != nil || len(files) != 2):
			t.Errorf("%d bytes more: %d files, %v", size, len(files), err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%d bytes more: error %v, want one with %q", size, err, want)
		}
	}
}

func TestTable_TerminalDoesNotObeyTexts(t *testing.T) {
	var out strings.Builder
	tab := newTable(&out)
	tab.row("vm1", "\x1b[2Jgone\a", "héllo", "")
	if err := tab.flush(); err != nil {
		t.Fatal(err)
	}
	if got, want := out.String(), "vm1  ?[2Jgone?  héllo  -\n"; got != want {
		t.Errorf("row %q, want %q", got, want)
	}
}
