package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"baton/cmd/internal/cli"
)

const goodConfig = `host: host1
controllers: ["unix:/run/x.sock"]
underlay: {device: net_null0, address: 192.168.100.1/24}
`

func loadText(t *testing.T, text string, overrides map[string]string) (*settings, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "batond.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return load(path, overrides)
}

func TestLoad(t *testing.T) {
	s, err := loadText(t, goodConfig, map[string]string{"underlay.mtu": "9000"})
	if err != nil {
		t.Fatal(err)
	}
	if p, _ := s.address(); s.Host != "host1" || s.Underlay.MTU != 9000 || p.String() != "192.168.100.1/24" {
		t.Errorf("settings %+v", s)
	}
}

func TestLoad_Refuses(t *testing.T) {
	for _, c := range []struct {
		key, value string
		want       string // empty: taken
	}{
		{"host", "a", ""},
		{"host", "host-1", ""},
		{"host", "-host", `host: "-host" is no name`},
		{"host", "Host", "is no name"},
		{"host", "a/b", "is no name"},
		{"host", strings.Repeat("a", 63), ""},
		{"host", strings.Repeat("a", 64), "is no name"},
		{"underlay.address", "10.0.0.1/31", ""},
		{"underlay.address", "10.0.0.0/31", ""},
		{"underlay.address", "10.0.0.1/32", ""},
		{"underlay.address", "10.0.0.0/24", "cannot be the address of one machine"},
		{"underlay.address", "10.0.0.255/24", "cannot be the address of one machine"},
		{"underlay.address", "10.0.0.1/0", "cannot be the address of one machine"},
		{"underlay.address", "0.0.0.0/0", "cannot be the address of one machine"},
		{"underlay.address", "127.0.0.1/8", "cannot be the address of one machine"},
		{"underlay.address", "224.0.0.9/24", "cannot be the address of one machine"},
		{"underlay.address", "255.255.255.255/32", "cannot be the address of one machine"},
		{"underlay.address", "10.0.0.1", "not an IPv4 address with prefix"},
		{"underlay.address", "2001:db8::1/64", "not an IPv4 address with prefix"},
		{"underlay.address", "::ffff:10.0.0.1/120", "not an IPv4 address with prefix"},
		{"controllers", "127.0.0.1:6640", ""},
		{"controllers", "localhost:6640,unix:/x", ""},
		{"controllers", "192.0.2.1:6640", "another machine, and there is no TLS"},
		{"controllers", "x", "unix:PATH or HOST:PORT"},
		{"controllers", "unix:", "1 to 107 bytes"},
		{"socket", "/" + strings.Repeat("x", 106), ""},
		{"socket", "/" + strings.Repeat("x", 107), "at most 107"},
		{"workers.cpus", "0,1", ""},
		{"workers.cpus", "0,0", "CPU 0 stands twice"},
		{"workers.cpus", "0,1024", "out of range"},
		{"workers.cpus", "", "name at least one CPU"},
		{"tls.cert", "/x", "belong together"},
	} {
		_, err := loadText(t, goodConfig, map[string]string{c.key: c.value})
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %q refused: %v", c.key, c.value, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), strings.SplitN(c.key, ".", 2)[0])):
			t.Errorf("%s: %q: error %v, want one with %q", c.key, c.value, err, c.want)
		case err != nil && strings.Contains(err.Error(), "\n"):
			t.Errorf("%s: %q: more than a line: %v", c.key, c.value, err)
		}
	}
	if _, err := loadText(t, goodConfig, map[string]string{"controllers": "192.0.2.1:6640", "tls.insecure": "true"}); err != nil {
		t.Errorf("insecure: %v", err)
	}
}

func TestLockState(t *testing.T) {
	dir := t.TempDir()
	first, err := lockState(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lockState(dir); err == nil || !strings.Contains(err.Error(), "another batond uses it") || !strings.Contains(err.Error(), dir) {
		t.Errorf("second lock: %v", err)
	}
	first.Close()
	again, err := lockState(dir)
	if err != nil {
		t.Fatalf("after the first has gone: %v", err)
	}
	again.Close()
	if _, err := lockState(filepath.Join(dir, "none")); err == nil || !strings.Contains(err.Error(), "state_dir") {
		t.Errorf("no folder: %v", err)
	}
}

func TestRun_ExitCodes(t *testing.T) {
	for _, c := range []struct {
		args []string
		want int
	}{
		{[]string{"--help"}, 0}, {[]string{"--version"}, 0}, {[]string{"config", "doc"}, 0}, {[]string{"config"}, 0},
		{[]string{"extra"}, cli.ExitUsage}, {[]string{"--nope"}, cli.ExitUsage}, {[]string{"config", "nope"}, cli.ExitUsage},
		{[]string{"config", "check"}, cli.ExitUsage}, {[]string{"--config", "/nowhere"}, cli.ExitUsage}, {nil, cli.ExitUsage},
		{[]string{"--host=h", "--underlay.device=0000:ff:1f.7", "--underlay.address=10.0.0.1/24", "--socket=" + filepath.Join(t.TempDir(), "s"),
			"--state_dir=" + t.TempDir(), "--vhost.socket_dir=" + t.TempDir()}, cli.ExitFailed},
	} {
		if got := run(c.args); got != c.want {
			t.Errorf("batond %q: exit code %d, want %d", c.args, got, c.want)
		}
	}
}
