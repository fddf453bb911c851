package dpdk_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"baton/dataplane/buf"
	"baton/dataplane/port"
	"baton/nic/dpdk"
	"baton/nic/dpdk/eal"
	"baton/nic/dpdk/internal/ealtest"
	"baton/nic/dpdk/mempool"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

func TestNull(t *testing.T) {
	ealtest.Each(t, func(t *testing.T) {
		pool := mustPool(t, mempool.Options{})
		p := mustOpen(t, dpdk.Config{Device: "net_null0,size=100", Pool: pool})
		if p.Name() != "underlay" || p.Kind() != port.KindNIC || p.NumQueues() != 1 {
			t.Errorf("%s %v %d", p.Name(), p.Kind(), p.NumQueues())
		}
		if info := p.Info(); info.MTU != 1500 || len(info.MAC) != 6 || !strings.Contains(info.Detail, "net_null") {
			t.Errorf("Info() = %+v", info)
		}
		c, q := mustCache(t, pool), p.Queue(0)
		var v buf.Vec
		for range 1000 {
			n := q.Rx(c, &v)
			if n != buf.Burst || v[0].Len() != 100 || v[0].RefCnt != 1 {
				t.Fatalf("%d packets of %d bytes", n, v[0].Len())
			}
			if took := q.Tx(c, &v, n); took != n {
				t.Fatalf("took %d of %d", took, n)
			}
		}
		if a := q.Arm(); a != port.ArmPoll {
			t.Errorf("Arm() = %v, want ArmPoll: net_null wakes nobody", a)
		}
		st, err := p.Stats()
		if err != nil || st.TxPackets != 32000 || st.RxPackets != 32000 {
			t.Errorf("Stats() = %+v, %v", st, err)
		}
		xs, err := p.XStats()
		if err != nil || len(xs) == 0 || xs[0].Name != "rx_good_packets" || xs[0].Value != 32000 {
			t.Errorf("XStats() = %+v, %v", xs, err)
		}
	})
}

// net_ring is a wire from a port's transmit to its receive side: what was sent
// comes back in order, each packet once, and nothing Tx took is lost.
func TestRingKeepsOrder(t *testing.T) {
	ealtest.Each(t, func(t *testing.T) {
		pool := mustPool(t, mempool.Options{})
		p := mustOpen(t, dpdk.Config{Device: "net_ring0", Pool: pool})
		c, q := mustCache(t, pool), p.Queue(0)
		sent, got := 0, 0
		recv := func() int {
			var v buf.Vec
			n := q.Rx(c, &v)
			for _, b := range v[:n] {
				if !bytes.Equal(b.Data(), frame(got)) {
					t.Fatalf("packet %d is %q", got, b.Data())
				}
				got++
			}
			c.FreeAll(&v, n)
			return n
		}
		for round := range 500 {
			for range round % 7 {
				var v buf.Vec
				n := 1 + (round*5)%buf.Burst
				fill(t, c, &v, sent, n)
				took := q.Tx(c, &v, n)
				sent += took
				for _, b := range v[took:n] {
					c.Free(b)
				}
			}
			recv()
		}
		for recv() > 0 || got < sent {
		}
		if got != sent || sent < 10000 || q.(port.LateDropper).Dropped() != 0 {
			t.Errorf("sent %d, got %d, dropped %d", sent, got, q.(port.LateDropper).Dropped())
		}
	})
}

