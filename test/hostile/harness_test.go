package hostile_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"baton/dataplane/buf"
	"baton/dataplane/flow"
	"baton/dataplane/pipeline"
	"baton/dataplane/stats"
	"baton/dataplane/worker"
	"baton/vhost/guest"
	"baton/vhost/netdev"
	"baton/vhost/proto"
)

func TestMain(m *testing.M) {
	if what := os.Getenv(heirEnv); what != "" {
		os.Exit(runHeir(what))
	}
	goleak.VerifyTestMain(m)
}

const (
	patience = 20 * time.Second
	numBufs  = 8192
	ringSize = 256

	base = proto.FeatureVersion1 | proto.FeatureProtocol | proto.FeatureMrgRxbuf | proto.FeatureIndirectDesc
	tso  = proto.FeatureCsum | proto.FeatureHostTSO4 | proto.FeatureHostTSO6
)

var warm sync.Once

// host is a switch, with one worker unless said otherwise.
type host struct {
	t     testing.TB
	dir   string
	bufs  *buf.Pool
	rules *pipeline.Pipeline
	pool  *worker.Pool
	vms   []*vm
	fds   int
}

// vm is a port, its connector, and the guest that is connected now.
type vm struct {
	h    *host
	id   int
	cfg  guest.Config
	dev  *netdev.Device
	conn *proto.Connector
	g    *guest.Guest
}

func number(id int) flow.PortNo { return flow.LogicalPort(1, uint16(id)) }

func mac(id int) flow.MAC { return flow.MAC{2, 0, 0, 0, 0, byte(id)} }

func openFDs(t testing.TB) int {
	t.Helper()
	es, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(es)
}

// fdNames says what is open.
func fdNames() (names []string) {
	es, _ := os.ReadDir("/proc/self/fd")
	for _, e := range es {
		name, _ := os.Readlink("/proc/self/fd/" + e.Name())
		names = append(names, name)
	}
	return names
}

// newHost is a switch that forwards by destination MAC. The test's end closes it and
// checks that nothing is missing.
func newHost(t testing.TB) *host {
	t.Helper()
	warm.Do(func() { // what a process opens once and keeps is open from here on
		first := build(t)
		first.fds = math.MaxInt
		first.vm(9, guest.Config{Features: base}).passes()
		first.close()
	})
	h := build(t)
	t.Cleanup(h.close)
	return h
}

func build(t testing.TB) *host {
	t.Helper()
	h := buildParked(t, 1)
	h.pool.Start()
	return h
}

