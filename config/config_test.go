package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"baton/config"
)

type sample struct {
	Host    string `yaml:"host" doc:"Name of this host."`
	Workers struct {
		CPUs []int         `yaml:"cpus" default:"0" range:"0..1023" doc:"CPUs to run on."`
		Spin time.Duration `yaml:"spin" default:"50us" range:"0s..1s" doc:"How long to poll."`
		Busy bool          `yaml:"busy" default:"false" doc:"Never sleep."`
	} `yaml:"workers"`
	Mode  string   `yaml:"mode" default:"client" range:"client|server" doc:"Who listens."`
	MTU   uint16   `yaml:"mtu" unit:"bytes" default:"1600" range:"576..9728" doc:"Largest packet."`
	Peers []string `yaml:"peers" doc:"Whom to ask."`
}

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLoad_DefaultsFileFlags(t *testing.T) {
	path := write(t, "host: h1\nworkers: {cpus: [1, 2], spin: 10us}\npeers: [a, b]\n")
	flags := pflag.NewFlagSet("x", pflag.ContinueOnError)
	config.AddFlags(flags, &sample{})
	if err := flags.Parse([]string{"--host=h2", "--workers.busy", "--mtu=9000"}); err != nil {
		t.Fatal(err)
	}
	var got, want sample
	if err := config.Load(path, config.Overrides(flags, &sample{}), &got); err != nil {
		t.Fatal(err)
	}
	want.Host = "h2"
	want.Workers.CPUs, want.Workers.Spin, want.Workers.Busy = []int{1, 2}, 10*time.Microsecond, true
	want.Mode, want.MTU, want.Peers = "client", 9000, []string{"a", "b"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("configuration (-want +got):\n%s", d)
	}
}

func TestLoad_Errors(t *testing.T) {
	for _, c := range []struct{ name, yaml, want string }{
		{"unknown key", "host: a\nhots: b\n", ":2: unknown key hots: want one of host, mode, mtu, peers, workers"},
		{"unknown key in section", "workers:\n  cpu: 1\n", ":2: unknown key workers.cpu: want one of busy, cpus, spin"},
		{"wrong type", "mtu: many\n", `:1: mtu: "many" is not a number from 0 to 65535`},
		{"out of range", "host: a\n\nmtu: 100\n", ":3: mtu: 100 is out of range: want 576..9728"},
		{"choice", "mode: both\n", `:1: mode: "both" is not one of client, server`},
		{"duration", "workers: {spin: 5}\n", `:1: workers.spin: "5" is not a duration such as 200us or 5s`},
		{"list element", "workers: {cpus: [0, x]}\n", `:1: workers.cpus: "x" is not a number`},
		{"twice", "host: a\nhost: b\n", ":2: key host stands twice"},
		{"not YAML", "host: [\n", "did not find expected node content"},
		{"second document", "host: a\n---\nbogus: 1\n", ":2: a second document"},
		{"scalar for section", "workers: 3\n", ":1: workers: want keys with values"},
		{"map for scalar", "host: {a: b}\n", ":1: host: want a text"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var s sample
			err := config.Load(write(t, c.yaml), nil, &s)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one with %q", err, c.want)
			}
		})
	}
}

func TestLoad_AllErrorsAtOnce(t *testing.T) {
	var s sample
	err := config.Load(write(t, "a: 1\nb: 2\nmtu: 1\n"), nil, &s)
	if err == nil || strings.Count(err.Error(), "\n") != 2 {
		t.Errorf("error %v, want three lines", err)
	}
}

func TestLoad_FlagIsAtFault(t *testing.T) {
	var s sample
	err := config.Load(write(t, "host: a\nmtu: 1600\n"), map[string]string{"mtu": "1"}, &s)
	if err == nil || err.Error() != "flag --mtu: 1 is out of range: want 576..9728" {
		t.Errorf("error %v", err)
	}
}

func TestLoad_NoSuchFile(t *testing.T) {
	var s sample
	err := config.Load("/nowhere/x.yaml", nil, &s)
	if err == nil || !strings.Contains(err.Error(), "/nowhere/x.yaml: no such file") {
		t.Errorf("error %v", err)
	}
}

func TestMarkdown_NamesEveryKey(t *testing.T) {
	var b strings.Builder
	if err := config.Markdown(&b, &sample{}); err != nil {
		t.Fatal(err)
	}
	for _, k := range config.Keys(&sample{}) {
		if !strings.Contains(b.String(), "| `"+k.Path+"` |") {
			t.Errorf("no row for %s", k.Path)
		}
	}
}
