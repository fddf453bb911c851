package store_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.uber.org/goleak"

	"baton/controlplane/store"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// etcd's server has these for the life of the process.
		goleak.IgnoreTopFunction("go.opencensus.io/stats/view.(*worker).start"),
		goleak.IgnoreTopFunction("gopkg.in/natefinch/lumberjack%2ev2.(*Logger).millRun"))
}

// freePort is a TCP port that nobody had a moment ago.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// refusedOpen is a configuration that cannot be opened, and what its error says.
type refusedOpen struct {
	name string
	cfg  store.Config
	want []string
}

// refusedOpens makes what is in the way of each.
func refusedOpens(t *testing.T) []refusedOpen {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	busy := embedded(t)
	busyTCP := t.TempDir()
	open(t, store.Config{DataDir: busyTCP, Listen: "127.0.0.1:" + freePort(t)})
	foreign := t.TempDir()
	socket, err := net.Listen("unix", filepath.Join(foreign, "etcd.sock"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { socket.Close() })
	mute, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { mute.Close() })
	nobody := "http://127.0.0.1:" + freePort(t)
	return []refusedOpen{
		{"nothing", store.Config{}, []string{"neither endpoints nor a data directory"}},
		{"no URL", store.Config{Endpoints: []string{"localhost:2379"}}, []string{`endpoint "localhost:2379"`, "http://HOST:2379"}},
		{"nobody there", store.Config{Endpoints: []string{nobody}}, []string{"cannot be reached within 1s", nobody, "connection refused"}},
		{"nobody answers", store.Config{Endpoints: []string{"http://" + mute.Addr().String()}}, []string{mute.Addr().String(), "does not answer as etcd"}},
		{"two, both dead", store.Config{Endpoints: []string{nobody, "unix:///nowhere/sock"}}, []string{nobody, "unix:///nowhere/sock: dial unix", "no such file"}},
		{"data is a file", store.Config{DataDir: file}, []string{file, "not a directory"}},
		{"data in use", store.Config{DataDir: filepath.Dir(strings.TrimPrefix(busy.Endpoint(), "unix://"))}, []string{"another controller runs there: stop it or choose another data_dir"}},
		{"data in use by TCP", store.Config{DataDir: busyTCP, Listen: "127.0.0.1:" + freePort(t)}, []string{busyTCP + ": another controller runs there"}},
		{"data in use, we by TCP", store.Config{DataDir: filepath.Dir(strings.TrimPrefix(busy.Endpoint(), "unix://")), Listen: "127.0.0.1:" + freePort(t)}, []string{"another controller runs there"}},
		{"socket in use", store.Config{DataDir: foreign}, []string{"another etcd serves on its socket"}},
		{"bad listen", store.Config{DataDir: dir, Listen: "2379"}, []string{`listen "2379"`, "HOST:PORT"}},
		{"busy listen", store.Config{DataDir: filepath.Join(dir, "d"), Listen: mute.Addr().String()}, []string{"address already in use"}},
		{"files without https", store.Config{Endpoints: []string{nobody}, TLS: store.TLS{CA: file}}, []string{"no endpoint is https"}},
		{"key without certificate", store.Config{Endpoints: []string{"https://h"}, TLS: store.TLS{Key: file}}, []string{"give both or neither"}},
		{"bad CA", store.Config{Endpoints: []string{"https://h"}, TLS: store.TLS{CA: file}}, []string{file, "no certificate in it"}},
		{"no CA", store.Config{Endpoints: []string{"https://h"}, TLS: store.TLS{CA: "/nowhere"}}, []string{"/nowhere", "no such file"}},
		{"bad pair", store.Config{Endpoints: []string{"https://h"}, TLS: store.TLS{Cert: file, Key: file}}, []string{"certificate " + file}},
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range refusedOpens(t) {
		t.Run(c.name, func(t *testing.T) {
			c.cfg.Timeout = time.Second
			s, err := store.Open(testContext(t), c.cfg)
			if err == nil {
				s.Close()
				t.Fatal("opened")
			}
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%q lacks %q", err, w)
				}
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("more than one line: %q", err)
			}
			if unreachable := strings.HasPrefix(c.name, "nobody") || strings.HasPrefix(c.name, "two"); errors.Is(err, store.ErrUnreachable) != unreachable {
				t.Errorf("unreachable: %v", !unreachable)
			}
		})
	}
}

// TestLogs has nothing above debug of an etcd that starts and stops as it should.
func TestLogs(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	s, err := store.Open(testContext(t), store.Config{DataDir: t.TempDir(), Logger: hclog.New(&hclog.LoggerOptions{Level: hclog.Info, Output: &b})})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("second close: %v", err)
	}
	if _, err := s.Snapshot(context.Background()); !errors.Is(err, store.ErrClosed) {
		t.Errorf("after close: %v", err)
	}
	if b.Len() > 0 {
		t.Errorf("logged:\n%s", b.String())
	}
}

func TestListenOnTCP(t *testing.T) {
	t.Parallel()
	s := open(t, store.Config{DataDir: t.TempDir(), Listen: "127.0.0.1:" + freePort(t)})
	other := open(t, store.Config{Endpoints: []string{s.Endpoint()}})
	apply(t, other, network)
	if n := snapshot(t, s).State.Len(); n != 6 {
		t.Errorf("%d objects", n)
	}
	if h := other.Health(); !h.OK || h.Err != nil || h.Since.IsZero() {
		t.Errorf("health %+v", h)
	}
}
