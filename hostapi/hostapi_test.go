package hostapi_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"baton/hostapi"
)

type source struct{ level hostapi.LogLevel }

var _ hostapi.Source = (*source)(nil)

func (*source) Ports() ([]hostapi.Port, error) {
	return []hostapi.Port{{Name: "vm1", Kind: "vhost", Workers: []int{0}, Drops: map[string]uint64{"unknown_mac": 1 << 60}}}, nil
}
func (*source) Flows() ([]hostapi.Flow, error) { return []hostapi.Flow{{Match: "in_port=5:1"}}, nil }
func (*source) Rules() ([]hostapi.Rule, error) {
	return []hostapi.Rule{{Table: "LSP_EGRESS_PUSHOUT"}}, nil
}
func (*source) Drops() ([]hostapi.Drop, error) { return nil, errors.New("counters are gone") }
func (*source) Workers() ([]hostapi.Worker, error) {
	return []hostapi.Worker{{ID: 0, CPU: -1, Ports: []string{"vm1/0"}}}, nil
}
func (*source) Stats() (hostapi.Stats, error)    { return hostapi.Stats{Host: "host1"}, nil }
func (*source) Vhosts() ([]hostapi.Vhost, error) { return []hostapi.Vhost{{Port: "vm1"}}, nil }
func (s *source) SetLogLevel(l hostapi.LogLevel) error {
	if l.Level != "debug" {
		return errors.New("level " + l.Level + ": want one of trace, debug, info, warn, error, off")
	}
	s.level = l
	return nil
}

func serve(t *testing.T, src hostapi.Source) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s.sock")
	s, err := hostapi.Serve(path, src)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return path
}

func TestAnswersComeAsAsked(t *testing.T) {
	src := &source{}
	c := hostapi.NewClient(serve(t, src))
	ctx := context.Background()
	ports, err := c.Ports(ctx)
	if err != nil {
		t.Fatal(err)
	}
	want, _ := src.Ports()
	if d := cmp.Diff(want, ports); d != "" {
		t.Errorf("ports (-want +got):\n%s", d)
	}
	if s, err := c.Stats(ctx); err != nil || s.Host != "host1" {
		t.Errorf("stats %+v, %v", s, err)
	}
	if err := c.SetLogLevel(ctx, hostapi.LogLevel{Name: "batond", Level: "debug"}); err != nil || src.level.Name != "batond" {
		t.Errorf("log level %+v, %v", src.level, err)
	}
}

func TestErrors(t *testing.T) {
	ctx := context.Background()
	c := hostapi.NewClient(serve(t, &source{}))
	if _, err := c.Drops(ctx); err == nil || !strings.Contains(err.Error(), "counters are gone") {
		t.Errorf("source's error: %v", err)
	}
	if err := c.SetLogLevel(ctx, hostapi.LogLevel{Level: "loud"}); err == nil || !strings.Contains(err.Error(), "level loud") {
		t.Errorf("bad level: %v", err)
	}
	if _, err := hostapi.NewClient("/nowhere/s.sock").Ports(ctx); err == nil || !strings.Contains(err.Error(), "no such socket") {
		t.Errorf("no socket: %v", err)
	}
}

func TestServe_BusyAndStalePaths(t *testing.T) {
	busy := serve(t, &source{})
	if _, err := hostapi.Serve(busy, &source{}); !errors.Is(err, hostapi.ErrBusy) || !strings.Contains(err.Error(), busy) {
		t.Errorf("busy path: %v", err)
	}

	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := hostapi.Serve(file, &source{}); err == nil || !strings.Contains(err.Error(), "no socket") {
		t.Errorf("ordinary file: %v", err)
	}
	if data, _ := os.ReadFile(file); string(data) != "precious" {
		t.Error("the ordinary file was touched")
	}

	stale := filepath.Join(t.TempDir(), "stale.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: stale})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	s, err := hostapi.Serve(stale, &source{})
	if err != nil {
		t.Fatalf("stale socket: %v", err)
	}
	s.Close()
}
