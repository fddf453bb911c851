package netdev_test

import (
	"bytes"
	"strings"
	"sync"
	"testing"

	"baton/vhost/netdev"
	"baton/vhost/virtq/drivertest"

	"github.com/hashicorp/go-hclog"
)

type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) lines() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Count(b.buf.String(), "\n")
}

// A guest that breaks its ring and resets its device in a loop is counted each time,
// and does not fill the disk.
func TestGuestCannotFloodTheLog(t *testing.T) {
	var log lockedBuffer
	g := newRig(t, func(c *netdev.Config) { c.Logger = hclog.New(&hclog.LoggerOptions{Output: &log}) })
	const laps = 1000
	for range laps {
		g.connect(modern)
		g.tx.Push(ringNum)
		g.recv()
		g.ok(g.dev.SetStatus(0))
		clear(g.mem.Bytes[:dataOff])
		g.tx, g.rx = drivertest.NewRing(g.mem, ringNum, txRing), drivertest.NewRing(g.mem, ringNum, rxRing)
	}
	if n := g.dev.Snapshot().Broken["bad_head"]; n != laps {
		t.Errorf("%d counted, want %d", n, laps)
	}
	if n := log.lines(); n == 0 || n > laps/4 {
		t.Errorf("%d lines for %d times", n, laps)
	}
}
