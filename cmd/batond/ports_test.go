package main

import (
	"bytes"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-hclog"

	"baton/dataplane/buf"
	"baton/dataplane/flow"
	"baton/dataplane/pipeline"
	"baton/dataplane/worker"
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
	g = &guestPorts{
		log: hclog.New(&hclog.LoggerOptions{Output: log, Level: hclog.Error}), pool: pool, dir: t.TempDir(),
		mode: proto.ModeServer, pairs: 1, innerMTU: 1500, ports: map[string]*guestPort{}, failed: map[string]error{},
	}
	g.onChange = func(name string) {
		if g.problem(name) != nil { // takes the lock, as the real one does
			name += " failed"
		}
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
