package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sort"
	"sync"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"

	"baton/dataplane/flow"
	"baton/dataplane/pipeline"
	"baton/dataplane/worker"
	"baton/vhost/netdev"
	"baton/vhost/proto"
)

// guestPort is one VM's port: the device that workers poll and the connector
// that keeps it joined to its front end.
type guestPort struct {
	binding   flow.Binding
	path      string
	device    *netdev.Device
	connector *proto.Connector // nil while nobody serves the session: see handed
	handed    *proto.Adopted   // the session that another process gave, or is to get; nil: none was connected
	copied    copyOf           // of a standby's port
}

// guestPorts keeps one guestPort for each binding.
//
//	conc: safe for concurrent use
type guestPorts struct {
	log       hclog.Logger
	pool      *worker.Pool
	dir       string
	mode      proto.Mode
	pairs     int
	without   uint64 // features not offered
	maxMemory uint64 // bytes that a VM may have
	state     string // folder of what each guest negotiated
	innerMTU  int    // what the underlay leaves for guests, bytes of L3
	onChange  func(name string)
	onState   func(name string) // the port came, went or has another state; must not wait; nil: nobody asks
	marks     *marks            // of the ports' states

	// work is held while ports are made and removed, and taken before mu. Then
	// devices tell of changes, and who is told asks for states: mu must be free.
	work sync.Mutex

	mu     sync.Mutex // guards what follows; changed with work held
	ports  map[string]*guestPort
	failed map[string]error // bindings whose port could not be made, tried again later
	frozen bool             // an upgrade is under way: no port comes or goes
}

// reconcile makes the ports that bindings name and removes the others. A port
// that cannot be made does not keep the others from being made.
func (g *guestPorts) reconcile(ctx context.Context, bindings []flow.Binding) {
	for _, name := range g.change(ctx, bindings) {
		g.onChange(name)
	}
}

