package agent_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/hashicorp/go-hclog"

	"baton/controlplane/agent"
	"baton/controlplane/agent/agenttest"
	"baton/controlplane/openflow"
)

// lines is a log.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), text)
}

func (l *lines) logger() hclog.Logger {
	return hclog.New(&hclog.LoggerOptions{Output: l, Level: hclog.Info})
}

// TestControllersAway_SaidOnceEach: two controllers fail in turn, for hours.
func TestControllersAway_SaidOnceEach(t *testing.T) {
	var rounds atomic.Int32
	address := serve(t, func(_ *openflow.Hello, s openflow.OpenFlowLite_SessionServer) error {
		rounds.Add(1)
		return nil // it ends each session at once
	})
	log, nobody := &lines{}, "unix:"+filepath.Join(t.TempDir(), "nobody")
	_, _, stop := start(t, func(c *agent.Config) {
		c.Controllers, c.Log = []string{nobody, nobody + "2"}, log.logger()
	})
	agenttest.Eventually(t, "both are complained of", func() error {
		return agenttest.Want(log.count("no session") >= 2, "%d lines", log.count("no session"))
	})
	start(t, func(c *agent.Config) { c.Controllers = []string{address} })
	agenttest.Eventually(t, "time goes by", func() error { // rounds of another agent with the same waits
		return agenttest.Want(rounds.Load() > 20, "%d rounds", rounds.Load())
	})
	stop()
	if n := log.count("no session"); n != 2 {
		t.Errorf("two controllers that are away make %d lines", n)
	}
}

// TestCheckpoint_TriesAgain: a disk that is full has room again later.
func TestCheckpoint_TriesAgain(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	path := filepath.Join(dir, "checkpoint") // its folder is not there yet
	address := serve(t, func(_ *openflow.Hello, s openflow.OpenFlowLite_SessionServer) error {
		for _, m := range []*openflow.Message{begin(1), batch(1, rule(1)), commit(1, 1)} {
			if err := s.Send(m); err != nil {
				return err
			}
		}
		<-s.Context().Done()
		return nil
	})
	log := &lines{}
	a, _, _ := start(t, func(c *agent.Config) {
		c.Controllers, c.Checkpoint, c.Log = []string{address}, path, log.logger()
	})
	agenttest.Eventually(t, "three failures", func() error {
		return agenttest.Want(a.Status().CheckpointErrors >= 3, "%+v", a.Status().Counters)
	})
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	agenttest.Eventually(t, "the checkpoint", func() error {
		c, err := agent.LoadCheckpoint(path)
		return agenttest.Want(err == nil && len(c.SetRules) == 1, "error %v", err)
	})
	if n := log.count("would forward by an older state"); n != 1 {
		t.Errorf("the failure was said %d times", n)
	}
}