// buildParked is a host whose workers have not begun to poll.
func buildParked(t testing.TB, workers int) *host {
	t.Helper()
	h := &host{t: t, dir: t.TempDir(), rules: pipeline.New(), fds: openFDs(t)}
	var err error
	if h.bufs, err = buf.NewPool(numBufs, buf.DefaultDataRoom); err != nil {
		t.Fatal(err)
	}
	h.pool, err = worker.New(worker.Config{Workers: workers, Source: h.bufs, Pipeline: h.rules, MaxFlows: 1024})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func (h *host) close() {
	for _, v := range h.vms {
		if v.g != nil {
			v.g.Abandon()
		}
		if v.conn != nil {
			v.conn.Close()
		}
		if err := h.pool.RemovePort(v.dev.Name()); err != nil {
			h.t.Error(err)
		}
		if err := v.dev.Close(); err != nil {
			h.t.Error(err)
		}
	}
	if err := h.pool.Close(); err != nil {
		h.t.Error(err)
	}
	if tot := h.pool.Totals(); tot.Held() != 0 {
		h.t.Errorf("received %d, made %d, sent %d, dropped %d: %d packets are lost",
			tot.RxPackets, tot.Generated, tot.TxPackets, tot.Dropped(), tot.Held())
	}
	if n := h.bufs.Available(); n != numBufs {
		h.t.Errorf("%d buffers of %d are back", n, numBufs)
	}
	if err := h.bufs.Close(); err != nil {
		h.t.Error(err)
	}
	n := openFDs(h.t)
	for end := time.Now().Add(patience); n > h.fds && time.Now().Before(end); runtime.Gosched() {
		n = openFDs(h.t) // descriptors of peers are closed in the background
	}
	if n > h.fds {
		h.t.Errorf("%d file descriptors are open, %d were before: %v", n, h.fds, fdNames())
	}
}

// port makes vm id's port, with its rule, and no session yet.
func (h *host) port(id, pairs int) *vm {
	h.t.Helper()
	name := fmt.Sprintf("vm%d", id)
	gen, err := h.rules.Apply(flow.Change{
		SetBindings: []flow.Binding{{Name: name, Number: number(id)}},
		SetRules: []flow.Rule{{
			RuleID: flow.RuleID{
				Table: pipeline.TableConvertPhyLogical, Priority: 10,
				Match: flow.Match{}.WithMAC(flow.FieldEthDst, mac(id)),
			},
			Actions: []flow.Action{flow.SetFlags(flow.FlagLoopback), flow.Output(number(id))},
		}},
	})
	h.ok(err)
	h.ok(h.pool.Barrier(context.Background(), gen))
	v := &vm{h: h, id: id}
	v.dev, err = netdev.New(netdev.Config{Name: name, QueuePairs: pairs, Quiescer: h.pool})
	h.ok(err)
	h.ok(h.pool.AddPort(v.dev, worker.PortOptions{}))
	h.vms = append(h.vms, v)
	return v
}

// vm is vm id with a guest that is up.
func (h *host) vm(id int, cfg guest.Config) *vm {
	h.t.Helper()
	v := h.port(id, max(1, cfg.QueuePairs))
	cfg.Name, cfg.Path = v.dev.Name(), filepath.Join(h.dir, v.dev.Name()+".sock")
	v.cfg = cfg
	var err error
	v.conn, err = proto.Start(context.Background(), proto.Config{Port: cfg.Name, Path: cfg.Path, Mode: proto.ModeServer, Backend: v.dev})
	h.ok(err)
	v.plug()
	return v
}

// plug connects a fresh guest.
func (v *vm) plug() {
	v.h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var err error
	v.g, err = guest.New(ctx, v.cfg)
	v.h.ok(err)
	v.h.until(v.cfg.Name+" is up", func() bool { return v.dev.Info().Up })
}

// again takes the guest away, whatever it did, and connects a fresh one, as a VM that
// is reset does; it must work.
func (v *vm) again() {
	v.h.t.Helper()
	v.g.Abandon()
	v.plug()
	v.passes()
}

func (h *host) ok(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

// until waits for f.
func (h *host) until(what string, f func() bool) {
	h.t.Helper()
	for end := time.Now().Add(patience); !f(); runtime.Gosched() {
		if time.Now().After(end) {
			h.t.Fatalf("%s: not within %v", what, patience)
		}
	}
}

// drops is the number of frames from v that were dropped for a reason.
func (v *vm) drops(r stats.DropReason) uint64 {
	for _, p := range v.h.pool.Ports() {
		if p.Name == v.dev.Name() {
			return p.Drops[r]
		}
	}
	return 0
}

// broken waits until v's device has counted one broken ring for the reason.
func (v *vm) broken(reason string) {
	v.h.t.Helper()
	end := time.Now().Add(patience)
	for v.dev.Snapshot().Broken[reason] == 0 {
		if time.Now().After(end) {
			s := v.dev.Snapshot()
			v.h.t.Fatalf("no ring broke for %s; broken %v, rings %+v", reason, s.Broken, s.Rings)
		}
		runtime.Gosched()
	}
	if s := v.dev.Snapshot(); len(s.Broken) != 1 || s.Broken[reason] != 1 {
		v.h.t.Errorf("broken %v, want one ring for %s", s.Broken, reason)
	}
}

// whole checks that no ring of v broke.
func (v *vm) whole() {
	v.h.t.Helper()
	if s := v.dev.Snapshot(); len(s.Broken) > 0 {
		v.h.t.Errorf("broken: %v", s.Broken)
	}
}

// totals are the counters of v's transmit ring 1 or receive ring 0.
func (v *vm) totals(ring int) netdev.Totals { return v.dev.Snapshot().Rings[ring].Totals }

// refused checks that the back end refused a message by acknowledgement.
func (v *vm) refused(what string, err error) {
	v.h.t.Helper()
	if !errors.Is(err, guest.ErrRefused) {
		v.h.t.Errorf("%s: %v, want it to be refused", what, err)
	}
}

// hungUp checks that the back end has closed the connection.
func (v *vm) hungUp(what string) {
	v.h.t.Helper()
	if _, err := v.g.Get(proto.GetFeatures, nil); err == nil {
		v.h.t.Errorf("%s: the session goes on", what)
	}
}

// passes sends frames from v to itself and checks that all come back.
func (v *vm) passes() {
	v.h.t.Helper()
	v.passesOn()
	if n := v.g.Tx[0].Counters.Bad + v.g.Rx[0].Counters.Bad; n > 0 {
		v.h.t.Errorf("%d bad completions", n)
	}
}

// passesOn is passes after chains that the guest's own accounts know nothing of.
func (v *vm) passesOn() {
	v.h.t.Helper()
	f := [][]byte{makeFrame(v.id, v.id, 200)}
	for seq := range 20 {
		number32(f[0], uint32(seq))
		v.h.until("room in the ring", func() bool { return v.g.Tx[0].SendBurst(f, nil) == 1 })
		got := 0
		v.h.until("the frame is back", func() bool {
			return v.g.Rx[0].Poll(1, func(_ guest.Hdr, b []byte) {
				if got++; string(b) != string(f[0]) {
					v.h.t.Errorf("frame %d came back as %x", seq, b)
				}
			}) > 0 || got > 0
		})
	}
}

// ring is what an operator sees of ring i.
func (v *vm) ring(i int) netdev.RingInfo { return v.dev.Snapshot().Rings[i] }

// setUp sets ring i up anew in the session that there is, but for enabling it.
func (v *vm) setUp(i int, r *guest.Ring, kick int, base uint32) {
	v.h.t.Helper()
	v.h.ok(v.g.SetVring(proto.SetVringNum, i, uint32(r.Num())))
	v.h.ok(v.g.SetVring(proto.SetVringBase, i, base))
	v.h.ok(v.g.Set(proto.SetVringAddr, proto.AppendVringAddr(nil, v.g.VringAddr(r, i))))
	v.h.ok(v.g.SetU64(proto.SetVringKick, uint64(i), kick))
}
