package proto_test

import (
	"net"
	"path/filepath"
	"testing"

	"baton/vhost/proto"
)

// lastPeer is the front end that connected last.
func (r *recorder) lastPeer() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.peers[len(r.peers)-1]
}

// TestPeerOfListener: a front end that listens is the same as long as it listens, and
// another when it has made its socket anew.
func TestPeerOfListener(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	dev := newRecorder()
	connect(t, proto.Config{Path: path, Backend: dev})
	var peers []string
	for range 2 {
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		for known := 0; known < 2; {
			before := dev.disconnects()
			sock, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			talk(t, sock)
			if peer := dev.lastPeer(); peer != "" || known > 0 { // it is not known whose the socket is that comes while one connects
				peers = append(peers, peer)
				known++
			}
			sock.Close()
			eventually(t, "session ends", func() bool { return dev.disconnects() > before })
		}
		l.Close() // with whoever waits for it: that session has no message
	}
	if peers[0] != peers[1] || peers[2] == peers[0] || peers[2] != peers[3] {
		t.Errorf("peers %q", peers)
	}
}

// TestPeerOfProcess: a front end that connects is its process.
func TestPeerOfProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	dev := newRecorder()
	c := connect(t, proto.Config{Path: path, Mode: proto.ModeServer, Backend: dev})
	var peers []string
	for i := range 2 {
		sock, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		talk(t, sock)
		peers = append(peers, dev.lastPeer())
		conn, err := proto.NewConn(sock.(*net.UnixConn))
		if err != nil {
			t.Fatal(err)
		}
		conn.Write(proto.Header{Request: proto.SetVringNum, Flags: 1}, []byte{1}) // too short: refused, and the end
		conn.Write(proto.Header{Request: 99, Flags: 1}, nil)
		eventually(t, "session ends", func() bool { return dev.disconnects() == i+1 && !c.Connected() })
		sock.Close()
	}
	if peers[0] != peers[1] {
		t.Errorf("peers %q", peers)
	}
	if n := c.Refusals(); n["SET_VRING_NUM"] != 2 || len(n) != 1 {
		t.Errorf("refusals %v", n)
	}
}
