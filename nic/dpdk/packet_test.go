package dpdk_test

import (
	"bytes"
	"fmt"
	"net"
	"strings"
	"testing"

	"baton/dataplane/buf"
	"baton/dataplane/port"
	"baton/nic/dpdk"
	"baton/nic/dpdk/eal"
	"baton/nic/dpdk/internal/ealtest"
	"baton/nic/dpdk/mempool"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// epollWaker is a Waker as a worker has one.
type epollWaker struct {
	fd  int
	num int
}

func newWaker(t *testing.T) *epollWaker {
	t.Helper()
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return &epollWaker{fd: fd}
}

func (w *epollWaker) Add(fd int) error {
	w.num++
	return unix.EpollCtl(w.fd, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET, Fd: int32(fd)})
}

func (w *epollWaker) Remove(fd int) {
	w.num--
	_ = unix.EpollCtl(w.fd, unix.EPOLL_CTL_DEL, fd, nil)
}

// wait says whether a descriptor became readable within ms milliseconds.
func (w *epollWaker) wait(t *testing.T, ms int) bool {
	t.Helper()
	var ev [4]unix.EpollEvent
	for {
		n, err := unix.EpollWait(w.fd, ev[:], ms)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		return n > 0
	}
}

// veth makes a pair of interfaces, left and right, in the process's own network
// namespace, without IPv6, so that only the test's packets are on the wire.
func veth() error {
	for _, name := range []string{"left", "right"} {
		if err := vethSide(name); err != nil {
			return err
		}
	}
	return nil
}

func vethSide(name string) error {
	if name == "left" {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MTU = "left", 1600
		if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "right"}); err != nil {
			return fmt.Errorf("add veth pair: %w", err)
		}
	}
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	if err := netlink.LinkSetIP6AddrGenMode(link, 1); err != nil { // no link-local address
		return err
	}
	return netlink.LinkSetUp(link)
}

// onVeth runs body in a network namespace with a veth pair, with huge pages and without.
func onVeth(t *testing.T, body func(t *testing.T)) {
	t.Helper()
	for _, mode := range []eal.HugeMode{eal.HugeOn, eal.HugeOff} {
		ealtest.Run(t, ealtest.Case{
			Name: "huge=" + mode.String(), NewNet: true, Before: veth,
			Options: eal.Options{HugePages: mode, MemoryMiB: ealtest.MemoryMiB},
		}, body)
	}
}

// peer is a packet socket on an interface.
type peer struct{ fd int }

func newPeer(t *testing.T, iface string) *peer {
	t.Helper()
	ifi, err := net.InterfaceByName(iface)
	if err != nil {
		t.Fatal(err)
	}
	all := uint16(unix.ETH_P_ALL)
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(all>>8|all<<8))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all>>8 | all<<8, Ifindex: ifi.Index}); err != nil {
		t.Fatal(err)
	}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 5}); err != nil {
		t.Fatal(err)
	}
	return &peer{fd}
}

func (p *peer) send(t *testing.T, f []byte) {
	t.Helper()
	if _, err := unix.Write(p.fd, f); err != nil {
		t.Fatal(err)
	}
}

