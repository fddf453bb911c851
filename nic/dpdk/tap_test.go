package dpdk_test

import (
	"bytes"
	"net"
	"os"
	"path/filepath"
	"testing"

	"baton/dataplane/buf"
	"baton/dataplane/hdr"
	"baton/dataplane/hdr/hdrtest"
	"baton/dataplane/offload/offloadtest"
	"baton/dataplane/port"
	"baton/nic/dpdk"
	"baton/nic/dpdk/eal"
	"baton/nic/dpdk/internal/ealtest"
	"baton/nic/dpdk/mempool"

	"golang.org/x/sys/unix"
)

// tapCase is a child with a network namespace of its own, for net_tap's interface.
var tapCase = ealtest.Case{
	Name: "tap", Options: eal.Options{HugePages: eal.HugeOff, MemoryMiB: ealtest.MemoryMiB}, NewNet: true,
}

// needTap skips where no tap interface can be made.
func needTap(t *testing.T) {
	t.Helper()
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		t.Skip("needs /dev/net/tun")
	}
}

// sniff is a packet socket on the interface: it gets what the device sends.
func sniff(t *testing.T, name string) int {
	t.Helper()
	ifc, err := net.InterfaceByName(name)
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0x0300) // ETH_P_ALL, network order
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: 0x0300, Ifindex: ifc.Index}); err != nil {
		t.Fatal(err)
	}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 10}); err != nil {
		t.Fatal(err)
	}
	return fd
}

// nextTCP is the next TCP or UDP frame between the test's hosts that fd gets.
func nextTCP(t *testing.T, fd int) []byte {
	t.Helper()
	for {
		f := make([]byte, 65536)
		n, err := unix.Read(fd, f)
		if err != nil {
			t.Fatalf("no frame: %v", err)
		}
		if f = f[:n]; n > 34 && f[12] == 8 && f[13] == 0 && bytes.Equal(f[26:30], hdrtest.IP4(1).AsSlice()) {
			return f
		}
	}
}

// TestTapOffloads: a device that cuts and completes (net_tap does it in software,
// asked as a NIC is) sends what software would have made: rte_eth_tx_prepare and the
// flags are as drivers want them, and frames that ask for nothing pass in between.
func TestTapOffloads(t *testing.T) {
	needTap(t)
	ealtest.Run(t, tapCase, func(t *testing.T) {
		pool := mustPool(t, mempool.Options{})
		p := mustOpen(t, dpdk.Config{Device: "net_tap0,iface=bt0", Pool: pool})
		c, q := mustCache(t, pool), p.Queue(0)
		can := q.(port.Offloader).Offloads()
		if want := port.OffloadCsum | port.OffloadTSO4 | port.OffloadTSO6; can != want {
			t.Fatalf("offers %x of %x, want %x", can, p.Driver().TxOffloads, want)
		}
		fd := sniff(t, "bt0")
		packet := func(proto uint8, size int) []byte {
			return hdrtest.Packet{
				EthDst: hdrtest.MAC(1), EthSrc: hdrtest.MAC(2), Src: hdrtest.IP4(1), Dst: hdrtest.IP4(2), Proto: proto,
				SrcPort: 5, DstPort: 6, Payload: bytes.Repeat([]byte{1, 2, 3, 4, 5, 6, 7}, size)[:size],
			}.Bytes()
		}
		plain, part, udp, super := packet(hdr.ProtoTCP, 100), packet(hdr.ProtoTCP, 900), packet(hdr.ProtoUDP, 333), packet(hdr.ProtoTCP, 30000)
		for round := range 20 {
			b := c.Alloc()
			b.SetFrame(plain)
			v := buf.Vec{b, offloadtest.Ask(c, part, 0, 2048), offloadtest.Ask(c, udp, 0, 2048), offloadtest.Ask(c, super, 1400, 2048)}
			if took := q.Tx(c, &v, 4); took != 4 {
				t.Fatalf("took %d of 4", took)
			}
			q.(*dpdk.Queue).Flush()
			want := append([][]byte{plain, part, udp}, offloadtest.Cut(super, 1400)...)
			for i, w := range want {
				if f := nextTCP(t, fd); !same(f, w) {
					t.Fatalf("round %d, frame %d of %d:\n%x, want\n%x", round, i, len(want), f, w)
				}
			}
		}
		if d := q.(port.LateDropper).Dropped(); d != 0 {
			t.Errorf("%d dropped", d)
		}
	})
}

// same compares frames but for what drivers do differently: the identification of the
// IPv4 header, and its checksum with it, which must be right.
func same(f, want []byte) bool {
	if len(f) != len(want) || !hdr.IPv4(f[14:]).ChecksumOK() {
		return false
	}
	a, b := bytes.Clone(f), bytes.Clone(want)
	for _, x := range [][]byte{a, b} {
		copy(x[18:20], "\x00\x00")
		copy(x[24:26], "\x00\x00")
	}
	return bytes.Equal(a, b)
}

// TestRefused: what the driver refuses is freed and counted, and what is around it goes
// out, in order. net_tap refuses nothing; virtio_user does.
func TestRefused(t *testing.T) {
	ealtest.Plain(t, func(t *testing.T) {
		pool := mustPool(t, mempool.Options{})
		sock := filepath.Join(t.TempDir(), "vhost.sock")
		far := mustOpen(t, dpdk.Config{Name: "far", Device: "net_vhost0,iface=" + sock, Pool: pool})
		near := mustOpen(t, dpdk.Config{Name: "near", Device: "net_virtio_user0,path=" + sock + ",queues=1", Pool: pool})
		eventually(t, "link up", func() bool { return far.Info().Up && near.Info().Up })
		c, out, in := mustCache(t, pool), near.Queue(0), far.Queue(0)
		if can := out.(port.Offloader).Offloads(); can&port.OffloadCsum == 0 {
			t.Fatalf("offers %x of %x: the test wants checksums", can, near.Driver().TxOffloads)
		}
		packet := func(seq byte) []byte {
			return hdrtest.Packet{Src: hdrtest.IP4(1), Dst: hdrtest.IP4(2), Proto: hdr.ProtoUDP, Payload: bytes.Repeat([]byte{seq}, 64)}.Bytes()
		}
		asked := func(seq byte, bad bool) *buf.Buf {
			b := offloadtest.Ask(c, packet(seq), 0, 2048)
			if l := b.Lengths(); bad {
				l.L3 = 500 // headers beyond the frame
				b.SetLengths(l)
			}
			return b
		}
		const rounds = 50
		for round := range rounds {
			v := buf.Vec{asked(0, true), asked(1, false), asked(0, true), asked(0, true), asked(2, false), asked(0, true)}
			if took := out.Tx(c, &v, 6); took != 6 {
				t.Fatalf("took %d of 6", took)
			}
			out.(*dpdk.Queue).Flush()
			got := byte(0)
			eventually(t, "two frames", func() bool {
				n := in.Rx(c, &v)
				for _, b := range v[:n] {
					if got++; !bytes.Equal(b.Data()[42:], packet(got)[42:]) {
						t.Errorf("round %d: frame %d is %x", round, got, b.Data())
					}
				}
				c.FreeAll(&v, n)
				return got >= 2
			})
		}
		if d := out.(port.LateDropper).Dropped(); d != 4*rounds {
			t.Errorf("%d dropped, want %d", d, 4*rounds)
		}
	})
}
