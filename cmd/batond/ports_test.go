package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-hclog"

	"baton/dataplane/buf"
	"baton/dataplane/flow"
	"baton/dataplane/pipeline"
	"baton/dataplane/worker"
	"baton/vhost/guest"
	"baton/vhost/netdev"
	"baton/vhost/proto"
)

// testPorts are ports in server mode, on a pool of one worker.
func testPorts(t *testing.T) (g *guestPorts, log *bytes.Buffer, changes *[]string) {
	t.Helper()
	buffers, err := buf.NewPool(64, buf.DefaultDataRoom)
	if err != nil {
		t.Fatal(err)
	}
	pool, err := worker.New(worker.Config{Workers: 1, Unlocked: true, Source: buffers, Pipeline: pipeline.New()})
	if err != nil {
		t.Fatal(err)
	}
	pool.Start()
	log, changes = &bytes.Buffer{}, &[]string{}
	g = &guestPorts{marks: newMarks(nil),
		log: hclog.New(&hclog.LoggerOptions{Output: log, Level: hclog.Error}), pool: pool, dir: t.TempDir(),
		mode: proto.ModeServer, pairs: 1, innerMTU: 1500, ports: map[string]*guestPort{}, failed: map[string]error{},
	}
	var mu sync.Mutex // sessions tell of changes too; changes is read when there are none
	g.onChange = func(name string) {
		if g.problem(name) != nil { // takes the lock, as the real one does
			name += " failed"
		}
		mu.Lock()
		defer mu.Unlock()
		*changes = append(*changes, name)
	}
	t.Cleanup(func() {
		g.close()
		if err := pool.Close(); err != nil {
			t.Error(err)
		}
	})
	return g, log, changes
}

func bindings(names ...string) (all []flow.Binding) {
	for i, name := range names {
		all = append(all, flow.Binding{Name: name, Number: flow.LogicalPort(7, uint16(i+1)), MAC: flow.MAC{2, 0, 0, 0, 0, byte(i)}})
	}
	return all
}

func TestGuestPorts_BusySocketHoldsOneAlone(t *testing.T) {
	g, log, changes := testPorts(t)
	blocker, err := net.Listen("unix", filepath.Join(g.dir, "vm1.sock"))
	if err != nil {
		t.Fatal(err)
	}
	want := bindings("vm1", "vm2")
	expect := func(step string, lines int, wantChanges ...string) {
		t.Helper()
		slices.Sort(*changes)
		if d := cmp.Diff(wantChanges, *changes); d != "" {
			t.Errorf("%s: ports told of (-want +got):\n%s", step, d)
		}
		*changes = nil
		if got := strings.Count(log.String(), "\n"); got != lines {
			t.Errorf("%s: %d log lines, want %d:\n%s", step, got, lines, log)
		}
	}
	g.reconcile(t.Context(), want)
	expect("busy", 1, "vm1 failed", "vm2")
	for _, part := range []string{"port=vm1", "vm1.sock", "another process listens"} {
		if !strings.Contains(log.String(), part) {
			t.Errorf("log %q lacks %q", log, part)
		}
	}
	g.reconcile(t.Context(), want)
	expect("still busy", 1) // nothing new to say
	blocker.Close()
	g.reconcile(t.Context(), want)
	expect("free", 1, "vm1")
	if err := g.problem("vm1"); err != nil {
		t.Errorf("problem: %v", err)
	}
	g.reconcile(t.Context(), want[:1])
	expect("vm2 gone", 1, "vm2")
	if list := g.list(); len(list) != 1 || list[0].binding.Name != "vm1" {
		t.Errorf("ports: %v", list)
	}
}