// change does reconcile's work and lists the ports that came, went or failed.
func (g *guestPorts) change(ctx context.Context, bindings []flow.Binding) (changed []string) {
	g.work.Lock()
	defer g.work.Unlock()
	if g.isFrozen() {
		return nil // a thaw is followed by a reconcile
	}
	want := make(map[string]flow.Binding, len(bindings))
	for _, b := range bindings {
		want[b.Name] = b
	}
	for name, p := range g.ports {
		if b, ok := want[name]; !ok || b.MAC != p.binding.MAC || b.MTU != p.binding.MTU {
			g.remove(name)
			if !ok {
				os.Remove(g.pin(name)) // the VM that comes here one day is another one
			}
			changed = append(changed, name)
		}
	}
	failed := map[string]error{}
	for _, b := range bindings {
		if _, ok := g.ports[b.Name]; ok {
			continue // its number is the pipeline's business
		}
		err := g.add(ctx, b)
		if err == nil {
			changed = append(changed, b.Name)
			continue
		}
		failed[b.Name] = err
		if old := g.failed[b.Name]; old == nil || old.Error() != err.Error() { // each try fails alike: said once
			g.log.Error("no port for this binding", "port", b.Name, "error", err)
			changed = append(changed, b.Name)
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.failed = failed
	return changed
}

func (g *guestPorts) add(ctx context.Context, b flow.Binding) error {
	cfg, err := g.deviceConfig(b)
	if err != nil {
		return err
	}
	p := &guestPort{binding: b, path: cfg.Socket}
	p.device, err = netdev.New(cfg)
	if err != nil {
		return err
	}
	if err := g.pool.AddPort(p.device, worker.PortOptions{}); err != nil {
		p.device.Close()
		return err
	}
	if err := g.connect(ctx, p); err != nil {
		g.pool.RemovePort(b.Name)
		p.device.Close()
		return err
	}
	g.mu.Lock()
	g.ports[b.Name] = p
	g.mu.Unlock()
	g.stateChanged(b.Name)
	g.log.Info("port made", "port", b.Name, "number", b.Number, "socket", p.path, "mode", g.mode)
	return nil
}

// deviceConfig is how the device of a binding is made.
//
//	error: a name that is none
func (g *guestPorts) deviceConfig(b flow.Binding) (netdev.Config, error) {
	mtu := g.innerMTU
	if b.MTU != 0 {
		mtu = min(mtu, int(b.MTU))
	}
	if !hostName.MatchString(b.Name) { // it makes a path: what a controller says must not lead out of the folder
		return netdev.Config{}, fmt.Errorf("%.80q is no name of a port: use 1 to 63 of a-z, 0-9 and -, with no - at either end", b.Name)
	}
	return netdev.Config{
		Name: b.Name, Socket: filepath.Join(g.dir, b.Name+".sock"), QueuePairs: g.pairs, MTU: mtu,
		MaxMemory: g.maxMemory, Without: g.without, Pin: g.pin(b.Name),
		MAC: net.HardwareAddr(b.MAC[:]), Quiescer: g.pool, Logger: g.log,
		OnChange: func() { g.onChange(b.Name) },
		OnState:  func() { g.stateChanged(b.Name) },
	}, nil
}

// connect has the port's session served, the one that was handed over first.
func (g *guestPorts) connect(ctx context.Context, p *guestPort) error {
	a := p.handed
	p.handed = nil // the connector's, also on error
	c, err := proto.Start(ctx, proto.Config{
		Port: p.binding.Name, Path: p.path, Mode: g.mode, Backend: p.device, Log: g.log, Adopted: a, Busy: g.marks.busy(p.binding.Name),
	})
	g.mu.Lock()
	defer g.mu.Unlock()
	p.connector = c
	return err
}

// pin is the file that keeps what a port's guest negotiated; none without a folder.
func (g *guestPorts) pin(name string) string {
	if g.state == "" {
		return ""
	}
	return filepath.Join(g.state, name+".json")
}

// remove ends the session first, so that nobody touches the guest when its port goes.
func (g *guestPorts) remove(name string) {
	p := g.ports[name]
	g.mu.Lock()
	delete(g.ports, name)
	g.mu.Unlock()
	if p.connector != nil {
		p.connector.Close()
	}
	if p.handed != nil {
		unix.Close(p.handed.FD)
	}
	if err := g.pool.RemovePort(name); err != nil {
		g.log.Error("port not taken from its workers", "port", name, "error", err)
	}
	if err := p.device.Close(); err != nil {
		g.log.Error("device not closed", "port", name, "error", err)
	}
	g.stateChanged(name)
	g.marks.drop(name)
	g.log.Info("port removed", "port", name)
}

// retry makes another try at the ports that failed.
func (g *guestPorts) retry(ctx context.Context, s *pipeline.Snapshot) {
	g.mu.Lock()
	some := len(g.failed) > 0 && !g.frozen
	g.mu.Unlock()
	if some {
		g.reconcile(ctx, s.Bindings())
	}
}

// freeze keeps ports from coming and going; thawed, what the bindings ask for is to be
// reconciled.
func (g *guestPorts) freeze(on bool) {
	g.work.Lock()
	defer g.work.Unlock()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.frozen = on
}

func (g *guestPorts) isFrozen() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.frozen
}

// detached notes that the port's session is served by nobody here.
func (g *guestPorts) detached(p *guestPort, a *proto.Adopted) {
	g.mu.Lock()
	defer g.mu.Unlock()
	p.connector, p.handed = nil, a
}

// stateChanged tells who keeps a copy of the ports.
func (g *guestPorts) stateChanged(name string) {
	g.marks.changed(name)
	if g.onState != nil {
		g.onState(name)
	}
}

// port is that of a name, nil if there is none.
func (g *guestPorts) port(name string) *guestPort {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.ports[name]
}

// connectorOf is the port's, nil while its session is handed over.
func (g *guestPorts) connectorOf(p *guestPort) *proto.Connector {
	g.mu.Lock()
	defer g.mu.Unlock()
	return p.connector
}

// session is what is known of the port's session; one that is being handed over stays connected.
func (g *guestPorts) session(p *guestPort) (connected bool, refusals map[string]uint64) {
	g.mu.Lock()
	c, handed := p.connector, p.handed
	g.mu.Unlock()
	if c == nil {
		return handed != nil, map[string]uint64{}
	}
	return c.Connected(), c.Refusals()
}

// put adds a port that came from another process.
func (g *guestPorts) put(p *guestPort) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.ports[p.binding.Name] = p
}

// close removes all ports.
func (g *guestPorts) close() {
	g.work.Lock()
	defer g.work.Unlock()
	for name := range g.ports {
		g.remove(name)
	}
}

// list is the ports by name.
func (g *guestPorts) list() []*guestPort {
	g.mu.Lock()
	defer g.mu.Unlock()
	all := make([]*guestPort, 0, len(g.ports))
	for _, p := range g.ports {
		all = append(all, p)
	}
	sort.Slice(all, func(i, j int) bool { return all[i].binding.Name < all[j].binding.Name })
	return all
}

// problem is why a binding has no port; nil if it has one.
func (g *guestPorts) problem(name string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := g.failed[name]; err != nil {
		return fmt.Errorf("port %s: %w", name, err)
	}
	return nil
}
