package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net"
	"os"
	"strconv"
	"syscall"
	"time"

	"baton/test/lab/guestwire"

	"golang.org/x/sys/unix"
)

// retryEvery is the pause between two attempts to connect.
const retryEvery = 50 * time.Millisecond

func tcpSend(args guestwire.TCPSendArgs) (guestwire.TCPResult, error) {
	deadline := time.Now().Add(time.Duration(args.TimeoutMs) * time.Millisecond)
	conn, err := connect(net.JoinHostPort(args.Dst, strconv.Itoa(args.Port)), deadline)
	if err != nil {
		return guestwire.TCPResult{}, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(deadline); err != nil {
		return guestwire.TCPResult{}, err
	}
	if err := pace(conn, args.Rate); err != nil {
		return guestwire.TCPResult{}, err
	}
	start, hash := time.Now(), sha256.New()
	var stream io.Reader = io.LimitReader(guestwire.NewStream(args.Seed), args.Bytes)
	if args.Until != "" {
		stream = untilReader{guestwire.NewStream(args.Seed), args.Until}
	}
	n, err := io.Copy(conn, io.TeeReader(stream, hash))
	if err != nil {
		return guestwire.TCPResult{}, fmt.Errorf("after %d bytes: %w", n, err)
	}
	if err := conn.CloseWrite(); err != nil {
		return guestwire.TCPResult{}, err
	}
	// The other side closes once it has everything.
	if _, err := conn.Read(make([]byte, 1)); err != io.EOF {
		return guestwire.TCPResult{}, fmt.Errorf("wait for the receiver's end: %w", err)
	}
	return result(conn, n, hash, start), nil
}

// untilReader ends when a file is there.
type untilReader struct {
	io.Reader
	path string
}

func (r untilReader) Read(p []byte) (int, error) {
	if there(r.path) {
		return 0, io.EOF
	}
	return r.Reader.Read(p)
}

// there reports whether a file is there; none has no path.
func there(path string) bool {
	if path == "" {
		return false
	}
	_, err := os.Stat(path)
	return err == nil
}

// pace has the kernel send no more bytes a second; 0: no limit.
func pace(conn *net.TCPConn, rate uint64) error {
	if rate == 0 {
		return nil
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	bad := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptUint64(int(fd), unix.SOL_SOCKET, unix.SO_MAX_PACING_RATE, rate)
	})
	return errors.Join(bad, err)
}

func connect(address string, deadline time.Time) (*net.TCPConn, error) {
	for {
		d := net.Dialer{Deadline: deadline}
		conn, err := d.Dial("tcp", address)
		if err == nil {
			return conn.(*net.TCPConn), nil
		}
		if !errors.Is(err, syscall.ECONNREFUSED) || time.Now().After(deadline) {
			return nil, err
		}
		time.Sleep(retryEvery)
	}
}

// result is what one side of a connection has to tell at its end.
func result(conn *net.TCPConn, n int64, hash hash.Hash, start time.Time) guestwire.TCPResult {
	r := guestwire.TCPResult{Bytes: n, SHA256: hex.EncodeToString(hash.Sum(nil)), DurationMs: time.Since(start).Milliseconds()}
	if raw, err := conn.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) {
			if info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
				r.Retransmits, r.PathMTU = info.Total_retrans, info.Pmtu
			}
		})
	}
	return r
}

