package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"baton/test/lab/guestwire"

	"golang.org/x/sys/unix"
)

const (
	icmpEchoReply   = 0
	icmpUnreachable = 3
	icmpEcho        = 8
	icmpHeader      = 8
	// datagramBuffer holds a second of small replies at full speed.
	datagramBuffer = 4 << 20
	// lookEvery is after how many requests PingArgs.Until is looked for.
	lookEvery = 32
	// maxBehind is for how long requests that are late are made up for at once: the kernel
	// that is asked has room for some 300 replies, and drops what it cannot answer.
	maxBehind = 100 * time.Millisecond
)

var pingID atomic.Uint32

// pinger is one run of echo requests. The number of a request is in its
// payload, since ICMP's own field has only 16 bits.
type pinger struct {
	args guestwire.PingArgs
	fd   int
	id   uint16

	mu     sync.Mutex // guards what follows
	sentAt []time.Time
	seen   []bool
	sum    time.Duration
	min    time.Duration
	max    time.Duration
	late   time.Duration // of a request, at most
	res    guestwire.PingResult
	all    chan struct{} // closed when every number is seen
	send   bool          // sending goes on
}

func ping(args guestwire.PingArgs) (guestwire.PingResult, error) {
	dst, err := netip.ParseAddr(args.Dst)
	switch {
	case err != nil:
		return guestwire.PingResult{}, err
	case !dst.Is4() || args.Count < 1 || args.Size < guestwire.NumberSize || args.Size > 65507:
		return guestwire.PingResult{}, fmt.Errorf("want an IPv4 address, count >= 1, size %d to 65507", guestwire.NumberSize)
	}
	p := &pinger{args: args, id: uint16(0xba00 + pingID.Add(1)), send: true, all: make(chan struct{})}
	p.sentAt, p.seen = make([]time.Time, args.Count), make([]bool, args.Count)
	if p.fd, err = icmpSocket(args.DF); err != nil {
		return guestwire.PingResult{}, err
	}
	defer unix.Close(p.fd)
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		p.runReceive(stop)
	}()
	p.sendAll(dst)
	select {
	case <-p.all:
	case <-time.After(time.Duration(args.WaitMs) * time.Millisecond):
	}
	close(stop)
	<-done
	return p.result(), nil
}

func icmpSocket(df bool) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMP)
	if err != nil {
		return -1, err
	}
	pmtu := unix.IP_PMTUDISC_DONT
	if df {
		pmtu = unix.IP_PMTUDISC_DO
	}
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, datagramBuffer),
		unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, pmtu),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 50_000}))
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// sendAll sends at absolute times, so that a late one does not delay the rest; one that is later
// than maxBehind does.
func (p *pinger) sendAll(dst netip.Addr) {
	packet := make([]byte, icmpHeader+p.args.Size)
	packet[0] = icmpEcho
	binary.BigEndian.PutUint16(packet[4:], p.id)
	to := &unix.SockaddrInet4{Addr: dst.As4()}
	interval := time.Duration(p.args.IntervalUs) * time.Microsecond
	start := time.Now()
	sent := p.args.Count
	for n := range p.args.Count {
		if n%lookEvery == 0 && there(p.args.Until) {
			sent = n
			break
		}
		due := start.Add(time.Duration(n) * interval)
		time.Sleep(time.Until(due))
		binary.BigEndian.PutUint16(packet[6:], uint16(n))
		guestwire.Fill(packet[icmpHeader:], uint32(n))
		packet[2], packet[3] = 0, 0
		binary.BigEndian.PutUint16(packet[2:], checksum(packet))
		p.mu.Lock()
		p.sentAt[n] = time.Now()
		late := p.sentAt[n].Sub(due)
		p.late = max(p.late, late)
		p.mu.Unlock()
		start = start.Add(max(0, late-maxBehind))
		err := unix.Sendto(p.fd, packet, 0, to)
		p.mu.Lock()
		if err != nil {
			p.res.SendErrors++
		} else {
			p.res.Sent++
		}
		p.mu.Unlock()
	}
	p.mu.Lock()
	p.seen = p.seen[:sent]
	p.send = false
	p.checkAll()
	p.mu.Unlock()
}

// runReceive takes replies until stop; the socket's time limit lets it look.
func (p *pinger) runReceive(stop <-chan struct{}) {
	b := make([]byte, 1<<16)
	for {
		n, _, err := unix.Recvfrom(p.fd, b, 0)
		now := time.Now()
		if err == nil {
			p.mu.Lock()
			p.take(b[:n], now)
			p.mu.Unlock()
		}
		select {
		case <-stop:
			return
		default:
		}
	}
}

// take looks at one received IPv4 packet. p.mu is held.
func (p *pinger) take(b []byte, now time.Time) {
	if len(b) < 20 || len(b) < int(b[0]&15)*4+icmpHeader {
		return
	}
	ttl, m := b[8], b[int(b[0]&15)*4:]
	if m[0] == icmpUnreachable && len(m) >= 2*icmpHeader+20 {
		if inner := m[icmpHeader:]; inner[9] == unix.IPPROTO_ICMP && binary.BigEndian.Uint16(inner[24:]) == p.id {
			p.res.Unreachable++
		}
		return
	}
	if m[0] != icmpEchoReply || binary.BigEndian.Uint16(m[4:]) != p.id {
		return
	}
	n, ours, intact := guestwire.Check(m[icmpHeader:])
	switch {
	case !ours || !intact || int(n) >= len(p.seen) || len(m) != icmpHeader+p.args.Size:
		p.res.Corrupt++
	case p.seen[n]:
		p.res.Duplicates++
	default:
		p.seen[n] = true
		p.res.Received++
		p.res.TTL = int(ttl)
		rtt := now.Sub(p.sentAt[n])
		p.sum += rtt
		if p.min == 0 || rtt < p.min {
			p.min = rtt
		}
		p.max = max(p.max, rtt)
		p.checkAll()
	}
}

// checkAll closes p.all once nothing more can come. p.mu is held.
func (p *pinger) checkAll() {
	if !p.send && p.res.Received == len(p.seen) {
		select {
		case <-p.all:
		default:
			close(p.all)
		}
	}
}

func (p *pinger) result() guestwire.PingResult {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.res
	r.Lost, r.LateUs = guestwire.LostOf(p.seen), p.late.Microseconds()
	if r.Received > 0 {
		r.MinUs, r.MaxUs = p.min.Microseconds(), p.max.Microseconds()
		r.AvgUs = p.sum.Microseconds() / int64(r.Received)
	}
	return r
}

// checksum is the Internet checksum (RFC 1071).
func checksum(b []byte) uint16 {
	var sum uint32
	for ; len(b) >= 2; b = b[2:] {
		sum += uint32(b[0])<<8 | uint32(b[1])
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
