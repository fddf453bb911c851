package steer_test

import (
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"runtime"
	"testing"
	"time"

	"baton/nic/steer"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	vtep   = net.HardwareAddr{2, 0, 0, 0, 0, 0xee}
	remote = net.HardwareAddr{2, 0, 0, 0, 0, 0x10}
	group  = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
)

// wait is how long something may take that must come: a failure, not a measurement.
const wait = 10 * time.Second

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// noFDLeak checks at the test's end that as many descriptors are open as now. It must be
// called before anything else that cleans up.
func noFDLeak(t testing.TB) {
	t.Helper()
	r, w, err := os.Pipe() // the runtime's poller opens descriptors on first use
	must(t, err)
	r.Close()
	w.Close()
	count := func() int {
		l, err := os.ReadDir("/proc/self/fd")
		must(t, err)
		return len(l)
	}
	before := count()
	t.Cleanup(func() {
		if n := count(); n != before {
			t.Errorf("%d descriptors are open, %d before", n, before)
		}
	})
}

// onThread runs fn on a thread that ends with it: what fn does to the thread's
// namespace stays there.
func onThread(t testing.TB, fn func() error) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		done <- fn()
	}()
	must(t, <-done)
}

// namespace is a network namespace without IPv6, so that the kernel sends nothing of
// its own; it is gone at the test's end.
type namespace struct {
	fd   netns.NsHandle
	path string
	link *netlink.Handle
}

func newNamespace(t testing.TB) *namespace {
	t.Helper()
	n := &namespace{}
	onThread(t, func() (err error) {
		if n.fd, err = netns.New(); err != nil {
			return err
		}
		err = os.WriteFile("/proc/sys/net/ipv6/conf/default/disable_ipv6", []byte("1"), 0)
		if os.IsNotExist(err) {
			return nil
		}
		return err
	})
	t.Cleanup(func() { n.fd.Close() })
	n.path = fmt.Sprintf("/proc/self/fd/%d", n.fd)
	var err error
	n.link, err = netlink.NewHandleAt(n.fd, unix.NETLINK_ROUTE)
	must(t, err)
	t.Cleanup(n.link.Close)
	return n
}

// do runs fn inside the namespace.
func (n *namespace) do(t testing.TB, fn func() error) {
	t.Helper()
	onThread(t, func() error {
		if err := netns.Set(n.fd); err != nil {
			return err
		}
		return fn()
	})
}

func (n *namespace) bridge(t testing.TB, name string) {
	t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	snooping := false
	must(t, n.link.LinkAdd(&netlink.Bridge{LinkAttrs: attrs, MulticastSnooping: &snooping}))
	n.up(t, name)
}

func (n *namespace) up(t testing.TB, name string) netlink.Link {
	t.Helper()
	link, err := n.link.LinkByName(name)
	must(t, err)
	must(t, n.link.LinkSetUp(link))
	return link
}

// veth makes a pair of interfaces, here and far.
func (n *namespace) veth(t testing.TB, name string, far *namespace, farName string) {
	t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	veth := netlink.NewVeth(attrs)
	veth.PeerName, veth.PeerNamespace = farName, netlink.NsFd(int(far.fd))
	must(t, n.link.LinkAdd(veth))
	n.up(t, name)
	far.up(t, farName)
}

func (n *namespace) attach(t testing.TB, port, bridge string) {
	t.Helper()
	link, err := n.link.LinkByName(port)
	must(t, err)
	master, err := n.link.LinkByName(bridge)
	must(t, err)
	must(t, n.link.LinkSetMaster(link, master))
}

// fabric is a bridge between a peer and two devices.
//
//	namespace sw:   br0 = [port0] [port1] [uplink]
//	                         |       |       |
//	namespace far:         dev0    dev1    peer
type fabric struct {
	sw, far *namespace
	dev     [2]*nic
	peer    *nic
}