// A device that stands still: Tx takes what fits the ring and the stage, then
// refuses; after long the stage is given up and counted; Close counts the rest.
func TestStuckDevice(t *testing.T) {
	ealtest.Plain(t, func(t *testing.T) {
		pool := mustPool(t, mempool.Options{})
		p := mustOpen(t, dpdk.Config{Device: "net_ring0", Pool: pool})
		c, q := mustCache(t, pool), p.Queue(0).(*dpdk.Queue)
		var v buf.Vec
		took := 0
		for {
			fill(t, c, &v, 0, buf.Burst)
			n := q.Tx(c, &v, buf.Burst)
			took += n
			for _, b := range v[n:] {
				c.Free(b)
			}
			if n == 0 {
				break
			}
		}
		st, err := p.Stats()
		if err != nil || took != int(st.TxPackets)+128 || q.Dropped() != 0 {
			t.Fatalf("took %d, the device has %d (%v), dropped %d; want 128 more", took, st.TxPackets, err, q.Dropped())
		}
		for range 1 << 16 {
			q.Flush()
		}
		if q.Dropped() != 128 {
			t.Errorf("dropped %d of the 128 staged packets", q.Dropped())
		}
		fill(t, c, &v, 0, 5)
		if n := q.Tx(c, &v, 5); n != 5 {
			t.Errorf("took %d of 5", n)
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		if q.Dropped() != 133 {
			t.Errorf("dropped %d, want 133 after Close", q.Dropped())
		}
		if _, err := p.Stats(); !errors.Is(err, dpdk.ErrClosed) {
			t.Errorf("Stats after Close: %v", err)
		}
		if p.Info().Up || p.Close() != nil {
			t.Error("a closed port is up, or cannot be closed again")
		}
	})
}

func writePcap(t *testing.T, file string, num int) {
	t.Helper()
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := pcapgo.NewWriter(f)
	if err := w.WriteFileHeader(65535, layers.LinkTypeEthernet); err != nil {
		t.Fatal(err)
	}
	for i := range num {
		fr := frame(i)
		if err := w.WritePacket(gopacket.CaptureInfo{Timestamp: time.Unix(int64(i), 0), CaptureLength: len(fr), Length: len(fr)}, fr); err != nil {
			t.Fatal(err)
		}
	}
}

// A file in, the same frames out.
func TestPcap(t *testing.T) {
	ealtest.Each(t, func(t *testing.T) {
		const num = 500
		in, out := filepath.Join(t.TempDir(), "in.pcap"), filepath.Join(t.TempDir(), "out.pcap")
		writePcap(t, in, num)
		pool := mustPool(t, mempool.Options{})
		p := mustOpen(t, dpdk.Config{Device: "net_pcap0,rx_pcap=" + in + ",tx_pcap=" + out, Pool: pool})
		c, q := mustCache(t, pool), p.Queue(0)
		got := 0
		eventually(t, "all frames", func() bool {
			var v buf.Vec
			n := q.Rx(c, &v)
			got += n
			if took := q.Tx(c, &v, n); took != n {
				t.Fatalf("took %d of %d", took, n)
			}
			return got == num
		})
		if err := p.Close(); err != nil { // sends what is staged, writes the file
			t.Fatal(err)
		}
		f, err := os.Open(out)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		r, err := pcapgo.NewReader(f)
		if err != nil {
			t.Fatal(err)
		}
		for i := range num {
			data, _, err := r.ReadPacketData()
			if err != nil || !bytes.Equal(data, frame(i)) {
				t.Fatalf("frame %d: %v: %q", i, err, data)
			}
		}
	})
}

func TestAllocs(t *testing.T) {
	ealtest.Plain(t, func(t *testing.T) {
		pool := mustPool(t, mempool.Options{})
		p := mustOpen(t, dpdk.Config{Device: "net_null0", Pool: pool})
		c := mustCache(t, pool)
		var q port.Queue = p.Queue(0)
		v := new(buf.Vec)
		if n := testing.AllocsPerRun(1000, func() { q.Tx(c, v, q.Rx(c, v)) }); n != 0 {
			t.Errorf("%v allocations a burst", n)
		}
		if n := testing.AllocsPerRun(1000, func() { q.Arm(); q.Disarm() }); n != 0 {
			t.Errorf("%v allocations to arm", n)
		}
	})
}

// Two workers on two queues of one device, and each on an unlocked goroutine.
func TestTwoWorkers(t *testing.T) {
	ealtest.Each(t, func(t *testing.T) {
		pool := mustPool(t, mempool.Options{})
		a := mustOpen(t, dpdk.Config{Name: "a", Device: "net_null0", Pool: pool})
		b := mustOpen(t, dpdk.Config{Name: "b", Device: "net_ring1", Pool: pool})
		var wg sync.WaitGroup
		for w, p := range []*dpdk.Port{a, b} {
			wg.Go(func() {
				c, q := buf.NewCache(pool), p.Queue(0)
				defer c.Flush()
				var v buf.Vec
				for i := range 20000 {
					if w == 1 {
						for j := range buf.Burst {
							v[j] = c.Alloc()
						}
						for n := q.Tx(c, &v, buf.Burst); n < buf.Burst; n++ {
							c.Free(v[n])
						}
					}
					n := q.Rx(c, &v)
					for _, m := range v[:n] {
						m.RSSHash = uint32(w)
					}
					c.FreeAll(&v, n)
					if i%1000 == 0 {
						runtime.Gosched()
					}
				}
				if eal.LcoreID() != eal.NoLcore {
					t.Errorf("a Go thread kept lcore id %d", eal.LcoreID())
				}
			})
		}
		wg.Wait()
	})
}

// Ports come and go; nothing stays behind.
func TestOpenCloseAgain(t *testing.T) {
	ealtest.Each(t, func(t *testing.T) {
		pool := mustPool(t, mempool.Options{})
		fds := numFDs(t)
		for range 20 {
			p, err := dpdk.Open(dpdk.Config{Name: "n", Device: "net_null3", Pool: pool})
			if err != nil {
				t.Fatal(err)
			}
			var v buf.Vec
			if n := p.Queue(0).Tx(nil, &v, p.Queue(0).Rx(nil, &v)); n != buf.Burst {
				t.Fatalf("took %d", n)
			}
			if err := p.Close(); err != nil {
				t.Fatal(err)
			}
			if pool.Available() != poolSize {
				t.Fatalf("%d of %d buffers are back", pool.Available(), poolSize)
			}
		}
		if now := numFDs(t); now != fds {
			t.Errorf("%d descriptors, %d before", now, fds)
		}
	})
}

func numFDs(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

func TestOpenErrors(t *testing.T) {
	ealtest.Plain(t, func(t *testing.T) {
		pool := mustPool(t, mempool.Options{})
		small, err := mempool.CreateMbufPool("small", mempool.Options{Num: 512, Cache: -1, DataRoom: 256})
		if err != nil {
			t.Fatal(err)
		}
		mustOpen(t, dpdk.Config{Name: "first", Device: "net_null0", Pool: pool})
		fds := numFDs(t)
		for _, tt := range []struct {
			cfg  dpdk.Config
			want error
			text string
		}{
			{dpdk.Config{Device: "net_null1", Pool: pool}, nil, "needs a name"},
			{dpdk.Config{Name: "n", Pool: pool}, nil, "no device given"},
			{dpdk.Config{Name: "n", Device: "net_null1"}, nil, "no pool given"},
			{dpdk.Config{Name: "n", Device: "net_null0", Pool: pool}, eal.ErrExists, "device net_null0"},
			{dpdk.Config{Name: "n", Device: "net_null1", Queues: 9999, Pool: pool}, nil, "9999 queue pairs"},
			{dpdk.Config{Name: "n", Device: "net_af_packet1,iface=lo", Queues: 2, Pool: pool}, nil, "qpairs=N"},
			{dpdk.Config{Name: "n", Device: "net_af_packet1,iface=nosuch", Pool: pool}, eal.ErrNoInterface, "nosuch"},
			{dpdk.Config{Name: "n", Device: "net_af_packet1,iface=lo", Pool: small}, nil, "set up queue 0"},
			{dpdk.Config{Name: "n", Device: "net_pcap1,rx_pcap=/nonexistent/x.pcap", Pool: pool}, nil, "/nonexistent/x.pcap"},
			{dpdk.Config{Name: "n", Device: "net_null1", RxDesc: 1 << 20, Pool: pool}, nil, "descriptors"},
			{dpdk.Config{Name: "n", Device: "net_null1", MTU: 20, Pool: pool}, nil, "MTU 20"},
			{dpdk.Config{Name: "n", Device: "net_null1", MAC: []byte{1, 0, 0, 0, 0, 1}, Pool: pool}, nil, "unicast"},
			{dpdk.Config{Name: "n", Device: "ffff:ff:1f.7", Pool: pool}, eal.ErrNoDevice, "ffff:ff:1f.7"},
		} {
			_, err := dpdk.Open(tt.cfg)
			if err == nil {
				t.Fatalf("%s: no error", tt.text)
			}
			if tt.want != nil && !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.text) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%q; want %v with %q in one line", err, tt.want, tt.text)
			}
		}
		if now := numFDs(t); now != fds {
			t.Errorf("%d descriptors, %d before", now, fds)
		}
		mustOpen(t, dpdk.Config{Name: "n", Device: "net_null1", Pool: pool, MTU: 1400, MAC: []byte{2, 0, 0, 0, 0, 1}, Promisc: true})
	})
}
