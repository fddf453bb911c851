package hostile_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"baton/vhost/netdev"
	"baton/vhost/proto"
)

// heirEnv makes this binary the process that takes a connection over: "crash", or the
// protocol features that were acknowledged on it.
const heirEnv = "BATON_HOSTILE_HEIR"

// runHeir is the life of the heir: the connection is its descriptor 3.
func runHeir(what string) int {
	features, err := strconv.ParseUint(what, 0, 64)
	if err != nil {
		return 3 // it crashes before it is ready
	}
	dev, err := netdev.New(netdev.Config{Name: "heir", QueuePairs: 1})
	if err != nil {
		return 1
	}
	s, err := proto.NewSessionFromFD(3, proto.State{ProtocolFeatures: features}, dev, nil)
	if err != nil {
		return 1
	}
	fmt.Println("ready")
	<-s.Done()
	return 0
}

// heir starts a process that gets a duplicate of fd. Its standard output tells when it is
// ready.
func (s *scene) heir(what string, fd int) (*exec.Cmd, *bufio.Reader) {
	s.Helper()
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
	s.h.ok(err)
	file := os.NewFile(uintptr(dup), "connection")
	defer file.Close()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), heirEnv+"="+what)
	cmd.ExtraFiles = []*os.File{file}
	out, err := cmd.StdoutPipe()
	s.h.ok(err)
	s.h.ok(cmd.Start())
	return cmd, bufio.NewReader(out)
}

func (s *scene) detach(n *proto.Session) (int, proto.State) {
	s.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	fd, st, err := n.Detach(ctx)
	s.h.ok(err)
	return fd, st
}

func (s *scene) adopt(fd int, st proto.State) *proto.Session {
	s.Helper()
	n, err := proto.NewSessionFromFD(fd, st, s.dev, nil)
	s.h.ok(err)
	return n
}

// TestHostile42_HandOver: a connection changes hands under traffic, but not inside a
// message, and the peer goes while nobody reads.
func TestHostile42_HandOver(t *testing.T) {
	attack(t, nil, func(s *scene) {
		n := s.adopt(s.detach(s.conn.Session()))
		s.passes()
		// A message of which only the head is there is no place to stop at.
		s.h.ok(s.g.Conn.WriteRaw(raw(proto.GetFeatures, proto.FlagVersion, 0)[:5]))
		s.allRead()
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if _, _, err := n.Detach(ctx); err == nil {
			s.Error("handed over inside a message")
		}
		s.passes()
		s.h.ok(s.g.Conn.WriteRaw(raw(proto.GetFeatures, proto.FlagVersion, 0)[5:]))
		s.allRead()
		fd, st := s.detach(n)
		s.g.Disconnect() // the peer goes while nobody reads
		n = s.adopt(fd, st)
		<-n.Done()
		s.h.until("the device is down", func() bool { return !s.dev.Info().Up })
		s.whole()
	})
}

// allRead waits until the back end has read all that was sent.
func (s *scene) allRead() {
	s.Helper()
	sock, err := s.g.Conn.DupFD()
	s.h.ok(err)
	defer unix.Close(sock)
	s.h.until("what was sent is read", func() bool {
		left, err := unix.IoctlGetInt(sock, unix.TIOCOUTQ)
		return err != nil || left == 0
	})
}

// TestHostile42_OtherProcess hands the connection to a process that crashes before it is
// ready, and then to one that is ready, serves beside the old one, and is killed. The
// first costs nothing: the old process has the connection still. The second costs the
// connection, as a crash of the old one would have.
func TestHostile42_OtherProcess(t *testing.T) {
	attack(t, nil, func(s *scene) {
		fd, st := s.detach(s.conn.Session())
		cmd, _ := s.heir("crash", fd)
		s.passes() // the rings go on meanwhile
		if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 3 {
			s.Fatalf("the heir: %v", err)
		}
		n := s.adopt(fd, st)
		s.passes()
		s.h.ok(s.g.SetU64(proto.SetFeatures, s.g.Features())) // it is served

		fd, st = s.detach(n)
		cmd, out := s.heir(fmt.Sprint(st.ProtocolFeatures), fd)
		if line, err := out.ReadString('\n'); line != "ready\n" {
			s.Fatalf("the heir: %q, %v", line, err)
		}
		s.h.ok(unix.Close(fd))
		// Messages are the heir's, and frames ours: nothing is done twice.
		s.h.ok(s.g.SetU64(proto.SetStatus, 0x41))
		if v, err := s.g.GetU64(proto.GetStatus); err != nil || v != 0x41 {
			s.Errorf("status %#x, %v", v, err)
		}
		if d := s.dev.Snapshot(); d.Status == 0x41 || !d.Up {
			s.Errorf("the old process: status %#x, up %v", d.Status, d.Up)
		}
		s.passes()
		s.h.ok(cmd.Process.Kill())
		_ = cmd.Wait() // it was killed
		s.hungUp("the heir is gone")
		s.passes()
		s.whole()

		s.dev.Disconnected() // what the old process does when it learns of it
		s.g.Abandon()
		var err error
		s.conn, err = proto.Start(context.Background(), proto.Config{
			Port: s.cfg.Name, Path: filepath.Clean(s.cfg.Path), Mode: proto.ModeServer, Backend: s.dev,
		})
		s.h.ok(err)
		s.plug()
		s.passes()
		s.whole()
	})
}