// The device of a port that goes tells of its change while the port is removed;
// whoever is told asks for the state of other ports.
func TestGuestPorts_RemovesConnectedGuest(t *testing.T) {
	g, _, _ := testPorts(t)
	told := make(chan string, 64)
	g.onChange = func(name string) {
		g.problem("vm3")
		g.list()
		told <- name
	}
	all := bindings("vm1", "vm2", "vm3")
	g.reconcile(t.Context(), all[:2])
	for _, name := range []string{"vm1", "vm2"} {
		x, err := guest.New(t.Context(), guest.Config{Name: name, Path: filepath.Join(g.dir, name+".sock")})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { x.Close() })
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		g.reconcile(t.Context(), all[1:]) // vm1 goes, vm3 comes
		g.close()
	}()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		buf := make([]byte, 1<<20)
		panic("removing a connected guest hangs:\n" + string(buf[:runtime.Stack(buf, true)])) // the cleanup would hang too
	}
	if len(told) < 4 { // each guest: up, down
		t.Errorf("%d changes told, want at least 4", len(told))
	}
}

func TestGuestPorts_StaysInItsFolder(t *testing.T) {
	g, _, _ := testPorts(t)
	for _, name := range []string{"../vm1", "/vm1", "a/b", "..", "", "Vm", "-x", "a\x00b"} {
		g.reconcile(t.Context(), bindings(name))
		if err := g.problem(name); err == nil || !strings.Contains(err.Error(), "is no name of a port") {
			t.Errorf("%q: %v", name, err)
		}
	}
	if list := g.list(); len(list) != 0 {
		t.Errorf("%d ports were made", len(list))
	}
}

// A guest keeps its features when its port is made anew, also with others configured;
// they are forgotten with the binding.
func TestGuestPorts_FeaturesStay(t *testing.T) {
	g, _, _ := testPorts(t)
	g.state = filepath.Join(t.TempDir(), "vhost")
	want := bindings("vm1")
	g.reconcile(t.Context(), want)
	x, err := guest.New(t.Context(), guest.Config{
		Name: "vm1", Path: filepath.Join(g.dir, "vm1.sock"),
		Features: guest.DefaultFeatures | proto.FeatureRingPacked | proto.FeatureCsum,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(x.Abandon)
	g.without = netdev.Offloads | proto.FeatureRingPacked
	want[0].MTU = 1400
	g.reconcile(t.Context(), want)
	if err := x.Reconnect(t.Context()); err != nil { // refuses a back end with other features
		t.Fatal(err)
	}
	if x.Features()&(proto.FeatureRingPacked|proto.FeatureCsum) != proto.FeatureRingPacked|proto.FeatureCsum {
		t.Errorf("features %#x", x.Features())
	}
	if _, err := os.Stat(g.pin("vm1")); err != nil {
		t.Error(err)
	}
	x.Disconnect()
	g.reconcile(t.Context(), nil)
	if _, err := os.Stat(g.pin("vm1")); !os.IsNotExist(err) {
		t.Errorf("the file of a port that is gone: %v", err)
	}
}

// Hundreds of VMs are served by one worker, and fit on one machine; split and packed.
func TestGuestPorts_Hundreds(t *testing.T) {
	const num = 300
	g, _, _ := testPorts(t)
	names := make([]string, num)
	for i := range names {
		names[i] = fmt.Sprintf("vm%d", i)
	}
	g.reconcile(t.Context(), bindings(names...))
	frame := make([]byte, 60)
	for i, name := range names {
		features := uint64(guest.DefaultFeatures)
		if i%2 == 1 {
			features |= proto.FeatureRingPacked
		}
		x, err := guest.New(t.Context(), guest.Config{Name: name, Path: filepath.Join(g.dir, name+".sock"), Features: features})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(x.Abandon)
		if n := x.Tx[0].SendBurst([][]byte{frame, frame}, nil); n != 2 {
			t.Fatalf("%s: %d frames sent", name, n)
		}
	}
	late := time.Now().Add(time.Minute)
	for got := uint64(0); got < 2*num; got = g.pool.Totals().RxPackets {
		if time.Now().After(late) {
			t.Fatalf("%d of %d frames came", got, 2*num)
		}
		runtime.Gosched()
	}
	for _, p := range g.pool.Ports() {
		if p.RxPackets != 2 || !p.Info.Up {
			t.Errorf("%s: %d frames, up %v", p.Name, p.RxPackets, p.Info.Up)
		}
	}
}
