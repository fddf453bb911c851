package guest_test

import (
	"context"
	"net"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"baton/vhost/guest"
	"baton/vhost/proto"
)

// TestFrontEndForgets: the front end loses its connection, comes back and acknowledges
// PROTOCOL_FEATURES alone, as QEMU was known to, while the guest's driver knows of
// nothing: frames pass as before, whole and in both directions.
func TestFrontEndForgets(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	w := newWorker(t, 1, nil)
	c, err := proto.Start(context.Background(), proto.Config{Port: "p1", Path: path, Mode: proto.ModeServer, Backend: w.dev})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	g, err := guest.New(context.Background(), guest.Config{Name: "g1", Path: path, RingSize: 64})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Abandon)
	bounce(t, g, 0, 300, 1000, false)
	g.Disconnect()

	sock, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := proto.NewConn(sock.(*net.UnixConn))
	if err != nil {
		t.Fatal(err)
	}
	g.Frontend = guest.Frontend{Conn: conn, Timeout: 10 * time.Second}
	if err := forgetfulStart(g); err != nil {
		t.Fatal(err)
	}
	bounce(t, g, 0, 300, 1000, false)
	if s := w.dev.Snapshot(); s.HeaderSize != guest.HdrLen || s.Recalled == 0 {
		t.Errorf("headers of %d bytes, features recalled %d times", s.HeaderSize, s.Recalled)
	}
}

// forgetfulStart brings the rings of g's one queue pair up on a new connection without
// the features that its driver runs by. The rings are polled.
func forgetfulStart(g *guest.Guest) error {
	regions := g.Regions()
	fds := make([]int, len(regions))
	for i, r := range regions {
		fds[i] = r.FD
	}
	for _, f := range []func() error{
		func() error { return g.Set(proto.SetOwner, nil) },
		func() error { return g.SetU64(proto.SetFeatures, proto.FeatureProtocol) },
		func() error { return g.Set(proto.SetMemTable, proto.AppendMemTable(nil, regions), fds...) },
	} {
		if err := f(); err != nil {
			return err
		}
	}
	for i, r := range []*guest.Ring{g.Rx[0].Ring, g.Tx[0].Ring} {
		kick, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
		if err != nil {
			return err
		}
		defer unix.Close(kick)
		for _, f := range []func() error{
			func() error { return g.SetVring(proto.SetVringNum, i, 64) },
			func() error { return g.SetVring(proto.SetVringBase, i, 0) }, // stale
			func() error { return g.Set(proto.SetVringAddr, proto.AppendVringAddr(nil, g.VringAddr(r, i))) },
			func() error { return g.SetU64(proto.SetVringKick, uint64(i), kick) },
			func() error { return g.SetVring(proto.SetVringEnable, i, 1) },
		} {
			if err := f(); err != nil {
				return err
			}
		}
	}
	_, err := g.GetU64(proto.GetFeatures) // all before it is done
	return err
}