func newFabric(t testing.TB) *fabric {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes network namespaces")
	}
	noFDLeak(t)
	f := &fabric{sw: newNamespace(t), far: newNamespace(t)}
	f.sw.bridge(t, "br0")
	for _, leg := range [][2]string{{"port0", "dev0"}, {"port1", "dev1"}, {"uplink", "peer"}} {
		f.sw.veth(t, leg[0], f.far, leg[1])
		f.sw.attach(t, leg[0], "br0")
	}
	f.dev = [2]*nic{newNIC(t, f.far, "dev0"), newNIC(t, f.far, "dev1")}
	f.peer = newNIC(t, f.far, "peer")
	// The kernel notices some time after the call that a leg is up.
	for _, from := range []*nic{f.peer, f.dev[0], f.dev[1]} {
		eventually(t, "legs of the bridge up", func() bool {
			from.send(t, group, remote, 0)
			heard := 0
			for _, n := range []*nic{f.peer, f.dev[0], f.dev[1]} {
				if n != from && len(n.drain(t)) > 0 {
					heard++
				}
			}
			return heard == 2
		})
	}
	f.received(t, 0)
	f.peer.drain(t)
	return f
}

func (f *fabric) steer(t testing.TB) *steer.Steer {
	t.Helper()
	s, err := steer.New(steer.Config{MAC: vtep, Ports: [2]string{"port0", "port1"}, Netns: f.sw.path})
	must(t, err)
	return s
}

// barrier is the number of a frame that marks the end of those before it.
const barrier = 1 << 31

// received is what the devices got from the peer since the last call: at least want
// frames together, if they come.
func (f *fabric) received(t testing.TB, want int) (got [2][]uint32) {
	t.Helper()
	f.peer.send(t, group, remote, barrier)
	var closed [2]bool
	for deadline := time.Now().Add(wait); time.Now().Before(deadline); {
		for i, n := range f.dev {
			for _, number := range n.drain(t) {
				if number == barrier {
					closed[i] = true
				} else {
					got[i] = append(got[i], number)
				}
			}
		}
		if closed[0] && closed[1] && len(got[0])+len(got[1]) >= want {
			break
		}
	}
	return got
}

// mustReach sends a frame to the VTEP, which must reach device which and not the other.
func (f *fabric) mustReach(t testing.TB, which int) {
	t.Helper()
	f.peer.send(t, vtep, remote, 1)
	got := f.received(t, 1)
	if here, there := len(got[which]), len(got[1-which]); here != 1 || there != 0 {
		t.Errorf("a frame for the VTEP: device %d got %d, device %d got %d; want 1 and 0", which, here, 1-which, there)
	}
}

func mustBeAt(t testing.TB, s *steer.Steer, want int) {
	t.Helper()
	if at, err := s.Where(); at != want || err != nil {
		t.Errorf("Where() = %d, %v, want %d", at, err, want)
	}
}

// etherType is one for experiments (IEEE 802 local experimental).
const etherType = 0x88b5

// rcvBuf is what a socket may hold, bytes: all frames of a test.
const rcvBuf = 64 << 20

// nic is a packet socket on an interface; it gets the frames of the tests' type.
type nic struct{ fd int }

func newNIC(t testing.TB, n *namespace, name string) *nic {
	t.Helper()
	p := &nic{}
	proto := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, etherType))
	n.do(t, func() (err error) {
		ifi, err := net.InterfaceByName(name)
		if err != nil {
			return err
		}
		if p.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, int(proto)); err != nil {
			return err
		}
		return unix.Bind(p.fd, &unix.SockaddrLinklayer{Protocol: proto, Ifindex: ifi.Index})
	})
	t.Cleanup(func() { unix.Close(p.fd) })
	must(t, unix.SetsockoptInt(p.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, rcvBuf))
	return p
}

func (n *nic) send(t testing.TB, dst, src net.HardwareAddr, number uint32) {
	t.Helper()
	f := make([]byte, 60)
	copy(f, dst)
	copy(f[6:], src)
	binary.BigEndian.PutUint16(f[12:], etherType)
	binary.BigEndian.PutUint32(f[14:], number)
	_, err := unix.Write(n.fd, f)
	must(t, err)
}

// drain is the numbers of all frames that wait.
func (n *nic) drain(t testing.TB) (numbers []uint32) {
	t.Helper()
	f := make([]byte, 128)
	for {
		num, _, err := unix.Recvfrom(n.fd, f, 0)
		if err == unix.EAGAIN {
			return numbers
		}
		must(t, err)
		if num < 18 {
			t.Fatalf("a frame of %d bytes", num)
		}
		numbers = append(numbers, binary.BigEndian.Uint32(f[14:]))
	}
}

// eventually polls until done, which must come true.
func eventually(t testing.TB, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(wait); !done(); {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not after %v", what, wait)
		}
	}
}