func tcpRecv(args guestwire.TCPRecvArgs, listening func()) (guestwire.TCPResult, error) {
	deadline := time.Now().Add(time.Duration(args.TimeoutMs) * time.Millisecond)
	l, err := listenTCP(args)
	if err != nil {
		return guestwire.TCPResult{}, err
	}
	defer l.Close()
	if err := l.SetDeadline(deadline); err != nil {
		return guestwire.TCPResult{}, err
	}
	listening()
	conn, err := l.AcceptTCP()
	if err != nil {
		return guestwire.TCPResult{}, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(deadline); err != nil {
		return guestwire.TCPResult{}, err
	}
	start, hash := time.Now(), sha256.New()
	n, err := io.Copy(hash, conn)
	if err != nil {
		return guestwire.TCPResult{}, fmt.Errorf("after %d bytes: %w", n, err)
	}
	return result(conn, n, hash, start), nil
}

func listenTCP(args guestwire.TCPRecvArgs) (*net.TCPListener, error) {
	lc := net.ListenConfig{}
	if args.Window > 0 {
		lc.Control = receiveBuffer(args.Window)
	}
	l, err := lc.Listen(context.Background(), "tcp", ":"+strconv.Itoa(args.Port))
	if err != nil {
		return nil, err
	}
	return l.(*net.TCPListener), nil
}

// receiveBuffer gives a socket a receive buffer of so many bytes, and one that stays so.
func receiveBuffer(size int) func(_, _ string, c syscall.RawConn) error {
	return func(_, _ string, c syscall.RawConn) error {
		var err error
		bad := c.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, size)
		})
		return errors.Join(bad, err)
	}
}

func udpSend(args guestwire.UDPSendArgs) (guestwire.UDPSendResult, error) {
	var r guestwire.UDPSendResult
	if args.Size < guestwire.NumberSize {
		return r, fmt.Errorf("size is less than %d bytes", guestwire.NumberSize)
	}
	var conns []net.Conn
	for range max(1, args.Flows) {
		conn, err := net.Dial("udp4", net.JoinHostPort(args.Dst, strconv.Itoa(args.Port)))
		if err != nil {
			return r, err
		}
		defer conn.Close()
		conns = append(conns, conn)
	}
	payload := make([]byte, args.Size)
	interval := time.Duration(args.IntervalUs) * time.Microsecond
	start := time.Now()
	for n := range args.Count {
		time.Sleep(time.Until(start.Add(time.Duration(n) * interval)))
		guestwire.Fill(payload, uint32(n))
		if _, err := conns[n%len(conns)].Write(payload); err != nil {
			r.Errors++
		} else {
			r.Sent++
		}
	}
	return r, nil
}

func udpRecv(args guestwire.UDPRecvArgs, listening func()) (guestwire.UDPRecvResult, error) {
	var r guestwire.UDPRecvResult
	lc := net.ListenConfig{Control: receiveBuffer(datagramBuffer)}
	conn, err := lc.ListenPacket(context.Background(), "udp4", ":"+strconv.Itoa(args.Port))
	if err != nil {
		return r, err
	}
	defer conn.Close()
	listening()
	count := udpCount{seen: make([]bool, args.Count), highest: -1}
	payload := make([]byte, 1<<16)
	for count.res.Received < args.Count {
		if err := conn.SetReadDeadline(time.Now().Add(time.Duration(args.IdleMs) * time.Millisecond)); err != nil {
			return r, err
		}
		size, _, err := conn.ReadFrom(payload)
		if isTimeout(err) {
			break
		} else if err != nil {
			return r, err
		}
		count.take(payload[:size], time.Now())
	}
	count.res.Lost = guestwire.LostOf(count.seen)
	return count.res, nil
}

// udpCount compares what arrives with what was to arrive.
type udpCount struct {
	seen    []bool
	highest int
	last    time.Time
	res     guestwire.UDPRecvResult
}

func (c *udpCount) take(payload []byte, now time.Time) {
	if !c.last.IsZero() {
		c.res.LongestGap = max(c.res.LongestGap, now.Sub(c.last).Microseconds())
	}
	c.last = now
	n, ours, intact := guestwire.Check(payload)
	switch {
	case !ours || !intact || int(n) >= len(c.seen):
		c.res.Corrupt++
	case c.seen[n]:
		c.res.Duplicates++
	default:
		c.seen[n] = true
		c.res.Received++
		if int(n) < c.highest {
			c.res.Reordered++
		}
		c.highest = max(c.highest, int(n))
	}
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}
