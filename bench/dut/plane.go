package dut

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"

	"baton/controlplane/compile"
	"baton/dataplane/buf"
	"baton/dataplane/flow"
	"baton/dataplane/overlay"
	"baton/dataplane/pipeline"
	"baton/dataplane/worker"
	"baton/nic/dpdk"
	"baton/nic/dpdk/eal"
	"baton/nic/dpdk/mempool"
	"baton/vhost/netdev"
	"baton/vhost/proto"
)

// plane is the data plane in this process, in the order of starting.
type plane struct {
	config  Config
	memory  bool // DPDK runs
	packets *mempool.Pool
	nic     *dpdk.Port
	pipe    *pipeline.Pipeline
	pool    *worker.Pool
	vms     []vm
	profile *os.File
}

// vm is one VM's port and the connector that keeps it joined.
type vm struct {
	name      string
	device    *netdev.Device
	connector *proto.Connector
}

// start brings everything up.
//
//	error: what could not be; everything is undone
func start(c Config) (_ *plane, err error) {
	p := &plane{config: c}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.close())
		}
	}()
	vtep, err := p.openNIC()
	if err != nil {
		return nil, err
	}
	if err := p.startWorkers(vtep); err != nil {
		return nil, err
	}
	bindings, err := p.addRules()
	if err != nil {
		return nil, err
	}
	for _, b := range bindings {
		if err := p.addVM(b, vtep.InnerMTU()); err != nil {
			return nil, err
		}
	}
	if c.Profile != "" {
		return p, p.beginProfile(c.Profile)
	}
	return p, nil
}

// beginProfile begins a CPU profile in a file; endProfile ends it, if there is one.
func (p *plane) beginProfile(file string) (err error) {
	if p.profile, err = os.Create(file); err != nil {
		return err
	}
	if err := pprof.StartCPUProfile(p.profile); err != nil {
		return err
	}
	runtime.GC() // a thread is profiled from its next pass through the scheduler on, which workers avoid
	return nil
}

func (p *plane) endProfile() error {
	if p.profile == nil {
		return nil
	}
	pprof.StopCPUProfile()
	err := p.profile.Close()
	p.profile = nil
	return err
}

// ealMiB is DPDK's own need besides the buffers.
const ealMiB = 48

// dataRoom is the size of a buffer as batond has it for this MTU: a frame with a VLAN tag,
// a cache line that drivers want beyond, and headroom.
func (c *Config) dataRoom() int {
	return max(buf.DefaultDataRoom, buf.Headroom+(14+4+c.MTU+64+63)&^63)
}

func (p *plane) openNIC() (*overlay.Endpoint, error) {
	c := &p.config
	if c.Buffers == 0 {
		c.Buffers = DefaultBuffers
	}
	o := eal.Options{HugePages: eal.HugeOff}
	if c.Huge {
		o.HugePages = eal.HugeOn
	}
	o.MemoryMiB = ealMiB + mempool.MemoryNeed(c.Buffers, c.dataRoom(), 2<<20)>>20
	o.PlainMiB = ealMiB + mempool.MemoryNeed(c.Buffers, c.dataRoom(), os.Getpagesize())>>20
	if _, err := eal.Init(o); err != nil {
		return nil, err
	}
	p.memory = true
	var err error
	if p.packets, err = mempool.CreateMbufPool("baton", mempool.Options{Num: c.Buffers, DataRoom: c.dataRoom()}); err != nil {
		return nil, err
	}
	if p.nic, err = dpdk.Open(dpdk.Config{Name: "underlay", Device: c.NIC, Queues: max(1, c.Queues), Pool: p.packets}); err != nil {
		return nil, err
	}
	mac, err := net.ParseMAC(c.MAC)
	if err != nil {
		return nil, fmt.Errorf("VTEP: %w", err)
	}
	return overlay.New(overlay.Config{IP: c.VTEP, MAC: flow.MAC(mac), MTU: c.MTU})
}

func (p *plane) startWorkers(vtep *overlay.Endpoint) (err error) {
	c := &p.config
	if c.Flows == 0 {
		c.Flows = DefaultFlows
	}
	p.pipe = pipeline.New()
	p.pool, err = worker.New(worker.Config{
		Workers: len(c.CPUs), CPUs: c.CPUs, Source: p.packets, Pipeline: p.pipe, Endpoint: vtep,
		Spin: worker.DefaultSpin, Poll: worker.DefaultPoll, MaxFlows: c.Flows, MicroFlows: c.MicroFlows,
	})
	if err != nil {
		return err
	}
	go worker.PaceGC(context.Background(), DefaultHeap) // for as long as the process lives
	p.pool.Start()
	return p.pool.AddPort(p.nic, worker.PortOptions{Underlay: true})
}

// addRules puts what compile makes of the network into the pipeline.
func (p *plane) addRules() ([]flow.Binding, error) {
	s, err := decode(p.config.Network)
	if err != nil {
		return nil, err
	}
	config := compile.Host(s, p.config.Host)
	if len(config.Rules) == 0 {
		return nil, fmt.Errorf("the network gives host %q no rules", p.config.Host)
	}
	change := config.Change()
	change.SetRules = append(change.SetRules, p.config.Rules.Baton()...)
	if _, err := p.pipe.Apply(change); err != nil {
		return nil, err
	}
	return config.Bindings, nil
}

func (p *plane) addVM(b flow.Binding, mtu int) (err error) {
	v := vm{name: b.Name}
	path := filepath.Join(p.config.Sockets, b.Name+".sock")
	v.device, err = netdev.New(netdev.Config{
		Name: b.Name, Socket: path, QueuePairs: max(1, p.config.Pairs), MTU: mtu, MAC: net.HardwareAddr(b.MAC[:]), Quiescer: p.pool,
	})
	if err != nil {
		return err
	}
	if err := p.pool.AddPort(v.device, worker.PortOptions{}); err != nil {
		return errors.Join(err, v.device.Close())
	}
	v.connector, err = proto.Start(context.Background(), proto.Config{Port: b.Name, Path: path, Mode: proto.ModeClient, Backend: v.device})
	if err != nil {
		return errors.Join(err, p.pool.RemovePort(b.Name), v.device.Close())
	}
	p.vms = append(p.vms, v)
	return nil
}

// close undoes what start did, as far as it came, in reverse order.
func (p *plane) close() error {
	errs := []error{p.endProfile()}
	for _, v := range p.vms {
		v.connector.Close()
		errs = append(errs, p.pool.RemovePort(v.name), v.device.Close())
	}
	if p.pool != nil {
		errs = append(errs, p.pool.Close())
	}
	if p.nic != nil {
		errs = append(errs, p.nic.Close())
	}
	if p.packets != nil {
		errs = append(errs, p.packets.Free())
	}
	if p.memory {
		errs = append(errs, eal.Cleanup())
	}
	return errors.Join(errs...)
}
