package guestmem_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"baton/vhost/guestmem"
)

// silent mounts a FUSE file system that is one file and returns a descriptor of that
// file. Its server answers what it takes to open it, and nothing after that until
// the test is over: whoever asks the file anything, or closes it, waits.
func silent(t *testing.T) int {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	dev, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Skip("no FUSE here: ", err)
	}
	options := fmt.Sprintf("fd=%d,rootmode=100000,user_id=0,group_id=0", dev)
	if err := unix.Mount("silent", path, "fuse", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		_ = unix.Close(dev)
		t.Skip("FUSE cannot be mounted: ", err)
	}
	served := make(chan struct{})
	go func() { defer close(served); serveSilently(dev) }()
	t.Cleanup(func() {
		_ = unix.Unmount(path, unix.MNT_DETACH)
		_ = unix.Close(dev) // the server has ended; all who wait get an error
	})
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	<-served
	return fd
}

// serveSilently answers INIT, GETATTR and OPEN (linux/fuse.h), and ends after OPEN.
func serveSilently(dev int) {
	const getattr, open, init = 3, 14, 26
	in := make([]byte, 1<<17)
	for {
		n, err := unix.Read(dev, in)
		if err != nil || n < 40 {
			return
		}
		op := binary.NativeEndian.Uint32(in[4:])
		var body []byte
		switch op {
		case init:
			body = make([]byte, 64)
			binary.NativeEndian.PutUint32(body[0:], 7)
			binary.NativeEndian.PutUint32(body[4:], 31)
			binary.NativeEndian.PutUint32(body[20:], 4096) // max_write
		case getattr:
			body = make([]byte, 104) // attributes are valid for no time
			binary.NativeEndian.PutUint64(body[16:], 1)
			binary.NativeEndian.PutUint32(body[16+60:], unix.S_IFREG|0o600)
			binary.NativeEndian.PutUint32(body[16+64:], 1)
		case open:
			body = make([]byte, 16)
		}
		out := make([]byte, 16, 16+len(body))
		binary.NativeEndian.PutUint32(out[0:], uint32(16+len(body)))
		copy(out[8:16], in[8:16]) // the request's number
		if _, err := unix.Write(dev, append(out, body...)); err != nil || op == open {
			return
		}
	}
}

// TestHostile29_SilentFile: a file whose file system does not answer is refused, and
// closed, without waiting for it.
func TestHostile29_SilentFile(t *testing.T) {
	fd := silent(t)
	refused := make(chan error, 1)
	go func() {
		_, err := guestmem.Map(guestmem.Region{Size: 4096}, fd)
		refused <- err
	}()
	select {
	case err := <-refused:
		if !errors.Is(err, guestmem.ErrBacking) {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Error("waits for the file system of a peer")
	}
}
