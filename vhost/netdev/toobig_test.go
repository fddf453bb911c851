package netdev_test

import (
	"testing"

	"baton/dataplane/port"
	"baton/vhost/guestmem"
	"baton/vhost/proto"
)

// TestTooBigIsTold: a frame that a guest without mergeable buffers has no room for
// is taken, so that the next ones pass, and told to who counts what was sent;
// also after the ring was started anew.
func TestTooBigIsTold(t *testing.T) {
	g := newRig(t, nil)
	q := g.dev.Queue(0).(port.TooBigDropper)
	for lap := range uint64(2) {
		g.connect(modern &^ proto.FeatureMrgRxbuf)
		g.rx.SetDesc(0, guestmem.Desc{Addr: at(dataOff + 8192), Len: 32, Flags: guestmem.DescWrite})
		g.rx.Push(0)
		if !g.send() || q.TooBig() != lap+1 {
			t.Fatalf("lap %d: %d too big, want %d", lap, q.TooBig(), lap+1)
		}
		g.dev.Disconnected()
	}
}