// recv is the next frame that came in from the wire.
func (p *peer) recv(t *testing.T) []byte {
	t.Helper()
	b := make([]byte, 4096)
	for {
		n, from, err := unix.Recvfrom(p.fd, b, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if ll, ok := from.(*unix.SockaddrLinklayer); ok && ll.Pkttype != unix.PACKET_OUTGOING {
			return b[:n]
		}
	}
}

func TestAFPacket(t *testing.T) {
	onVeth(t, func(t *testing.T) {
		pool := mustPool(t, mempool.Options{})
		p := mustOpen(t, dpdk.Config{Device: "net_af_packet0,iface=left", Pool: pool})
		c, q, far := mustCache(t, pool), p.Queue(0), newPeer(t, "right")
		ifi, err := net.InterfaceByName("left")
		if err != nil {
			t.Fatal(err)
		}
		if info := p.Info(); !info.Up || info.MTU != 1600 || !bytes.Equal(info.MAC, ifi.HardwareAddr) {
			t.Errorf("Info() = %+v, the interface is %+v", info, ifi)
		}
		const num = 300
		for sent := 0; sent < num; {
			var v buf.Vec
			fill(t, c, &v, sent, 10)
			if took := q.Tx(c, &v, 10); took != 10 {
				t.Fatalf("took %d of 10", took)
			}
			q.(*dpdk.Queue).Flush()
			for range 10 {
				if got := far.recv(t); !bytes.Equal(got, frame(sent)) {
					t.Fatalf("frame %d on the wire: %q", sent, got)
				}
				sent++
			}
		}
		for got := 0; got < num; {
			for i := range 10 {
				far.send(t, frame(got+i))
			}
			for want := got + 10; got < want; {
				var v buf.Vec
				n := q.Rx(c, &v)
				for _, b := range v[:n] {
					if !bytes.Equal(b.Data(), frame(got)) {
						t.Fatalf("frame %d from the wire: %q", got, b.Data())
					}
					got++
				}
				c.FreeAll(&v, n)
			}
		}
		st, err := p.Stats()
		if err != nil || st.RxPackets != num || st.TxPackets != num {
			t.Errorf("Stats() = %+v, %v", st, err)
		}
	})
}

// A sleeping worker hears of each packet, on each queue that it arrives at, and
// hears nothing while none come.
func TestAFPacketWakes(t *testing.T) {
	onVeth(t, func(t *testing.T) {
		pool := mustPool(t, mempool.Options{})
		p := mustOpen(t, dpdk.Config{Device: "net_af_packet0,iface=left,qpairs=2", Queues: 2, Pool: pool})
		c, far := mustCache(t, pool), newPeer(t, "right")
		var v buf.Vec
		if a := p.Queue(0).Arm(); a != port.ArmPoll {
			t.Errorf("Arm() of a queue without a waker: %v", a)
		}
		wakers := [2]*epollWaker{}
		for i := range wakers {
			wakers[i] = newWaker(t)
			p.Queue(i).Attach(wakers[i])
		}
		hits := [2]int{}
		for flow := range 64 {
			for i := range wakers {
				if a := p.Queue(i).Arm(); a != port.ArmSet {
					t.Fatalf("Arm() of queue %d = %v", i, a)
				}
				for wakers[i].wait(t, 0) { // an old edge
				}
			}
			far.send(t, udp(flow))
			var woken [2]bool
			eventually(t, "a wake-up", func() bool {
				woken = [2]bool{wakers[0].wait(t, 1), wakers[1].wait(t, 1)}
				return woken[0] || woken[1]
			})
			for i := range wakers {
				p.Queue(i).Disarm()
				n := p.Queue(i).Rx(c, &v)
				if n == 1 != woken[i] {
					t.Fatalf("queue %d: %d packets, woken %v", i, n, woken[i])
				}
				hits[i] += n
				c.FreeAll(&v, n)
			}
		}
		if hits[0]+hits[1] != 64 || hits[0] == 0 || hits[1] == 0 {
			t.Errorf("64 flows woke the queues %v times", hits)
		}
		// A packet between the last poll and Arm is found by Arm, and not lost.
		far.send(t, udp(0))
		armed := map[port.Armed]int{}
		for i := range wakers {
			armed[p.Queue(i).Arm()] += p.Queue(i).Rx(c, &v)
		}
		if armed[port.ArmReady] != 1 {
			t.Errorf("a waiting packet: %v", armed)
		}
		c.FreeAll(&v, 1)
		for i := range wakers {
			p.Queue(i).Attach(nil)
			if wakers[i].num != 0 {
				t.Errorf("queue %d left %d descriptors", i, wakers[i].num)
			}
		}
	})
}

// udp is a frame of UDP flow number i, so that the kernel spreads flows.
func udp(i int) []byte {
	f := make([]byte, 64)
	copy(f, "\xff\xff\xff\xff\xff\xff\x02\x00\x00\x00\x00\x01\x08\x00")
	copy(f[14:], []byte{0x45, 0, 0, 50, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, byte(i), 7, 0, 9, 0, 30, 0, 0})
	return f
}

// Arm sends what is staged before the worker sleeps.
func TestArmFlushes(t *testing.T) {
	onVeth(t, func(t *testing.T) {
		pool := mustPool(t, mempool.Options{})
		p := mustOpen(t, dpdk.Config{Device: "net_af_packet0,iface=left", Pool: pool})
		c, q, far := mustCache(t, pool), p.Queue(0), newPeer(t, "right")
		q.Attach(newWaker(t))
		defer q.Attach(nil)
		var v buf.Vec
		fill(t, c, &v, 7, 1)
		if q.Tx(c, &v, 1) != 1 || q.Arm() != port.ArmSet {
			t.Fatal("Tx or Arm")
		}
		if got := far.recv(t); !bytes.Equal(got, frame(7)) {
			t.Errorf("got %q", got)
		}
		if n := testing.AllocsPerRun(100, func() { q.Arm(); q.Disarm(); q.Rx(c, &v) }); n != 0 {
			t.Errorf("%v allocations", n)
		}
	})
}

// An interface that goes down: the port says so, and packets do not come back
// as sent without a trace.
func TestAFPacketLinkDown(t *testing.T) {
	onVeth(t, func(t *testing.T) {
		pool := mustPool(t, mempool.Options{})
		p := mustOpen(t, dpdk.Config{Device: "net_af_packet0,iface=left", Pool: pool})
		link, err := netlink.LinkByName("left")
		if err != nil {
			t.Fatal(err)
		}
		if err := netlink.LinkSetDown(link); err != nil {
			t.Fatal(err)
		}
		eventually(t, "link down", func() bool { return !p.Info().Up })
		c, q := mustCache(t, pool), p.Queue(0)
		var v buf.Vec
		fill(t, c, &v, 0, 20)
		took := q.Tx(c, &v, 20)
		q.Rx(c, &v)
		st, err := p.Stats()
		if err != nil || took != 20 || st.TxPackets != 0 {
			t.Errorf("took %d; %+v, %v", took, st, err)
		}
		if strings.Contains(p.Info().Detail, "\n") {
			t.Error("detail in several lines")
		}
	})
}
